"""Distributions as counts by bin, and how far two of them are apart.

Bins are made from the values as a model receives them (FP32), or values that serving sees could fall beside an edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tidemill.contract.metrics import RATIO_FLOOR
from tidemill.contract.model import FeatureBaseline

DECILES = np.arange(1, 10) / 10
TOP_CATEGORIES = 20


def numeric(name: str, values: np.ndarray) -> FeatureBaseline:
    """Decile edges, each once; bin i holds [edges[i-1], edges[i]). NaN counts as missing."""
    seen = np.asarray(values, dtype=np.float32).astype(np.float64).reshape(-1)
    present = np.sort(seen[~np.isnan(seen)])
    finite = present[np.isfinite(present)]
    edges = np.unique(np.quantile(finite, DECILES, method="inverted_cdf")) if len(finite) else np.empty(0)
    return FeatureBaseline(
        name=name,
        kind="numeric",
        edges=tuple(map(float, edges)),
        counts=tuple(map(int, count_numbers(edges, present))),
        missing=len(seen) - len(present),
    )


def count_numbers(edges: Sequence[float] | np.ndarray, present: np.ndarray) -> np.ndarray:
    """How many of the values lie in each bin of these edges."""
    seen = np.asarray(present, dtype=np.float32).astype(np.float64)
    return np.bincount(np.searchsorted(np.asarray(edges), seen, side="right"), minlength=len(edges) + 1)


def categorical(name: str, values: np.ndarray) -> FeatureBaseline:
    """The most frequent categories, ties by name, and one count for all others. Empty text counts as missing."""
    distinct, numbers = np.unique(np.asarray([str(v) for v in values.reshape(-1)], dtype=object), return_counts=True)
    found = {str(value): int(number) for value, number in zip(distinct, numbers, strict=True)}
    missing = found.pop("", 0)
    return categories(name, found, missing=missing)


def categories(name: str, found: dict[str, int], *, missing: int) -> FeatureBaseline:
    """The same from counts by category."""
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    top = ordered[:TOP_CATEGORIES]
    return FeatureBaseline(
        name=name,
        kind="categorical",
        categories=tuple(value for value, _ in top),
        counts=(*(number for _, number in top), sum(number for _, number in ordered[TOP_CATEGORIES:])),
        missing=missing,
    )


def psi(base: Sequence[int] | np.ndarray, live: Sequence[int] | np.ndarray) -> float:
    """Population stability index of counts by bin: Σ (b − a) · ln(b / a) over the bins' shares a and b, as the drift scores
    are taken in Prometheus: shares are clipped to RATIO_FLOOR.

    N. Siddiqi, Credit Risk Scorecards, Wiley 2006, ch. 6; the symmetric form of the Kullback-Leibler divergence.
    """
    shares = [
        np.maximum(np.asarray(counts, dtype=np.float64) / max(1, np.sum(counts)), RATIO_FLOOR)
        for counts in (base, live)
    ]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
