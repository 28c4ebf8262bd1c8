"""Figures from numbers: percentiles, and the exponent of growth."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many per cent of the values do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values, so there is no percentile")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """How many durations there were, and p50, p99 and the longest of them in milliseconds."""
    if not seconds:
        return {"count": 0}
    found = {f"p{percent}Ms": round(percentile(seconds, percent) * 1000, 1) for percent in (50, 99)}
    return {"count": len(seconds), **found, "maxMs": round(max(seconds) * 1000, 1)}


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """The k of cost ∝ size^k by least squares on logarithms; None without two sizes of positive cost."""
    points = [(math.log(s), math.log(c)) for s, c in zip(sizes, costs, strict=True) if s > 0 and c > 0]
    if len({x for x, _ in points}) < 2:
        return None
    mean_x, mean_y = (sum(p[axis] for p in points) / len(points) for axis in (0, 1))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
