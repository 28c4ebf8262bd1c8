"""Quantiles that hold what they promise: moved until the validation split has the right share of values below each.

Trees fit the training split too well, and the intervals between their quantiles are too narrow for what comes later.
Conformalized quantile regression (Romano, Patterson & Candès 2019), each quantile for itself as in their asymmetric variant: of
values that are exchangeable with those of the validation split, at least the promised share then lies on the right side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEW = 100
"""With fewer values of each step all steps are moved alike."""


def shifts(target: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """What to add, float32 [horizon, levels]; zeros without values.

    `target` is [windows, horizon], NaN where no value came; `quantiles` is [windows, horizon, levels].
    """
    beyond = target[:, :, None] - quantiles
    counts = np.isfinite(target).sum(axis=0)
    found = np.zeros(quantiles.shape[1:], dtype=np.float32)
    for place, level in enumerate(levels):
        if counts.min() >= FEW:
            found[:, place] = [_order(beyond[:, step, place], level) for step in range(beyond.shape[1])]
        elif counts.sum():
            found[:, place] = _order(beyond[:, :, place].reshape(-1), level)
    return found


def _order(values: np.ndarray, level: float) -> float:
    """The value below which the share lies, of one more value than there are: towards the outside."""
    there = np.sort(values[np.isfinite(values)])
    rank = (len(there) + 1) * level
    place = np.ceil(rank) if level >= 0.5 else np.floor(rank)
    return float(there[int(np.clip(place, 1, len(there))) - 1])
