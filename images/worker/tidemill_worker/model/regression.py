"""Metrics of a regression in plain numpy, for many weightings of the rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tidemill_worker.model.metrics import mean

_CONSTANT = 1e-12
"""A variance below this share of the squared deviation from the median is rounding: the target is constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionRows:
    """Numbers that were asked for and numbers that a model gave: both float64 [rows], finite."""

    target: np.ndarray
    prediction: np.ndarray
    block: ClassVar[int] = 1

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: np.ndarray) -> RegressionRows:
        """Some of the rows, by index or mask."""
        return RegressionRows(target=self.target[rows], prediction=self.prediction[rows])

    def errors(self) -> np.ndarray:
        """The absolute error of each row."""
        return np.asarray(np.abs(self.prediction - self.target))

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """mae, rmse, r2, medianAbsoluteError, p90AbsoluteError, mape, smape, bias: each [weightings].

        r2 does not exist for a constant target, nor mape where a target is zero. smape is the mean of
        2 |p − y| / (|p| + |y|), between 0 and 2, and 0 where both are zero (Makridakis 1993). bias is the mean of p − y.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            residual = self.prediction - self.target
            error = np.abs(residual)
            square = mean(weights, error**2)
            median, p90 = quantiles(weights, error, (0.5, 0.9))
            size = np.abs(self.prediction) + np.abs(self.target)
            found = {
                "mae": mean(weights, error),
                "rmse": np.sqrt(square),
                "r2": _r2(weights, square, self.target),
                "medianAbsoluteError": median,
                "p90AbsoluteError": p90,
                "smape": mean(weights, np.divide(2 * error, size, out=np.zeros(len(self)), where=size > 0)),
                "bias": mean(weights, residual),
            }
            if (self.target != 0).all():
                found["mape"] = mean(weights, error / np.abs(self.target))
        return found


def _r2(weights: np.ndarray, square: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Deviations are from the median, so that those of a constant target are exactly zero."""
    deviation = target - np.median(target)
    total = mean(weights, deviation**2)
    variance = total - mean(weights, deviation) ** 2
    varies = variance > _CONSTANT * total
    return np.where(varies, 1 - square / np.where(varies, variance, 1.0), np.nan)


def quantiles(weights: np.ndarray, values: np.ndarray, shares: Sequence[float]) -> list[np.ndarray]:
    """Quantiles [weightings] of the values, each counted as often as its weight (a whole number) says.

    Between two values they are interpolated linearly, as numpy.quantile does.
    """
    order = np.argsort(values, kind="stable")
    ordered, counted = values[order], np.cumsum(weights[:, order], axis=1)

    def at(place: np.ndarray) -> np.ndarray:
        return np.asarray(ordered[np.minimum((counted <= place[:, None]).sum(axis=1), len(values) - 1)])

    found = []
    for share in shares:
        place = (counted[:, -1] - 1) * share
        low = np.floor(place)
        part = place - low
        found.append(at(low) * (1 - part) + at(low + 1) * part)
    return found
