"""The family `boosted`: gradient-boosted trees on raw columns, grown by LightGBM, served as ONNX."""

from __future__ import annotations

from dataclasses import dataclass

import lightgbm
import numpy as np
import onnx
import pyarrow as pa

from tidemill.contract.tasks import TrainModel
from tidemill.contract.trainers import BoostedTrainer
from tidemill.contract.trainers.trees import TreeGrowth
from tidemill_worker.context import Context
from tidemill_worker.errors import InvalidSpec
from tidemill_worker.train.boosting import export_onnx, forest
from tidemill_worker.train.boosting.columns import TreeColumns
from tidemill_worker.train.boosting.learner import BoostingLearner, Scored, predict
from tidemill_worker.train.boosting.objective import Objective
from tidemill_worker.train.data import Split, TrainingData, read
from tidemill_worker.train.epochs import Training
from tidemill_worker.train.family import Report
from tidemill_worker.train.target import Target

__all__ = ["FittedForest", "fit", "read"]
MOST_NODES = 25_000_000
"""Of all trees together: about 1 GB of ONNX, of which a file can hold two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedForest:
    """The trees; a `Fitted`."""

    columns: TreeColumns
    blocks: tuple[str, ...]
    """As LightGBM writes them."""
    base: np.ndarray
    target: Target
    epochs: int
    threads: int
    device: str = "cpu"

    def raw(self, rows: pa.Table) -> np.ndarray:
        """By LightGBM, in double precision."""
        matrix = self.columns.encode(rows)
        scores = self.base + sum(predict(lightgbm.Booster(model_str=b), matrix, self.threads) for b in self.blocks)
        first = np.zeros((len(matrix), self.target.outputs - scores.shape[1]))
        return np.concatenate([first, scores], axis=1)

    def export(self) -> onnx.ModelProto:
        """All trees in one graph."""
        return export_onnx.build(self.columns, self.trees(), self.base.tolist(), self.target)

    def files(self) -> dict[str, bytes]:
        """Nothing."""
        return {}

    def trees(self) -> list[forest.Tree]:
        """In the order in which they were grown."""
        return [tree for block in self.blocks for tree in forest.read(block)]


def fit(data: TrainingData, task: TrainModel, context: Context, report: Report) -> FittedForest:
    """Learn the categories, then grow the trees. Raises InvalidSpec when they would be too many for a graph."""
    trainer = task.trainer
    assert isinstance(trainer, BoostedTrainer), "the task's family says so"
    outputs = data.target.outputs
    check_size(trainer, len(data.train), outputs if outputs > 2 else 1, task.field)
    columns = TreeColumns.fit(data.train.rows, data.numeric, data.text, trainer.max_categories)
    objective = Objective.of(trainer, data.target, data.train.target)

    def scored(split: Split) -> Scored:
        return Scored(columns.encode(split.rows), split.target, objective.base)

    learner = BoostingLearner(
        trainer,
        context,
        objective,
        scored(data.train),
        scored(data.validation),
        categorical=columns.categorical,
    )
    course = Training(learner, task, context, report).run()
    fitted = FittedForest(
        columns=columns,
        blocks=tuple(learner.texts()),
        base=objective.base,
        target=data.target,
        epochs=course.epoch,
        threads=context.environment.cpus,
    )
    if not any(len(tree.column) for tree in fitted.trees()):
        context.tracker.warn(
            f"no tree has a split, and so the model answers always the same: of {len(data.train)} rows no column separates "
            f"{trainer.min_rows_per_leaf} from the rest to any use; lower {task.field}.minRowsPerLeaf, or give it more rows"
        )
    return fitted


def check_size(trainer: TreeGrowth, rows: int, forests: int, field: str) -> None:
    """Raise InvalidSpec when so many sequences of trees on so many rows would be too large for a file."""
    leaves = min(trainer.max_leaves, max(1, rows // trainer.min_rows_per_leaf))
    trees = trainer.trees * forests
    if trees * (2 * leaves - 1) > MOST_NODES:
        raise InvalidSpec(
            f"{field}.trees: {trees} trees of up to {leaves} leaves are too many for one ONNX file: lower trees or "
            "maxLeaves, or predict fewer classes or quantiles",
            field=f"{field}.trees",
        )
