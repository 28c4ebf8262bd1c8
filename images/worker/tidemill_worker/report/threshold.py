"""From which probability on a row should count as positive: chosen on one split, told on others; the model is not changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tidemill.contract.evaluating import ThresholdOptions
from tidemill.contract.evaluation import Threshold, ThresholdFigures
from tidemill_worker.errors import InvalidSpec
from tidemill_worker.model.classification import ClassificationRows
from tidemill_worker.report.numbers import known, short

DEFAULT = 0.5
_DIGITS = 9
"""Enough to tell two single-precision numbers apart."""


def check(options: ThresholdOptions, classes: Sequence[str] | None) -> None:
    """There must be two classes, one of them the positive one. Raises InvalidSpec."""
    field = "spec.evaluation.threshold"
    if classes is None or len(classes) != 2:
        found = "this is a regression" if classes is None else f"the target has {len(classes)}"
        raise InvalidSpec(f"{field}: a threshold is chosen between two classes; {found}: remove it", field=field)
    if options.positive is not None and options.positive not in classes:
        raise InvalidSpec(
            f"{field}.positive: {options.positive!r} is no class of the target; its classes are {', '.join(classes)}",
            field=f"{field}.positive",
        )


def threshold(options: ThresholdOptions, splits: Mapping[str, ClassificationRows], chosen_on: str) -> Threshold | None:
    """The best one on `chosen_on`, with its figures on every split. None without probabilities or rows."""
    rows = splits.get(chosen_on)
    if rows is None or not len(rows) or rows.probabilities is None or rows.known != 2:
        return None
    positive = options.positive or rows.names[1]
    place = rows.names.index(positive)
    scores = {
        name: (r.probabilities[:, place], r.truth == place) for name, r in splits.items() if r.probabilities is not None
    }
    best = _choose(options, *scores[chosen_on])
    return Threshold(
        positive=positive,
        choose=options.choose,
        at_least=options.at_least,
        threshold=best,
        chosen={} if best is None else {name: _figures(*pair, best) for name, pair in scores.items()},
        default={name: _figures(*pair, DEFAULT) for name, pair in scores.items()},
    )


def _choose(options: ThresholdOptions, score: np.ndarray, positive: np.ndarray) -> float | None:
    """Halfway between the lowest score that counts and the next one; None when no threshold keeps what is asked for."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    hits, number = np.cumsum(positive[order])[last], last + 1
    if not hits[-1]:
        return None
    precision, recall = hits / number, hits / hits[-1]
    if options.choose == "MaxF1":
        best = int(np.argmax(2 * hits / (number + hits[-1])))
    else:
        kept, wanted = (precision, recall) if options.choose == "MinPrecision" else (recall, precision)
        allowed = np.flatnonzero(kept >= (options.at_least or 0.0))
        if not len(allowed):
            return None
        best = int(allowed[np.argmax(wanted[allowed])])
    counted = float(ordered[last[best]])
    below = float(ordered[last[best + 1]]) if best + 1 < len(last) else 0.0
    return float(f"{(counted + below) / 2:.{_DIGITS}g}")


def _figures(score: np.ndarray, positive: np.ndarray, at: float) -> ThresholdFigures:
    selected = score >= at
    hits, chosen, there = int((selected & positive).sum()), int(selected.sum()), int(positive.sum())
    return ThresholdFigures(
        selected=short(float(selected.mean())),
        precision=known(hits / chosen) if chosen else None,
        recall=known(hits / there) if there else None,
        f1=known(2 * hits / (chosen + there)) if chosen + there else None,
        accuracy=short(float((selected == positive).mean())),
    )
