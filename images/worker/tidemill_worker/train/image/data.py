"""What an image classifier learns from: the column with the pictures and the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.contract.model import Signature, TensorSpec
from tidemill.contract.tasks import TrainModel
from tidemill.contract.trainers import ImageTrainer
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.errors import ColumnType, DatasetEmpty, InvalidSpec
from tidemill_worker.model import folder, tables
from tidemill_worker.model.pictures import is_picture
from tidemill_worker.report import gates
from tidemill_worker.report.plan import Plan, prepare
from tidemill_worker.train.data import PARITY, Split, check_patience, labelled
from tidemill_worker.train.target import Target

_BYTES = 3
"""Of a pixel and channel: of the training split, and of a copy while it is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageData:
    """Read once; any number of models may be trained on it. The `Data` of images."""

    dataset: Artifact
    table: pa.Table
    image: str
    shape: tuple[int, int, int]
    target: Target
    train: Split
    validation: Split
    plan: Plan

    def sample(self, most: int) -> pa.Table:
        """The first pictures that have a class."""
        return self.train.rows.slice(0, min(most, 256))

    def worst(self, outputs: dict[str, np.ndarray], raw: np.ndarray, rows: pa.Table) -> float:
        """In units of PARITY of a probability."""
        return float(np.max(np.abs(outputs["probabilities"] - self.target.decode(raw)) / PARITY)) if len(rows) else 0.0

    def signature(self) -> Signature:
        """Pixels in, class and probabilities out."""
        classes = self.target.classes
        assert classes is not None, "a classification has them"
        signature = Signature(
            task="Classification",
            inputs=(TensorSpec(name=self.image, datatype="UINT8", shape=(-1, *self.shape), column=self.image),),
            outputs=(
                TensorSpec(name="label", datatype="BYTES", shape=(-1, 1), column=self.target.column),
                TensorSpec(name="probabilities", datatype="FP32", shape=(-1, len(classes))),
            ),
            target=self.target.column,
            classes=classes,
        )
        return signature.model_copy(update={"example": folder.example_row(self.table, signature)})


def read(task: TrainModel, context: Context) -> ImageData:
    """Download, learn the classes. Raises what is wrong with spec or data before anything is trained."""
    trainer, field = task.trainer, task.field
    assert isinstance(trainer, ImageTrainer), "the task's family says so"
    context.tracker.phase("Downloading", 0.0, task.dataset.uri)
    dataset = Artifact(context, task.dataset, name="dataset")
    schema = pq.read_schema(dataset.fetch("train.parquet"))
    for name, what in ((trainer.target, "target"), (trainer.image, "image")):
        tables.need(schema.names, [name], "the dataset", field=f"{field}.{what}")
    if trainer.image in ("label", "probabilities"):
        raise InvalidSpec(
            f"{field}.image: the column cannot be called {trainer.image!r}, as the model's output is: rename it in the dataset",
            field=f"{field}.image",
        )
    if not is_picture(schema.field(trainer.image).type):
        raise ColumnType(
            f"{field}.image: column {trainer.image!r} is {schema.field(trainer.image).type}, not a picture: the bytes of a PNG "
            "or JPEG file, or a list of numbers from 0 to 255",
            field=f"{field}.image",
        )
    columns = [trainer.image, trainer.target]
    table = tables.read_split(dataset, "train", columns)
    if not table.num_rows:
        raise DatasetEmpty(f"{task.dataset.uri} has no training row")
    shape = (trainer.height, trainer.width, 3 if trainer.channels == "RGB" else 1)
    _check_memory(table.num_rows, shape, context.environment.memory_bytes, field)
    target = Target.learn(task, table)
    plan = prepare(task.evaluation, dataset, target.classes)
    gates.check_possible(task.gates, dataset, plan, target=target.column, classes=target.classes)
    data = ImageData(
        dataset=dataset,
        table=table,
        image=trainer.image,
        shape=shape,
        target=target,
        train=labelled("train", table, target),
        validation=labelled("validation", tables.read_split(dataset, "validation", columns), target),
        plan=plan,
    )
    check_patience(task, data.validation)
    return data


def _check_memory(rows: int, shape: tuple[int, int, int], memory: int, field: str) -> None:
    needed = rows * int(np.prod(shape)) * _BYTES
    if needed > memory:
        raise InvalidSpec(
            f"{field}.height: {rows} pictures of {shape[0]} × {shape[1]} pixels take about {needed / 2**30:.1f} GiB, more than "
            f"the pod's {memory / 2**30:.1f} GiB: lower height and width, or raise spec.resources.memory",
            field=f"{field}.height",
        )
