"""Metrics by name: which way is better, and by how much one model beats another.

The figures themselves are computed by `regression.py` and `classification.py`, for many weightings of the rows at once: a
bootstrap resample is a weighting by how often each row was drawn, so that intervals need no second implementation.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np

from tidemill.contract.directions import LOWER_IS_BETTER


class Judged(Protocol):
    """Labelled rows beside a model's answers."""

    @property
    def block(self) -> int:
        """So many neighbouring rows tell nearly the same; 1 of rows that are independent."""

    def __len__(self) -> int:
        """Number of rows."""

    def take(self, rows: np.ndarray) -> Self:
        """Some of the rows, by index or mask."""

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric for each row of `weights` [weightings, rows]; NaN where one does not exist."""


def metrics(rows: Judged) -> dict[str, float]:
    """The metrics that exist, each row counted once, to nine significant digits; nothing without rows."""
    if not len(rows):
        return {}
    found = rows.measure(np.ones((1, len(rows))))
    return {name: float(f"{value[0]:.9g}") for name, value in found.items() if np.isfinite(value[0])}


def improvement(metric: str, champion: float, challenger: float) -> float:
    """Relative and positive when the challenger is better."""
    return float(improvements(metric, np.array([champion]), np.array([challenger]))[0])


def improvements(metric: str, champion: np.ndarray, challenger: np.ndarray) -> np.ndarray:
    """The same for many pairs at once. Beside a champion of zero there is no ratio: the sign alone is told."""
    gain = champion - challenger if metric in LOWER_IS_BETTER else challenger - champion
    return np.asarray(np.where(champion == 0, np.sign(gain), gain / np.where(champion == 0, 1.0, np.abs(champion))))


def mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted means [weightings]. Not by BLAS, whose order of summation depends on the number of threads."""
    return np.asarray(np.einsum("wr,r->w", weights, values) / weights.sum(axis=1))
