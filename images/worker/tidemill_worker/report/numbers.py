"""Numbers as they stand in reports."""

from __future__ import annotations

import math

import numpy as np

DIGITS = 6


def short(value: float) -> float:
    """Six significant digits, so that the last bits of a sum never change an artifact's digest."""
    return float(f"{value:.{DIGITS}g}")


def known(value: float) -> float | None:
    """The same, or None for a number that does not exist."""
    return short(value) if np.isfinite(value) else None


def settled(value: float, scale: float) -> float:
    """A difference of numbers as large as `scale`, to the last of their six digits: what is below is noise of the sums."""
    return round(value, DIGITS - math.ceil(math.log10(scale))) if scale > 0 else short(value)


def spread(rows: int, most: int) -> np.ndarray:
    """Up to `most` row numbers, drawn without replacement, in order; the same ones every time."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
