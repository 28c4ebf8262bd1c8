"""The target column as numbers, and back: learnt from the training split, the same for every family."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill.contract.tasks import TrainModel
from tidemill_worker.errors import DatasetEmpty, InvalidData
from tidemill_worker.model import tables

MAX_CLASSES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A regression's target is standardised: losses, penalties and Huber's threshold are in standard deviations of it."""

    field: str
    column: str
    classes: tuple[str, ...] | None
    """Of a classification, in the order of their indices."""
    mean: float = 0.0
    scale: float = 1.0

    @classmethod
    def learn(cls, task: TrainModel, train: pa.Table) -> Target:
        """From the training split. Raises DatasetEmpty, InvalidData or ColumnType when there is nothing to learn."""
        column, field = task.trainer.target, f"{task.field}.target"
        if task.task == "Regression":
            values = tables.numbers(train, column, field=field)
            values = values[np.isfinite(values)]
            if not len(values):
                raise DatasetEmpty(f"target {column!r} is missing in every training row", field=field)
            _check_range(values, column, field)
            # by the values themselves: the deviation of equal ones is a rounding error, not zero
            mean, scale = float(np.mean(values)), float(np.std(values)) if np.ptp(values) > 0 else 1.0
            return cls(field=field, column=column, classes=None, mean=mean, scale=scale)
        names = sorted(set(tables.labels(train, column, field=field)) - {""}, key=tables.class_order)
        if len(names) < 2:
            raise InvalidData(
                f"target {column!r} has {len(names)} class in the training split; a classification needs two",
                field=field,
            )
        if len(names) > MAX_CLASSES:
            raise InvalidData(f"target {column!r} has {len(names)} classes, more than {MAX_CLASSES}", field=field)
        return cls(field=field, column=column, classes=tuple(names))

    @property
    def outputs(self) -> int:
        """Numbers that a model gives for a row: one, or one for each class."""
        return 1 if self.classes is None else len(self.classes)

    def encode(self, table: pa.Table) -> tuple[pa.Table, np.ndarray]:
        """The rows that can be learnt from, and their targets: float32 [rows, 1], or int64 indices of classes [rows]."""
        if self.classes is None:
            values = tables.numbers(table, self.column, field=self.field)
            present = np.isfinite(values)
            scaled = ((values[present] - self.mean) / self.scale).astype(np.float32).reshape(-1, 1)
            return table.filter(pa.array(present)), scaled
        names = tables.labels(table, self.column, field=self.field)
        place = {name: i for i, name in enumerate(self.classes)}
        index = np.array([place.get(name, -1) for name in names], dtype=np.int64)
        return table.filter(pa.array(index >= 0)), index[index >= 0]

    def decode(self, raw: np.ndarray) -> np.ndarray:
        """What a served model answers with for raw outputs [rows, outputs]: values [rows], or probabilities by class."""
        raw = raw.astype(np.float64)
        if self.classes is None:
            return np.asarray(raw[:, 0] * self.scale + self.mean)
        shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _check_range(values: np.ndarray, column: str, field: str) -> None:
    """A served model answers in single precision. Raises InvalidData for a target that it cannot hold or tell apart."""
    single, greatest = np.finfo(np.float32), float(np.max(np.abs(values)))
    most, least = float(single.max), max(float(single.tiny), float(single.eps) * greatest)
    if greatest > most:
        raise InvalidData(
            f"{field}: target {column!r} holds {greatest:g}, and a model's answer is at most {most:.2g} (single "
            "precision): take its logarithm or another unit in the dataset, or filter such rows",
            field=field,
        )
    if 0 < np.ptp(values) < least:
        raise InvalidData(
            f"{field}: the values of target {column!r} differ by {np.ptp(values):g} around {greatest:g}, less than single "
            "precision, in which a model answers, can tell apart: subtract a constant in the dataset, or take another unit",
            field=field,
        )
