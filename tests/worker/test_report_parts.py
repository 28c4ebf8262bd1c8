"""The parts of an evaluation on rows made by hand, beside scikit-learn where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import calibration as sk_calibration
from sklearn import metrics as sk

from tidemill.contract.evaluating import ConfidenceOptions, FairnessOptions, ThresholdOptions
from tidemill_worker.model.classification import ClassificationRows
from tidemill_worker.model.evaluation import Scored
from tidemill_worker.model.metrics import metrics
from tidemill_worker.model.regression import RegressionRows
from tidemill_worker.report import curves, fairness, slices
from tidemill_worker.report.slices import MISSING, OTHER, Cut
from tidemill_worker.report.threshold import threshold

from .test_metrics import classes, numbers

CONFIDENCE = ConfidenceOptions(resamples=100)


def test_parts_of_numbers_and_texts_are_all_rows_once() -> None:
    values = [None, -5.0, 0.0, 1.0, 2.5, float("inf"), float("nan"), 9.0]
    table = pa.table({"x": pa.array(values, pa.float64()), "t": ["a", "b", None, "c", "", "a", "z", "b"]})
    number = Cut(column="x", edges=(0.0, 1.0, 2.5))
    found = {part.value: (part.rows.sum(), part.low, part.high) for part in number.parts(table)}
    assert found == {
        "Q1": (1, None, 0),
        "Q2": (1, 0, 1),
        "Q3": (1, 1, 2.5),
        "Q4": (3, 2.5, None),
        MISSING: (2, None, None),
    }
    text = Cut(column="t", values=("a", "b"))
    parts = text.parts(table)
    assert {part.value: int(part.rows.sum()) for part in parts} == {"a": 2, "b": 2, OTHER: 2, MISSING: 2}
    assert (np.sum([part.rows for part in parts], axis=0) == 1).all()
    nothing = Cut(column="t").parts(pa.table({"t": pa.array([None, None], pa.string())}))
    assert [part.value for part in nothing] == [MISSING]
    assert Cut(column="x", edges=()).parts(table.slice(1, 1))[0].value == "Q1", "a constant column has one quarter"


def test_a_slice_is_measured_as_its_rows_alone_are() -> None:
    rows = numbers(400)
    table = pa.table({"x": np.arange(400.0)})
    found = slices.measure(table, rows, [Cut(column="x", edges=(100, 200, 300))], CONFIDENCE)
    assert [(s.value, s.rows) for s in found] == [("Q1", 100), ("Q2", 100), ("Q3", 100), ("Q4", 100)]
    for place, part in enumerate(found):
        alone = metrics(rows.take(np.arange(place * 100, place * 100 + 100)))
        assert part.metrics == pytest.approx(alone, rel=1e-5)
        low, high = part.intervals["mae"]
        assert low < part.metrics["mae"] < high
    assert not slices.measure(table, rows, [Cut(column="x", edges=())], ConfidenceOptions(resamples=0))[0].intervals


def test_confusion_classes_and_calibration_as_scikit_learn_has_them() -> None:
    rows = classes(800, 3)
    found = curves.confusion(rows)
    assert found.classes == rows.names
    assert np.array_equal(found.counts, sk.confusion_matrix(rows.truth, rows.guess))
    expected = sk.precision_recall_fscore_support(rows.truth, rows.guess)
    own = [[c.precision, c.recall, c.f1, c.rows] for c in curves.classes(rows)]
    columns = np.array(own).T
    assert columns == pytest.approx(np.array(expected), rel=1e-5)
    two = classes(800, 2)
    assert two.probabilities is not None
    observed, predicted = sk_calibration.calibration_curve(two.truth, two.probabilities[:, 1], n_bins=10)
    bins = curves.calibration(two)
    assert bins is not None
    assert bins.of == "c1"
    assert [b.observed for b in bins.bins] == pytest.approx(observed, rel=1e-5)
    assert [b.predicted for b in bins.bins] == pytest.approx(predicted, rel=1e-5)
    many = curves.calibration(rows)
    assert many is not None
    assert many.of is None
    assert sum(b.rows for b in many.bins) == 800


def test_rare_classes_are_one() -> None:
    names = tuple(f"c{k:02d}" for k in range(30))
    truth = np.repeat(np.arange(30), np.arange(30, 0, -1))
    rows = ClassificationRows(names=names, known=30, truth=truth, guess=(truth + 1) % 30, probabilities=None)
    found = curves.confusion(rows)
    assert found.classes == (*names[:20], OTHER)
    assert np.sum(found.counts) == len(truth)
    assert found.counts[19][20] == 11
    assert curves.calibration(rows) is None


def test_curves_are_points_of_scikit_learns() -> None:
    rows = classes(900, 2, ties=True)
    found = curves.curves(rows)
    assert found is not None
    assert rows.probabilities is not None
    false, true, _ = sk.roc_curve(rows.truth, rows.probabilities[:, 1], drop_intermediate=False)
    assert len(found.roc) <= 52
    for x, y in found.roc:
        assert min(abs(false - x) + abs(true - y)) < 1e-5
    precision, recall, _ = sk.precision_recall_curve(rows.truth, rows.probabilities[:, 1])
    for x, y in found.precision_recall:
        assert min(abs(recall - x) + abs(precision - y)) < 1e-5
    assert curves.curves(rows.take(rows.truth == 1)) is None, "one class has no curve"


def test_residuals_count_every_row() -> None:
    rows = numbers(5000)
    found = curves.residuals(rows)
    assert sum(found.histogram.counts) == 5000
    assert len(found.histogram.edges) == len(found.histogram.counts) + 1
    assert [band.rows for band in found.bands] == [500] * 10
    assert np.mean([band.prediction for band in found.bands]) == pytest.approx(rows.prediction.mean(), rel=1e-5)
    assert [b.low for b in found.bands] == sorted(b.low for b in found.bands)
    same = curves.residuals(RegressionRows(target=np.ones(3), prediction=np.ones(3)))
    assert sum(same.histogram.counts) == 3
    assert len(same.bands) == 3


def people(group: list[str], truth: list[int], guess: list[int]) -> Scored:
    rows = ClassificationRows(
        names=("no", "yes"), known=2, truth=np.array(truth), guess=np.array(guess), probabilities=None
    )
    return Scored(table=pa.table({"g": group}), rows=rows)


def test_fairness_by_hand() -> None:
    """Group a: 30 rows, 15 get it, of 20 that should 12 do. Group b: 40 rows, 10 get it, of 20 that should 8 do."""
    a = [(1, 1)] * 12 + [(1, 0)] * 8 + [(0, 1)] * 3 + [(0, 0)] * 7
    b = [(1, 1)] * 8 + [(1, 0)] * 12 + [(0, 1)] * 2 + [(0, 0)] * 18
    few = [(1, 1)] * 5
    every = [*a, *b, *few]
    scored = people(["a"] * 30 + ["b"] * 40 + ["c"] * 5, [t for t, _ in every], [g for _, g in every])
    options = FairnessOptions(groups=("g",), favorable="yes")
    (found,) = fairness.measure(scored, [Cut(column="g", values=("a", "b", "c"))], options, CONFIDENCE)
    rates = {g.value: (g.rows, g.selection_rate, g.true_positive_rate, g.false_positive_rate) for g in found.groups}
    assert rates == {"a": (30, 0.5, 0.6, 0.3), "b": (40, 0.25, 0.4, 0.1), "c": (5, 1, 1, None)}
    assert found.measures == pytest.approx(
        {"demographicParityDifference": 0.25, "demographicParityRatio": 0.5, "equalOpportunityDifference": 0.2}
    ), "five rows are too few to count"
    assert found.groups[0].metrics == {"accuracy": pytest.approx(19 / 30, rel=1e-5)}


def test_equalized_odds_ask_for_both_rates() -> None:
    """True positives 0.6 and 0.5, false positives 0.3 and 0.05; where one of the rates is of too few rows, there is none."""
    a = [(1, 1)] * 12 + [(1, 0)] * 8 + [(0, 1)] * 6 + [(0, 0)] * 14
    b = [(1, 1)] * 10 + [(1, 0)] * 10 + [(0, 1)] * 1 + [(0, 0)] * 19
    options, cut = FairnessOptions(groups=("g",), favorable="yes"), [Cut(column="g", values=("a", "b"))]

    def measured(b: list[tuple[int, int]]) -> dict[str, float]:
        every = [*a, *b]
        scored = people(["a"] * len(a) + ["b"] * len(b), [t for t, _ in every], [g for _, g in every])
        return fairness.measure(scored, cut, options, CONFIDENCE)[0].measures

    found = measured(b)
    assert found["equalOpportunityDifference"] == pytest.approx(0.1)
    assert found["equalizedOddsDifference"] == pytest.approx(0.25)
    assert "equalizedOddsDifference" not in measured(b[:-1])
    assert measured(b[:-1])["equalOpportunityDifference"] == pytest.approx(0.1)


def test_fairness_of_one_group_or_of_nobody_has_no_difference() -> None:
    options, cut = FairnessOptions(groups=("g",), favorable="yes"), [Cut(column="g", values=("a", "b"))]
    (alone,) = fairness.measure(people(["a"] * 40, [1] * 40, [1] * 40), cut, options, CONFIDENCE)
    assert alone.measures == {}
    (nobody,) = fairness.measure(people(["a"] * 20 + ["b"] * 20, [0] * 40, [0] * 40), cut, options, CONFIDENCE)
    assert nobody.measures == {"demographicParityDifference": 0, "demographicParityRatio": 1}


def test_fairness_of_a_regression() -> None:
    rows = RegressionRows(target=np.zeros(60), prediction=np.repeat([1.0, -3.0], 30))
    scored = Scored(table=pa.table({"g": [True] * 30 + [False] * 30}), rows=rows)
    cut = [Cut(column="g", values=("false", "true"))]
    (found,) = fairness.measure(scored, cut, FairnessOptions(groups=("g",)), CONFIDENCE)
    assert found.measures == {"meanPredictionDifference": 4, "maeDifference": 2}
    assert found.groups[1].metrics == {"mae": 1, "bias": 1, "meanPrediction": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"choose": "MaxF1"},
        {"choose": "MinPrecision", "at_least": 0.9},
        {"choose": "MinRecall", "at_least": 0.95},
        {"choose": "MaxF1", "positive": "c0"},
    ],
)
def test_no_other_threshold_is_better(options: dict[str, Any]) -> None:
    validation, test = classes(600, 2, seed=1), classes(500, 2, seed=2)
    found = threshold(ThresholdOptions(**options), {"validation": validation, "test": test}, "validation")
    assert found is not None
    assert found.threshold is not None
    place = 0 if options.get("positive") == "c0" else 1
    assert validation.probabilities is not None
    score, positive = validation.probabilities[:, place], validation.truth == place
    every = [(sk.precision_score(positive, score >= s), sk.recall_score(positive, score >= s)) for s in score]
    own = found.chosen["validation"]
    assert own.precision == pytest.approx(sk.precision_score(positive, score >= found.threshold), rel=1e-5)
    match options["choose"]:
        case "MaxF1":
            assert own.f1 == pytest.approx(max(2 * p * r / (p + r) for p, r in every if p + r), rel=1e-5)
        case "MinPrecision":
            assert own.precision is not None
            assert own.precision >= 0.9
            assert own.recall == pytest.approx(max(r for p, r in every if p >= 0.9), rel=1e-5)
        case _:
            assert own.recall is not None
            assert own.recall >= 0.95
            assert own.precision == pytest.approx(max(p for p, r in every if r >= 0.95), rel=1e-5)
    assert set(found.chosen) == set(found.default) == {"validation", "test"}
    assert found.default["test"].accuracy == pytest.approx(metrics(test)["accuracy"], rel=1e-5)


def test_a_threshold_that_nothing_keeps_is_absent() -> None:
    rows = ClassificationRows(
        names=("a", "b"),
        known=2,
        truth=np.array([0, 1, 0, 1]),
        guess=np.array([1, 1, 1, 1]),
        probabilities=np.full((4, 2), 0.5),
    )
    found = threshold(ThresholdOptions(choose="MinPrecision", at_least=0.9), {"validation": rows}, "validation")
    assert found is not None
    assert (found.threshold, found.chosen) == (None, {})
    assert found.default["validation"].precision == 0.5
    assert threshold(ThresholdOptions(), {}, "validation") is None
