"""Statistics of one column of numbers, all from one sorted copy of it. Pure numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tidemill.contract.profile import Histogram, Number, NumberStatistics, ValueCount
from tidemill_worker.profile.rounding import places, rounded, settled

BINS = 30
TOP, EXTREMES = 10, 5
QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
INNER_FENCE, OUTER_FENCE = 1.5, 3.0
Sorted = npt.NDArray[Any]


def quantile(ordered: Sorted, share: float) -> float:
    """Linear interpolation between the two nearest of the sorted values (type 7 of Hyndman and Fan 1996)."""
    place = (len(ordered) - 1) * share
    low = int(place)
    a, b = float(ordered[low]), float(ordered[min(low + 1, len(ordered) - 1)])
    return a + (b - a) * (place - low) if a != b else a


def finite_part(ordered: Sorted) -> Sorted:
    """The sorted values without the infinite ones, which lie at both ends."""
    if ordered.dtype.kind != "f":
        return ordered
    return ordered[np.searchsorted(ordered, -np.inf, "right") : np.searchsorted(ordered, np.inf, "left")]


def histogram(ordered: Sorted) -> Histogram:
    """Of sorted finite values, at least one. Where all are whole numbers, every bin holds equally many of them."""
    low, high = quantile(ordered, 0.005), quantile(ordered, 0.995)
    if low == high:
        low, high = float(ordered[0]), float(ordered[-1])
    if low == high:
        return Histogram(edges=(_exact(ordered[0]),) * 2, counts=(len(ordered),))
    if ordered.dtype.kind in "iu" or bool(np.all(ordered == np.rint(ordered))):
        first, last = np.floor(low), np.ceil(high)
        width = np.ceil((last - first + 1) / BINS)
        edges = first - 0.5 + width * np.arange(int(np.ceil((last - first + 1) / width)) + 1)
    else:
        edges = np.linspace(low, high, BINS + 1)
    if not np.all(np.isfinite(edges)) or np.any(np.diff(edges) <= 0):  # values too far apart, or too near, for float64
        edges = np.array([low, high])
    inner = np.searchsorted(ordered, edges[1:-1], "left")
    counts = np.diff(np.concatenate([[0], inner, [len(ordered)]]))
    span = float(edges[1] - edges[0])
    shown = tuple(rounded(edge, span) for edge in edges.tolist())
    return Histogram(
        edges=tuple(edge if edge is not None else 0 for edge in shown),
        counts=tuple(counts.tolist()),
        below=int(np.searchsorted(ordered, edges[0], "left")),
        above=len(ordered) - int(np.searchsorted(ordered, edges[-1], "right")),
    )


def runs(ordered: Sorted) -> tuple[Sorted, npt.NDArray[np.int64]]:
    """The different values of a sorted array, and how often each occurs."""
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else np.empty(0, int)
    return ordered[starts], np.diff(np.append(starts, len(ordered)))


def top(values: Sorted, counts: npt.NDArray[np.int64]) -> tuple[ValueCount, ...]:
    """The most frequent, ties by value; nothing when every value is there once."""
    if not len(counts) or counts.max() < 2:
        return ()
    bar = np.partition(counts, -TOP)[-TOP] if len(counts) > TOP else 0
    above = np.flatnonzero(counts > bar)
    level = np.flatnonzero(counts == bar)[: TOP - len(above)]
    chosen = sorted([*above.tolist(), *level.tolist()], key=lambda i: (-counts[i], values[i]))
    span = _span(finite_part(values))
    return tuple(ValueCount(value=str(_exact(values[i], span)), count=int(counts[i])) for i in chosen)


def statistics(finite: Sorted, different: Sorted, *, infinite: int) -> NumberStatistics:
    """Of the sorted finite values, at least one, and the different ones among them."""
    span = _span(finite)
    with np.errstate(over="ignore", invalid="ignore"):
        q = {name: quantile(finite, share) for name, share in QUANTILES.items()}
        iqr = q["p75"] - q["p25"]
        floats = finite.astype(np.float64)
        mad = quantile(np.sort(np.abs(floats - q["p50"])), 0.5)
        outside = [
            len(finite)
            - int(np.searchsorted(floats, q["p75"] + fence * iqr, "right"))
            + int(np.searchsorted(floats, q["p25"] - fence * iqr, "left"))
            for fence in (INNER_FENCE, OUTER_FENCE)
        ]
        moments = _moments(floats)
    return NumberStatistics(
        min=_exact(finite[0], span),
        max=_exact(finite[-1], span),
        quantiles={name: rounded(value, span) or 0 for name, value in q.items()},
        iqr=rounded(iqr) or 0,
        mad=rounded(mad) or 0,
        zeros=int(np.searchsorted(finite, 0, "right") - np.searchsorted(finite, 0, "left")),
        negatives=int(np.searchsorted(finite, 0, "left")),
        infinite=infinite,
        outliers=rounded(outside[0] / len(finite)) or 0,
        far_outliers=rounded(outside[1] / len(finite)) or 0,
        smallest=tuple(_exact(v, span) for v in different[:EXTREMES]),
        largest=tuple(_exact(v, span) for v in different[::-1][:EXTREMES]),
        **moments,
    )


def _moments(floats: Sorted) -> dict[str, Number | None]:
    """Mean, sum, sd, cv, G1 and G2; those that are not finite, or need more values, are None."""
    n, scale = len(floats), float(max(abs(floats[0]), abs(floats[-1])))
    mean = settled(float(floats.mean()), scale)
    away = floats - mean
    second = float((away * away).mean())
    found: dict[str, Number | None] = {"mean": rounded(mean, float(floats[-1] - floats[0])), "sum": rounded(mean * n)}
    if n < 2:
        return found
    sd = float(np.sqrt(second * n / (n - 1)))
    constant = floats[0] == floats[-1]
    found["sd"] = 0 if constant else rounded(sd)
    if mean:
        found["cv"] = 0 if constant else rounded(sd / abs(mean))
    if n > 2 and second > 0 and not constant:
        third = float((away * away * away).mean()) / second**1.5
        found["skewness"] = places(third * np.sqrt(n * (n - 1)) / (n - 2))
    if n > 3 and second > 0 and not constant:
        fourth = float((away * away * away * away).mean()) / second**2 - 3
        found["kurtosis"] = places((n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * fourth + 6))
    return found


def _span(ordered: Sorted) -> float:
    """How far the least and the greatest of sorted values lie apart."""
    return float(ordered[-1]) - float(ordered[0]) if len(ordered) else 0.0


def _exact(value: Any, span: float = 0.0) -> Number:
    """A finite value that stands in the data: whole numbers as they are, others with digits enough to tell them apart."""
    if isinstance(value, np.integer):
        return int(value)
    return rounded(float(value), span) or 0
