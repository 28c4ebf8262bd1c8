"""Metrics of forecasts in plain numpy, for many weightings of the windows at once, beside the seasonal-naive forecast."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from tidemill.contract.model import ForecastSignature
from tidemill_worker.model import tables
from tidemill_worker.model.regression import RegressionRows
from tidemill_worker.model.windows import FUTURE, SCALE

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRows:
    """Values that came and values that were forecast, one row a window: float64 [windows, horizon]."""

    target: np.ndarray
    """NaN where no value came."""
    prediction: np.ndarray
    naive: np.ndarray
    """The newest value that is whole seasons before the one that is forecast."""
    scale: np.ndarray
    """float64 [windows]: the series' own, or NaN; see `Series.scale`."""
    quantiles: np.ndarray
    """float64 [windows, horizon, levels]"""
    levels: tuple[float, ...]
    """Ascending."""
    block: int
    """Twice as many neighbouring windows as overlap in what they forecast: blocks of that length show how much they share."""

    @classmethod
    def of(cls, table: pa.Table, target: str, spec: ForecastSignature, outputs: Outputs) -> ForecastRows:
        """From windows and a model's answers to them."""
        back = spec.history - spec.season * -(-np.arange(1, spec.horizon + 1) // spec.season)
        naive = tables.vectors(table, target)[:, back + np.arange(spec.horizon)]
        rows = cls(
            target=tables.vectors(table, FUTURE).astype(np.float64),
            prediction=np.empty(0),
            naive=naive.astype(np.float64),
            scale=tables.numbers(table, SCALE),
            quantiles=np.empty(0),
            levels=spec.quantiles,
            block=2 * -(-spec.horizon // spec.stride) if spec.stride < spec.horizon else 1,
        )
        return rows.answered(outputs)

    def answered(self, outputs: Outputs) -> ForecastRows:
        """The same windows with other answers."""
        shape = (*self.target.shape, len(self.levels))
        quantiles = outputs["quantiles"].astype(np.float64) if self.levels else np.empty(shape)
        return replace(
            self,
            prediction=outputs["prediction"].astype(np.float64).reshape(shape[:2]),
            quantiles=quantiles.reshape(shape),
        )

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: np.ndarray) -> ForecastRows:
        """Some of the windows, by index or mask."""
        return replace(
            self,
            target=self.target[rows],
            prediction=self.prediction[rows],
            naive=self.naive[rows],
            scale=self.scale[rows],
            quantiles=self.quantiles[rows],
        )

    def step(self, ahead: int) -> ForecastRows:
        """Only what was forecast `ahead` steps away; 1 is the next one."""
        part = slice(ahead - 1, ahead)
        return replace(
            self,
            target=self.target[:, part],
            prediction=self.prediction[:, part],
            naive=self.naive[:, part],
            quantiles=self.quantiles[:, part],
        )

    def flat(self) -> RegressionRows:
        """Every value for itself."""
        there = np.isfinite(self.target)
        return RegressionRows(target=self.target[there], prediction=self.prediction[there])

    def errors(self) -> np.ndarray:
        """The mean absolute error of each window."""
        return np.asarray(np.nanmean(np.abs(self.prediction - self.target), axis=1))

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """mae, rmse, smape, bias, seasonalNaiveMae, skill, mase; with quantiles coverage, intervalWidth and quantileLoss.

        Each is a mean over all values that came. mase divides an error by the series' scale (Hyndman & Koehler 2006); skill is
        1 − mae / seasonalNaiveMae; smape as a regression's. coverage is the share of the values between the lowest and the
        highest quantile, intervalWidth their mean distance, quantileLoss the mean pinball loss of all levels.
        """
        there = np.isfinite(self.target)
        residual = np.where(there, self.prediction - self.target, 0.0)
        error, naive = np.abs(residual), np.abs(self.naive - self.target)
        size = np.abs(self.prediction) + np.abs(self.target)
        relative = np.divide(2 * error, size, out=np.zeros(error.shape), where=there & (size > 0))
        scaled = np.isfinite(self.scale)[:, None] & there
        found = {
            "mae": _mean(weights, error, there),
            "rmse": np.sqrt(_mean(weights, error**2, there)),
            "mase": _mean(weights, error / np.where(np.isfinite(self.scale), self.scale, 1.0)[:, None], scaled),
            "smape": _mean(weights, relative, there),
            "bias": _mean(weights, residual, there),
            "seasonalNaiveMae": _mean(weights, naive, there),
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            skill = 1 - found["mae"] / found["seasonalNaiveMae"]
        return {**found, "skill": np.where(np.isfinite(skill), skill, np.nan), **self._intervals(weights, there)}

    def _intervals(self, weights: np.ndarray, there: np.ndarray) -> dict[str, np.ndarray]:
        if not self.levels:
            return {}
        above = self.target[:, :, None] - self.quantiles
        levels = np.array(self.levels)
        found = {"quantileLoss": _mean(weights, np.maximum(levels * above, (levels - 1) * above).mean(axis=2), there)}
        if len(self.levels) > 1:
            low, high = self.quantiles[:, :, 0], self.quantiles[:, :, -1]
            inside = (low <= self.target) & (self.target <= high)
            found["coverage"] = _mean(weights, inside.astype(np.float64), there)
            found["intervalWidth"] = _mean(weights, high - low, there)
        return found


def _mean(weights: np.ndarray, values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Weighted means [weightings] of the values that are there; NaN where none is."""
    total = np.einsum("wr,r->w", weights, np.where(there, values, 0.0).sum(axis=1))
    count = np.einsum("wr,r->w", weights, there.sum(axis=1).astype(np.float64))
    return np.asarray(np.divide(total, count, out=np.full(len(weights), np.nan), where=count > 0))
