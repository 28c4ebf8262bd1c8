"""Metrics against scikit-learn's, and for input that leaves little to measure."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as sk

from tidemill.contract.directions import HIGHER_IS_BETTER, LOWER_IS_BETTER
from tidemill.contract.gates import (
    CLASSIFICATION_METRICS,
    FORECAST_METRICS,
    LANGUAGE_METRICS,
    PREFERENCE_METRICS,
    REGRESSION_METRICS,
)
from tidemill_worker.model.classification import ClassificationRows
from tidemill_worker.model.metrics import improvement, metrics
from tidemill_worker.model.regression import RegressionRows, quantiles

Array = np.ndarray[Any, Any]
MANY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def numbers(count: int, seed: int = 0) -> RegressionRows:
    random = np.random.default_rng(seed)
    target = random.normal(50, 20, count)
    return RegressionRows(target=target, prediction=target + random.normal(1, 5, count))


def classes(count: int, number: int, seed: int = 0, *, ties: bool = False) -> ClassificationRows:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, number))
    if ties:
        logits = np.round(logits)
    names = np.array([f"c{k}" for k in range(number)], dtype=object)
    target = names[(logits + random.gumbel(size=logits.shape)).argmax(axis=1)]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return ClassificationRows.of(target, names[probabilities.argmax(axis=1)], probabilities, tuple(names))


def test_regression_as_scikit_learn_has_it() -> None:
    rows = numbers(777)
    found, pair = metrics(rows), (rows.target, rows.prediction)
    error = np.abs(rows.target - rows.prediction)
    expected = {
        "mae": sk.mean_absolute_error(*pair),
        "rmse": sk.root_mean_squared_error(*pair),
        "r2": sk.r2_score(*pair),
        "medianAbsoluteError": sk.median_absolute_error(*pair),
        "mape": sk.mean_absolute_percentage_error(*pair),
        "p90AbsoluteError": np.quantile(error, 0.9),
        "smape": np.mean(2 * error / (np.abs(rows.target) + np.abs(rows.prediction))),
        "bias": np.mean(rows.prediction - rows.target),
    }
    assert set(expected) == set(REGRESSION_METRICS)
    assert found == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("number", [2, 4])
def test_classification_as_scikit_learn_has_it(number: int, ties: bool) -> None:
    rows = classes(900, number, ties=ties)
    names, truth, guess = list(rows.names), rows.truth, rows.guess
    assert rows.probabilities is not None
    expected = {
        "accuracy": sk.accuracy_score(truth, guess),
        "balancedAccuracy": sk.balanced_accuracy_score(truth, guess),
        "f1Macro": sk.f1_score(truth, guess, average="macro"),
        "logLoss": sk.log_loss(truth, rows.probabilities, labels=range(len(names))),
        "brier": sk.brier_score_loss(truth, rows.probabilities, labels=range(len(names))),
        "expectedCalibrationError": calibration_error(rows),
    }
    if number == 2:
        expected["rocAuc"] = sk.roc_auc_score(truth, rows.probabilities[:, 1])
        expected["averagePrecision"] = sk.average_precision_score(truth, rows.probabilities[:, 1])
    else:
        expected["rocAucOvrMacro"] = sk.roc_auc_score(truth, rows.probabilities, multi_class="ovr")
        expected["averagePrecisionMacro"] = sk.average_precision_score(truth, rows.probabilities, average="macro")
    assert metrics(rows) == pytest.approx(expected, rel=1e-8)


def calibration_error(rows: ClassificationRows) -> float:
    """Guo et al. 2017, equation 3, written as it stands there."""
    assert rows.probabilities is not None
    confidence, right = rows.probabilities.max(axis=1), rows.probabilities.argmax(axis=1) == rows.truth
    total = 0.0
    for m in range(1, 16):
        inside = (confidence > (m - 1) / 15) & (confidence <= m / 15)
        if inside.any():
            total += inside.sum() / len(rows) * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_every_metric_has_a_direction_but_the_bias() -> None:
    known = {*REGRESSION_METRICS, *CLASSIFICATION_METRICS, *FORECAST_METRICS, *LANGUAGE_METRICS, *PREFERENCE_METRICS}
    assert known == LOWER_IS_BETTER | HIGHER_IS_BETTER | {"bias", "coverage", "intervalWidth", "seasonalNaiveMae"}
    assert not LOWER_IS_BETTER & HIGHER_IS_BETTER
    assert improvement("mae", 10, 9) == pytest.approx(0.1)
    assert improvement("r2", 0.5, 0.4) == pytest.approx(-0.2)
    assert (improvement("mae", 0, 1), improvement("mae", 0, 0)) == (-1, 0), "beside zero the sign alone is told"


@pytest.mark.parametrize("make", [lambda: numbers(150), lambda: classes(150, 2, ties=True), lambda: classes(150, 4)])
def test_a_weight_counts_a_row_as_often_as_it_says(make: Any) -> None:
    rows = make()
    drawn = np.random.default_rng(5).integers(0, len(rows), (7, len(rows)))
    weights = np.array([np.bincount(draw, minlength=len(rows)) for draw in drawn], dtype=float)
    together = rows.measure(weights)
    for place, draw in enumerate(drawn):
        alone = rows.take(draw).measure(np.ones((1, len(rows))))
        for name, values in together.items():
            assert values[place] == pytest.approx(alone[name][0], rel=1e-9), name


FLOATS = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@MANY
@given(st.integers(1, 40).flatmap(lambda n: st.tuples(*[arrays.arrays(np.float64, n, elements=FLOATS)] * 2)))
def test_any_regression_has_finite_metrics(pair: tuple[Array, Array]) -> None:
    target, prediction = pair
    found = metrics(RegressionRows(target=target, prediction=prediction))
    assert set(found) >= {"mae", "rmse", "medianAbsoluteError", "p90AbsoluteError", "smape", "bias"}
    assert np.isfinite(list(found.values())).all()
    assert ("mape" in found) == bool((target != 0).all())
    if len(set(target)) == 1:
        assert "r2" not in found
    assert 0 <= found["medianAbsoluteError"] <= found["p90AbsoluteError"] * (1 + 1e-8)
    assert found["mae"] <= found["rmse"] * (1 + 1e-8)
    assert abs(found["bias"]) <= found["mae"] * (1 + 1e-8)
    assert 0 <= found["smape"] <= 2 * (1 + 1e-8)


@MANY
@given(arrays.arrays(np.float64, st.integers(1, 30), elements=FLOATS), st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
def test_weighted_quantiles_are_numpys(values: Array, share: float) -> None:
    (found,) = quantiles(np.ones((1, len(values))), values, (share,))
    assert found[0] == pytest.approx(np.quantile(values, share), rel=1e-9, abs=1e-9)


@MANY
@given(
    known=st.integers(1, 4),
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40),
    with_probabilities=st.booleans(),
)
def test_any_classification_has_finite_metrics(
    known: int, rows: list[tuple[int, int]], with_probabilities: bool
) -> None:
    """One class alone, classes that the model has never seen, answers that are no class."""
    names = np.array([f"c{k}" for k in range(6)], dtype=object)
    target, label = (names[[pair[side] for pair in rows]] for side in (0, 1))
    probabilities = np.full((len(rows), known), 1 / known) if with_probabilities else None
    judged = ClassificationRows.of(target, label, probabilities, tuple(names[:known]))
    found = metrics(judged)
    assert np.isfinite(list(found.values())).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(list(target), list(label)))
        assert found["f1Macro"] == pytest.approx(sk.f1_score(list(target), list(label), average="macro"))
        assert found["balancedAccuracy"] == pytest.approx(sk.balanced_accuracy_score(list(target), list(label)))
    assert ("logLoss" in found) == with_probabilities
    there = {name for name in target if name in names[:known]}
    assert ("rocAuc" in found) == (with_probabilities and known == 2 and 0 < sum(target == names[1]) < len(target))
    if with_probabilities and known == 2 and len(there) == 2:
        assert found["rocAuc"] == pytest.approx(0.5), "equal scores tell nothing"
    assert ("brier" in found) == with_probabilities


def test_no_row_has_no_metric() -> None:
    none = np.empty(0)
    assert metrics(RegressionRows(target=none, prediction=none)) == {}
    text = np.empty(0, dtype=object)
    assert metrics(ClassificationRows.of(text, text, None, ("a", "b"))) == {}


def test_a_constant_target_that_no_binary_fraction_hits_has_no_r2() -> None:
    counts = [n for n in range(2, 200) if np.var(np.full(n, 0.1)) > 0]
    assert counts, "a variance alone could tell"
    for count in counts:
        rows = RegressionRows(target=np.full(count, 0.1), prediction=np.linspace(0, 1, count))
        assert "r2" not in metrics(rows)


def test_sums_too_large_for_a_float_are_left_out() -> None:
    found = metrics(RegressionRows(target=np.array([0.0, 1e300]), prediction=np.array([0.0, -1e300])))
    assert "rmse" not in found
    assert found["mae"] == pytest.approx(1e300)
