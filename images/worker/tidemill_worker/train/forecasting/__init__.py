"""The family `forecasting`: boosted trees that forecast the next values of time series, all steps at once.

`data` cuts windows, `features` says what trees see of them (as nodes of the graph), `learner` grows the trees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import lightgbm
import numpy as np
import onnx
import pyarrow as pa

from tidemill.contract.tasks import TrainModel
from tidemill.contract.trainers import ForecastingTrainer
from tidemill_worker.context import Context
from tidemill_worker.errors import InvalidSpec
from tidemill_worker.train.boosting import check_size, forest
from tidemill_worker.train.boosting.learner import predict
from tidemill_worker.train.epochs import Training
from tidemill_worker.train.family import Report
from tidemill_worker.train.forecasting import conformal, export_onnx
from tidemill_worker.train.forecasting.data import WindowData, read
from tidemill_worker.train.forecasting.features import Encoded, WindowFeatures
from tidemill_worker.train.forecasting.learner import ForecastLearner

__all__ = ["FittedForecast", "fit", "read"]
_LEAST = 1e-6
"""A step that varies less than this share of its window does not vary."""
_BYTES = 12
"""Of a number of the features in training: itself, its bin, and a copy while it is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedForecast:
    """The trees with what they see of a window; a `Fitted`."""

    features: WindowFeatures
    blocks: tuple[tuple[str, ...], ...]
    """As LightGBM writes them: of the forecast, then of each quantile."""
    base: tuple[float, ...]
    spread: np.ndarray
    """float32 [horizon]: by how much values vary at each step, in deviations of the window. The trees answer in units of it:
    the next value and the last one count alike, though the last one is much harder to tell."""
    shifts: np.ndarray
    """float32 [horizon, quantiles]: see `conformal`."""
    epochs: int
    threads: int
    device: str = "cpu"

    def raw(self, rows: pa.Table) -> np.ndarray:
        """By LightGBM, in double precision: [windows, horizon, 1 + quantiles], the quantiles in order."""
        matrix, centre, scale = self.features.encode(rows)
        laid = self.scores(matrix)
        laid[:, :, 1:] += self.shifts
        laid *= self.spread[:, None]
        values = laid * scale[:, :, None].astype(np.float64) + centre[:, :, None]
        return np.concatenate([values[:, :, :1], np.sort(values[:, :, 1:], axis=2)], axis=2)

    def scores(self, matrix: np.ndarray) -> np.ndarray:
        """What the trees say, [windows, horizon, 1 + quantiles]."""
        found = [
            base + sum(predict(lightgbm.Booster(model_str=block), matrix, self.threads)[:, 0] for block in blocks)
            for base, blocks in zip(self.base, self.blocks, strict=True)
        ]
        return np.stack(found, axis=1).reshape(-1, self.features.spec.horizon, len(found))

    def export(self) -> onnx.ModelProto:
        """Features, trees and intervals in one graph."""
        forests = [[tree for block in blocks for tree in forest.read(block)] for blocks in self.blocks]
        return export_onnx.build(self.features, forests, self.base, self.shifts, self.spread)

    def files(self) -> dict[str, bytes]:
        """Nothing."""
        return {}


def fit(data: WindowData, task: TrainModel, context: Context, report: Report) -> FittedForecast:
    """Learn the features' constants, then grow the trees. Raises InvalidSpec when either would be too large."""
    trainer = task.trainer
    assert isinstance(trainer, ForecastingTrainer), "the task's family says so"
    features = WindowFeatures.fit(data, trainer)
    _check_memory(data, len(features.names), context.environment.memory_bytes, task.field)
    check_size(trainer, len(data.train) * data.spec.horizon, 1 + len(data.spec.quantiles), task.field)
    parts = [(features.encode(split.rows), split.future) for split in (data.train, data.validation)]
    spread = _spread(*parts[0])
    train, validation = (_laid_out(encoded, future, spread) for encoded, future in parts)
    learner = ForecastLearner(trainer, context, train, validation, categorical=features.categorical)
    course = Training(learner, task, context, report).run()
    fitted = FittedForecast(
        features=features,
        blocks=tuple(tuple(part.texts()) for part in learner.parts),
        base=tuple(float(objective.base[0]) for objective in learner.objectives),
        spread=spread,
        shifts=np.zeros((data.spec.horizon, len(data.spec.quantiles)), dtype=np.float32),
        epochs=course.epoch,
        threads=context.environment.cpus,
    )
    if trainer.intervals == "Plain" or not trainer.quantiles:
        return fitted
    if not len(data.validation):
        context.tracker.warn(
            f"{task.field}.intervals: the quantiles are as the trees give them: no forecast fits into the validation split"
        )
        return fitted
    encoded, future = parts[1]
    quantiles = fitted.scores(encoded.matrix)[:, :, 1:]
    return replace(fitted, shifts=conformal.shifts(_measured(encoded, future) / spread, quantiles, data.spec.quantiles))


def _measured(encoded: Encoded, future: np.ndarray) -> np.ndarray:
    """Values that came, in deviations of their window."""
    return np.asarray((future - encoded.centre) / encoded.scale)


def _spread(encoded: Encoded, future: np.ndarray) -> np.ndarray:
    """Of each step, over the training windows."""
    measured = _measured(encoded, future)
    there = np.isfinite(measured)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, measured, 0.0).sum(axis=0) / count
    deviation = np.sqrt(np.where(there, (measured - mean) ** 2, 0.0).sum(axis=0) / count)
    return np.where(deviation > _LEAST, deviation, 1.0).astype(np.float32)


def _laid_out(encoded: Encoded, future: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row a value that came: features float32 [rows, columns], and the value as the trees answer [rows, 1]."""
    there = np.isfinite(future).reshape(-1)
    target = (_measured(encoded, future) / spread).astype(np.float32).reshape(-1, 1)
    return (encoded.matrix, target) if there.all() else (encoded.matrix[there], target[there])


def _check_memory(data: WindowData, columns: int, memory: int, field: str) -> None:
    rows = (len(data.train) + len(data.validation)) * data.spec.horizon
    needed = rows * columns * _BYTES
    if needed > memory:
        raise InvalidSpec(
            f"{field}.stride: {rows} steps to learn from, {columns} numbers each, take about {needed / 2**30:.1f} GiB, more "
            f"than the pod's {memory / 2**30:.1f} GiB: raise stride, so that fewer forecasts begin, or spec.resources.memory",
            field=f"{field}.stride",
        )
