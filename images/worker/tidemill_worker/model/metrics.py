"""Metrics of regression and classification in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LOWER_IS_BETTER = frozenset({"mae", "rmse", "medianAbsoluteError", "logLoss"})
HIGHER_IS_BETTER = frozenset({"r2", "accuracy", "f1Macro", "rocAuc"})
_SMALLEST = 1e-15


def regression(target: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """mae, rmse, r2, medianAbsoluteError."""
    error = np.abs(target - prediction)
    square = float(np.mean(error**2))
    variance = float(np.var(target))
    result = {
        "mae": float(np.mean(error)),
        "rmse": float(np.sqrt(square)),
        "medianAbsoluteError": float(np.median(error)),
    }
    if variance > 0:
        result["r2"] = 1 - square / variance
    return result


def classification(
    target: np.ndarray, label: np.ndarray, probabilities: np.ndarray | None, classes: Sequence[str]
) -> dict[str, float]:
    """accuracy, f1Macro; with probabilities logLoss, and rocAuc for two classes. Unknown classes count as wrong."""
    result = {"accuracy": float(np.mean(target == label)), "f1Macro": _f1_macro(target, label)}
    if probabilities is None:
        return result
    place = {name: i for i, name in enumerate(classes)}
    index = np.array([place.get(name, -1) for name in target])
    rows = np.arange(len(index))
    likelihood = np.where(index >= 0, probabilities[rows, np.maximum(index, 0)], 0.0).astype(np.float64)
    result["logLoss"] = float(-np.mean(np.log(np.clip(likelihood, _SMALLEST, 1.0))))
    positive = index == 1
    if len(classes) == 2 and 0 < positive.sum() < len(positive):
        result["rocAuc"] = _roc_auc(positive, probabilities[:, 1])
    return result


def _f1_macro(target: np.ndarray, label: np.ndarray) -> float:
    scores = []
    for name in sorted(set(target) | set(label)):
        hits = float(np.sum((target == name) & (label == name)))
        scores.append(2 * hits / float(np.sum(target == name) + np.sum(label == name)))
    return float(np.mean(scores))


def _roc_auc(positive: np.ndarray, score: np.ndarray) -> float:
    """The probability that a positive row scores above a negative one; ties count half."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    _, first, counts = np.unique(ordered, return_index=True, return_counts=True)
    ranks = np.empty(len(score))
    ranks[order] = np.repeat(first + (counts + 1) / 2, counts)
    number = int(positive.sum())
    return float((ranks[positive].sum() - number * (number + 1) / 2) / (number * (len(score) - number)))


def improvement(metric: str, champion: float, challenger: float) -> float:
    """Relative and positive when the challenger is better."""
    gain = champion - challenger if metric in LOWER_IS_BETTER else challenger - champion
    if champion == 0:
        return 0.0 if gain == 0 else float(np.sign(gain))
    return gain / abs(champion)
