"""How each column goes with the target, and how well it predicts it alone. Pure numpy, on arrays of one entry a sampled row.

The score is found by a model of one column: the target's mean by quantile bin (numbers, interpolated between bins) or by
category, learnt on every second sampled row and judged on the others. A score near 1 usually means leakage: the column would
not be known when a prediction is asked for (Kaufman et al. 2012, "Leakage in data mining").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tidemill.contract.profile import Relation, Target, TargetBin
from tidemill_worker.profile.correlations import Feature, pearson, ranks
from tidemill_worker.profile.reader import Codes, Floats
from tidemill_worker.profile.rounding import places, rounded
from tidemill_worker.profile.timeline import moment

DECILES, CATEGORIES, CLASSES = 10, 10, 10
LEARNT_BINS, ROWS_A_BIN, FEWEST_ROWS = 64, 10, 20


@dataclass(frozen=True, slots=True)
class Goal:
    """The target as numbers, one entry a sampled row."""

    column: str
    task: Literal["Regression", "Classification"]
    meaning: str
    mean: Floats
    """What `mean` is taken of: the value, or 1 for the most frequent class and 0 for others; NaN where missing."""
    classes: Codes | None
    """Of a classification: the ten most frequent classes from 0, all others −1 like missing ones."""

    @property
    def measure(self) -> Literal["R2", "AUC"]:
        return "R2" if self.classes is None else "AUC"


def r2(actual: Floats, predicted: Floats) -> float:
    """Share of the variance explained, not below 0; NaN of a constant."""
    away = actual - actual.mean()
    whole = float((away * away).sum())
    left = actual - predicted
    return max(0.0, 1.0 - float((left * left).sum()) / whole) if whole > 0 else float("nan")


def auc(actual: npt.NDArray[np.bool_], predicted: Floats) -> float:
    """Area under the ROC curve (Mann–Whitney, ties count half); NaN when only one class is there."""
    positive = int(actual.sum())
    negative = len(actual) - positive
    if not positive or not negative:
        return float("nan")
    return (float(ranks(predicted)[actual].sum()) - positive * (positive + 1) / 2) / (positive * negative)


def predict(feature: Feature, goal: Floats, learnt: npt.NDArray[np.bool_]) -> Floats:
    """The goal's mean by bin or category of the feature in the learnt rows, looked up for all rows."""
    overall = float(goal[learnt].mean())
    if feature.is_number:
        values = np.asarray(feature.values, np.float64)
        present = np.isfinite(values)
        out = np.full(len(values), _mean(goal[learnt & ~present], overall))
        if (learnt & present).any():
            out[present] = _by_bin(values[learnt & present], goal[learnt & present], values[present])
        return out
    codes = np.asarray(feature.values, np.int64) + 1  # 0: missing
    counts = np.bincount(codes[learnt], minlength=int(codes.max()) + 1)
    sums = np.bincount(codes[learnt], weights=goal[learnt], minlength=len(counts))
    return np.where(counts > 0, sums / np.maximum(counts, 1), overall)[codes]


def _mean(values: Floats, otherwise: float) -> float:
    return float(values.mean()) if len(values) else otherwise


def _by_bin(x: Floats, y: Floats, asked: Floats) -> Floats:
    different = np.unique(x)
    if len(different) <= LEARNT_BINS:
        edges = (different[1:] + different[:-1]) / 2
    else:
        bins = max(2, min(LEARNT_BINS, len(x) // ROWS_A_BIN))
        edges = np.unique(np.quantile(x, np.arange(1, bins) / bins))
    bin_of = np.searchsorted(edges, x, "right")
    counts = np.bincount(bin_of, minlength=len(edges) + 1)
    some = counts > 0
    centres = np.bincount(bin_of, weights=x, minlength=len(counts))[some] / counts[some]
    means = np.bincount(bin_of, weights=y, minlength=len(counts))[some] / counts[some]
    return np.interp(asked, centres, means)


def score(feature: Feature, goal: Goal) -> float:
    """R² or AUC on the rows that were not learnt from; NaN when there are fewer than twenty of either."""
    known = np.isfinite(goal.mean) if goal.classes is None else goal.classes >= 0
    chosen = Feature(feature.name, feature.kind, feature.values[known])
    learnt = np.arange(int(known.sum())) % 2 == 0
    if int((~learnt).sum()) < FEWEST_ROWS:
        return float("nan")
    if goal.classes is None:
        values = goal.mean[known]
        return r2(values[~learnt], predict(chosen, values, learnt)[~learnt])
    classes = goal.classes[known]
    total, weight = 0.0, 0
    for each in range(int(classes.max()) + 1):
        found = auc(classes[~learnt] == each, predict(chosen, (classes == each).astype(np.float64), learnt)[~learnt])
        if np.isfinite(found):
            count = int((classes == each).sum())
            total, weight = total + found * count, weight + count
    return total / weight if weight else float("nan")


def relation(feature: Feature, goal: Goal) -> Relation:
    """One column beside the target."""
    known = np.isfinite(goal.mean)
    correlation = None
    if feature.is_number:
        values = np.asarray(feature.values, np.float64)
        both = np.stack([np.where(np.isfinite(values), values, np.nan), goal.mean], axis=1)
        correlation = places(float(pearson(both)[0, 1]))
        known &= np.isfinite(values)
        bins = _deciles(values[known], goal.mean[known], is_time=feature.kind == "Time")
    else:
        bins = _categories(np.asarray(feature.values, np.int64)[known], goal.mean[known], feature.labels)
    return Relation(column=feature.name, correlation=correlation, score=places(score(feature, goal)), bins=bins)


def _deciles(x: Floats, y: Floats, *, is_time: bool) -> tuple[TargetBin, ...]:
    """Tenths of the rows by x; equal values stay together."""
    if not len(x):
        return ()
    edges = np.unique(np.quantile(x, np.arange(1, DECILES) / DECILES, method="inverted_cdf"))
    bin_of = np.searchsorted(edges, x, "left")
    found = []
    for each in np.unique(bin_of).tolist():
        inside = bin_of == each
        low, high = float(x[inside].min()), float(x[inside].max())
        ends = [moment(int(v)) if is_time else f"{rounded(v, high - low)}" for v in (low, high)]
        found.append(
            TargetBin(
                label=" – ".join(dict.fromkeys(ends)),
                mean=rounded(float(y[inside].mean())) or 0,
                count=int(inside.sum()),
            )
        )
    return tuple(found)


def _categories(codes: Codes, y: Floats, labels: tuple[str, ...]) -> tuple[TargetBin, ...]:
    """The most frequent categories; those that are seen once say nothing."""
    counts = np.bincount(codes + 1, minlength=len(labels) + 1)[1:]
    sums = np.bincount(codes + 1, weights=y, minlength=len(labels) + 1)[1:]
    order = np.argsort(-counts[: len(labels)], kind="stable")[:CATEGORIES]
    return tuple(
        TargetBin(label=labels[i][:80], mean=rounded(float(sums[i] / counts[i])) or 0, count=int(counts[i]))
        for i in order.tolist()
        if counts[i] > 1
    )


def summary(goal: Goal, by_split: dict[str, float | None], relations: list[Relation]) -> Target:
    """All relations, the best predictors first."""
    return Target(
        column=goal.column,
        task=goal.task,
        meaning=goal.meaning,
        measure=goal.measure,
        by_split={split: rounded(mean) for split, mean in by_split.items()},
        relations=tuple(sorted(relations, key=lambda r: -float(r.score if r.score is not None else -1))),
    )
