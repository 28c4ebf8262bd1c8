"""Groups beside each other: who gets the favorable class, and how often rightly (Hardt, Price & Srebro 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tidemill.contract.evaluating import ConfidenceOptions, FairnessOptions
from tidemill.contract.evaluation import Fairness, Group, Interval
from tidemill_worker.errors import InvalidSpec
from tidemill_worker.model.classification import ClassificationRows
from tidemill_worker.model.evaluation import Rows, Scored
from tidemill_worker.model.regression import RegressionRows
from tidemill_worker.report.bootstrap import wilson
from tidemill_worker.report.numbers import known, short
from tidemill_worker.report.slices import Cut

ENOUGH = 20
"""A rate over fewer rows is shown, but does not count in the measures: its interval is wider than most differences."""


def check(options: FairnessOptions, classes: Sequence[str] | None) -> None:
    """The favorable class must be one of the target's; a regression (no classes) has none. Raises InvalidSpec."""
    field = "spec.evaluation.fairness.favorable"
    if classes is None and options.favorable is not None:
        raise InvalidSpec(f"{field} has no effect on a regression, which has no classes: remove it", field=field)
    if classes is not None and options.favorable not in classes:
        asked = f"{options.favorable!r} is no class of the target" if options.favorable else "a classification needs it"
        raise InvalidSpec(f"{field}: {asked}; its classes are {', '.join(classes[:20])}", field=field)


def measure(
    scored: Scored, cuts: Sequence[Cut], options: FairnessOptions, confidence: ConfidenceOptions
) -> tuple[Fairness, ...]:
    """Every column's groups and what lies between them."""
    found = []
    for cut in cuts:
        each = [(part.value, scored.rows.take(part.rows)) for part in cut.parts(scored.table)]
        groups = tuple(_group(value, rows, options.favorable, confidence) for value, rows in each)
        counted = [rows for _, rows in each if len(rows) >= ENOUGH]
        found.append(
            Fairness(
                column=cut.column,
                favorable=options.favorable,
                groups=groups,
                measures={name: short(value) for name, value in measures(counted, options.favorable).items()},
            )
        )
    return tuple(found)


def measures(groups: Sequence[Rows], favorable: str | None) -> dict[str, float]:
    """What lies between the groups; a measure that fewer than two of them have is absent.

    demographicParityDifference and -Ratio: of the rates at which groups get the favorable class, greatest minus smallest, and
    smallest by greatest. equalOpportunityDifference: the difference of these rates among the rows where that class is right
    (Hardt et al.). equalizedOddsDifference: the greater of that and of the same among the rows where the class is wrong
    (theirs, and Fairlearn's). Of a regression meanPredictionDifference and maeDifference.
    """
    if any(isinstance(rows, RegressionRows) for rows in groups):
        numbers = [rows for rows in groups if isinstance(rows, RegressionRows)]
        predictions = [float(np.mean(rows.prediction)) for rows in numbers]
        errors = [float(np.mean(np.abs(rows.prediction - rows.target))) for rows in numbers]
        return _difference("meanPredictionDifference", predictions) | _difference("maeDifference", errors)
    classes = [_Rates(rows, favorable) for rows in groups if isinstance(rows, ClassificationRows)]
    selected = [float(np.mean(rates.selected)) for rates in classes]
    rightly, wrongly = (
        _difference("", [float(np.mean(rows)) for rows in each if len(rows) >= ENOUGH])
        for each in ([rates.rightly for rates in classes], [rates.wrongly for rates in classes])
    )
    found = _difference("demographicParityDifference", selected)
    if found:
        found["demographicParityRatio"] = min(selected) / max(selected) if max(selected) > 0 else 1.0
    if rightly:
        found["equalOpportunityDifference"] = rightly[""]
    if rightly and wrongly:
        found["equalizedOddsDifference"] = max(rightly[""], wrongly[""])
    return found


def _difference(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: max(values) - min(values)} if len(values) > 1 else {}


class _Rates:
    """Whether each row gets the favorable class: of all rows, of those where that is right, of those where it is wrong."""

    def __init__(self, rows: ClassificationRows, favorable: str | None) -> None:
        place = rows.names.index(favorable) if favorable in rows.names else -1
        self.selected = rows.guess == place
        self.rightly = self.selected[rows.truth == place]
        self.wrongly = self.selected[rows.truth != place]


def _group(value: str, rows: Rows, favorable: str | None, confidence: ConfidenceOptions) -> Group:
    if isinstance(rows, RegressionRows):
        figures = rows.measure(np.ones((1, len(rows))))
        shown = {"mae": figures["mae"][0], "bias": figures["bias"][0], "meanPrediction": np.mean(rows.prediction)}
        return Group(value=value, rows=len(rows), metrics={name: short(number) for name, number in shown.items()})
    assert isinstance(rows, ClassificationRows), "the fairness of a forecast is not asked for"
    rates = _Rates(rows, favorable)
    return Group(
        value=value,
        rows=len(rows),
        selection_rate=_rate(rates.selected),
        selection_interval=_interval(rates.selected, confidence),
        true_positive_rate=_rate(rates.rightly),
        true_positive_interval=_interval(rates.rightly, confidence),
        false_positive_rate=_rate(rates.wrongly),
        metrics={"accuracy": short(float(np.mean(rows.truth == rows.guess)))},
    )


def _rate(selected: np.ndarray) -> float | None:
    return known(float(np.mean(selected))) if len(selected) else None


def _interval(selected: np.ndarray, confidence: ConfidenceOptions) -> Interval | None:
    if not len(selected) or not confidence.resamples:
        return None
    return wilson(int(selected.sum()), len(selected), confidence.level)
