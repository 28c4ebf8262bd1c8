"""What a training learns from: the dataset's splits, the features that the spec chooses, and the target."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.contract.model import Signature, TensorSpec
from tidemill.contract.tasks import TrainModel
from tidemill.contract.trainers import ColumnTrainer, TextTrainer
from tidemill_worker import log
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.errors import DatasetEmpty, InvalidSpec
from tidemill_worker.model import folder, tables
from tidemill_worker.report import gates
from tidemill_worker.report.plan import Plan, prepare
from tidemill_worker.train import features
from tidemill_worker.train.target import Target

PARITY = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The rows of a split that have a target, and those targets as `Target.encode` gives them."""

    rows: pa.Table
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.target)


class Data(Protocol):
    """What every family's data brings to the parts that all trainings share."""

    @property
    def dataset(self) -> Artifact:
        """The version that is trained on."""

    @property
    def table(self) -> pa.Table:
        """The training split as the model is asked with it."""

    @property
    def validation(self) -> Sized:
        """The rows that early stopping judges by."""

    @property
    def plan(self) -> Plan:
        """What is measured of a model afterwards."""

    def signature(self) -> Signature:
        """What a model of this data takes and gives."""

    def sample(self, most: int) -> pa.Table:
        """Up to so many training rows that the exported graph is held against the trained model on."""

    def worst(self, outputs: dict[str, np.ndarray], raw: np.ndarray, rows: pa.Table) -> float:
        """How far the graph's outputs are from the trained model's raw answers to the rows: 1 is what is tolerated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Read once; any number of models may be trained on it."""

    dataset: Artifact
    table: pa.Table
    """The training split with features and target, rows without a target included."""
    numeric: tuple[str, ...]
    text: tuple[str, ...]
    target: Target
    train: Split
    validation: Split
    plan: Plan
    """What is measured of a model afterwards."""

    def sample(self, most: int) -> pa.Table:
        """The first rows that have a target."""
        return self.train.rows.slice(0, most)

    def worst(self, outputs: dict[str, np.ndarray], raw: np.ndarray, rows: pa.Table) -> float:
        """In units of PARITY: of a regression's value or deviation, whichever is greater; or of a probability."""
        expected = self.target.decode(raw)
        if self.target.classes is None:
            found, scale = outputs["prediction"].reshape(-1), np.maximum(self.target.scale, np.abs(expected))
        else:
            found, scale = outputs["probabilities"], np.ones_like(expected)
        return float(np.max(np.abs(found - expected) / (PARITY * scale))) if len(rows) else 0.0

    def signature(self) -> Signature:
        """What a model of this data takes and gives: every feature by its name."""
        inputs = [TensorSpec(name=n, datatype="FP32", shape=(-1, 1), column=n) for n in self.numeric]
        inputs += [TensorSpec(name=n, datatype="BYTES", shape=(-1, 1), column=n) for n in self.text]
        column, classes = self.target.column, self.target.classes
        if classes is None:
            outputs = [TensorSpec(name="prediction", datatype="FP32", shape=(-1, 1), column=column)]
        else:
            outputs = [
                TensorSpec(name="label", datatype="BYTES", shape=(-1, 1), column=column),
                TensorSpec(name="probabilities", datatype="FP32", shape=(-1, len(classes))),
            ]
        signature = Signature(
            task="Regression" if classes is None else "Classification",
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            target=column,
            classes=classes,
        )
        return signature.model_copy(update={"example": folder.example_row(self.table, signature)})


def read(task: TrainModel, context: Context) -> TrainingData:
    """Download, choose features, learn the target. Raises what is wrong with spec or data before anything is trained."""
    trainer = task.trainer
    assert isinstance(trainer, ColumnTrainer | TextTrainer), "the task's family says so"
    context.tracker.phase("Downloading", 0.0, task.dataset.uri)
    dataset = Artifact(context, task.dataset, name="dataset")
    schema = pq.read_schema(dataset.fetch("train.parquet"))
    if isinstance(trainer, TextTrainer):
        numeric: list[str] = []
        text = [features.choose_text(schema, trainer, task.field)]
    else:
        numeric, text = features.choose(schema, trainer, task.field)
    columns = [n for n in schema.names if n in {*numeric, *text, trainer.target}]
    table = tables.read_split(dataset, "train", columns)
    if not table.num_rows:
        raise DatasetEmpty(f"{task.dataset.uri} has no training row")
    target = Target.learn(task, table)
    plan = prepare(task.evaluation, dataset, target.classes)
    gates.check_possible(task.gates, dataset, plan, target=target.column, classes=target.classes)
    train = labelled("train", table, target)
    validation = labelled("validation", tables.read_split(dataset, "validation", columns), target)
    check_patience(task, validation)
    return TrainingData(
        dataset=dataset,
        table=table,
        numeric=tuple(numeric),
        text=tuple(text),
        target=target,
        train=train,
        validation=validation,
        plan=plan,
    )


def check_patience(task: TrainModel, validation: Sized) -> None:
    """Raise InvalidSpec when there is nothing that early stopping could judge by."""
    if task.trainer.patience is not None and not len(validation):
        field = f"{task.field}.patience"
        raise InvalidSpec(f"{field} needs a validation split, which is empty", field=field)


def labelled(name: str, table: pa.Table, target: Target) -> Split:
    """The rows of a split that can be learnt from."""
    rows, encoded = target.encode(table)
    if rows.num_rows < table.num_rows:
        log.warn("rows without a target are left out", split=name, rows=table.num_rows - rows.num_rows)
    return Split(rows=rows, target=encoded)
