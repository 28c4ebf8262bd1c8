"""Intervals: how often they hold the truth, what they do at the edges, and that they are the same every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.contract.evaluating import ConfidenceOptions
from tidemill_worker.model.classification import ClassificationRows
from tidemill_worker.model.forecasts import ForecastRows
from tidemill_worker.model.regression import RegressionRows
from tidemill_worker.report import bootstrap

from .test_metrics import classes, numbers

OPTIONS = ConfidenceOptions(level=0.9, resamples=300)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """200 samples of 150 rows with a known error. 90 % intervals: fewer than 82 % or more than 97 % would be no chance."""
    random, held = np.random.default_rng(11), {"mae": 0, "rmse": 0, "bias": 0, "medianAbsoluteError": 0}
    truth = {"mae": 2 * np.sqrt(2 / np.pi), "rmse": 2.0, "bias": 0.0, "medianAbsoluteError": 2 * 0.6744898}
    for _ in range(200):
        rows = RegressionRows(target=np.zeros(150), prediction=random.normal(0, 2, 150))
        found = bootstrap.intervals(rows, OPTIONS)
        for name in held:
            held[name] += found[name][0] <= truth[name] <= found[name][1]
    assert all(164 <= number <= 194 for number in held.values()), held


def test_many_rows_have_narrow_intervals_although_few_are_drawn_from() -> None:
    rows = numbers(40_000)
    found = bootstrap.distributions(rows, 300)["mae"]
    error = np.abs(rows.prediction - rows.target)
    assert found.std() == pytest.approx(error.std() / np.sqrt(len(rows)), rel=0.2)
    assert found.mean() == pytest.approx(error.mean(), abs=3 * found.std())


def test_the_same_rows_give_the_same_interval() -> None:
    for rows in (numbers(700), classes(700, 4), numbers(6000)):
        assert bootstrap.intervals(rows, OPTIONS) == bootstrap.intervals(rows, OPTIONS)  # type: ignore[arg-type]


def test_wilsons_interval() -> None:
    """81 of 263 at 95 %: Newcombe 1998, table I."""
    assert bootstrap.wilson(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    low, high = bootstrap.wilson(20, 20, 0.95)
    assert high == 1
    assert 0.8 < low < 0.9, "twenty right answers of twenty are no certainty"
    assert bootstrap.wilson(0, 1, 0.95)[0] == 0


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(1, 12), st.data())
def test_few_rows_of_few_classes_have_intervals_around_the_metric(known: int, count: int, data: Any) -> None:
    names = np.array([f"c{k}" for k in range(5)], dtype=object)
    target, label = (names[data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))] for _ in range(2))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(known), count)
    rows = ClassificationRows.of(target, label, probabilities, tuple(names[:known]))
    for low, high in bootstrap.intervals(rows, ConfidenceOptions(resamples=50)).values():
        assert np.isfinite([low, high]).all()
        assert low <= high


def test_no_row_or_no_resample_has_no_interval() -> None:
    none = RegressionRows(target=np.empty(0), prediction=np.empty(0))
    assert bootstrap.intervals(none, OPTIONS) == {}
    assert bootstrap.intervals(numbers(50), ConfidenceOptions(resamples=0)) == {}
    constant = RegressionRows(target=np.ones(20), prediction=np.ones(20))
    assert bootstrap.intervals(constant, OPTIONS)["mae"] == (0, 0)
    assert "r2" not in bootstrap.intervals(constant, OPTIONS)


def test_pairs_are_drawn_together() -> None:
    """A challenger that is better by a little on every row is surely better, however much the rows differ."""
    champion = numbers(400)
    error = champion.prediction - champion.target
    challenger = RegressionRows(target=champion.target, prediction=champion.target + 0.98 * error)
    found = bootstrap.compare(champion, challenger, OPTIONS)["mae"]
    assert found.improvement == pytest.approx(0.02)
    assert found.interval == pytest.approx((0.02, 0.02))
    assert found.better == 1
    alone = [bootstrap.intervals(rows, OPTIONS)["mae"] for rows in (champion, challenger)]
    assert alone[1][1] > alone[0][0], "the intervals of each overlap all the same"
    back = bootstrap.compare(challenger, champion, OPTIONS)["mae"]
    assert (back.improvement < 0, back.better) == (True, 0)


def test_equal_models_are_not_better() -> None:
    rows = classes(300, 2)
    found = bootstrap.compare(rows, rows, OPTIONS)
    assert {"accuracy", "logLoss", "rocAuc", "brier"} <= set(found)
    assert all((i.improvement, i.interval, i.better) == (0, (0, 0), 0) for i in found.values())


def test_a_comparison_by_chance_is_called_one() -> None:
    random = np.random.default_rng(4)
    target = np.zeros(200)
    champion, challenger = (RegressionRows(target=target, prediction=random.normal(0, 1, 200)) for _ in range(2))
    found = bootstrap.compare(champion, challenger, OPTIONS)["mae"]
    assert found.interval is not None
    assert found.interval[0] < 0 < found.interval[1]
    assert found.better is not None
    assert 0.02 < found.better < 0.98
    without = bootstrap.compare(champion, challenger, ConfidenceOptions(resamples=0))["mae"]
    assert (without.improvement, without.interval, without.better) == (found.improvement, None, None)


PLAIN = {3: 0.525, 5: 0.74, 10: 0.805}
"""How often plain percentiles at 90 % hold the mean of exponential errors, by rows: in the very same samples."""


@pytest.mark.parametrize("rows", [3, 5, 10])
def test_an_interval_of_few_rows_is_wide_enough(rows: int) -> None:
    random, held = np.random.default_rng(12), 0
    for _ in range(200):
        found = bootstrap.intervals(
            RegressionRows(target=np.zeros(rows), prediction=random.exponential(1, rows)), OPTIONS
        )
        held += found["mae"][0] <= 1 <= found["mae"][1]
    assert held / 200 > PLAIN[rows] + 0.03


def test_a_single_row_has_no_interval() -> None:
    """It would be a point, and tell of a certainty that is not there."""
    assert bootstrap.intervals(numbers(1), OPTIONS) == {}
    assert "mae" in bootstrap.intervals(numbers(2), OPTIONS)


def windows(errors: np.ndarray, horizon: int, stride: int) -> ForecastRows:
    """Every window of a series whose forecasts are off by these errors."""
    prediction = np.lib.stride_tricks.sliding_window_view(errors, horizon)[::stride]
    zeros, block = np.zeros_like(prediction), 2 * -(-horizon // stride)
    return ForecastRows(
        target=zeros, prediction=prediction, naive=zeros, scale=np.ones(len(zeros)), quantiles=np.empty((*zeros.shape, 0)),
        levels=(), block=block,
    )  # fmt: skip


@pytest.mark.parametrize("stride", [1, 4])
def test_windows_that_overlap_have_intervals_as_wide_as_what_they_share_asks_for(stride: int) -> None:
    """Errors of independent steps, in windows of 12. Windows drawn one by one hold the truth in about half of the cases."""
    random, held = np.random.default_rng(13), 0
    for _ in range(100):
        rows = windows(random.normal(0, 1, 240), 12, stride)
        low, high = bootstrap.intervals(rows, ConfidenceOptions(level=0.9, resamples=200))["mae"]
        held += low <= np.sqrt(2 / np.pi) <= high
    assert 82 <= held <= 99


def test_of_very_many_windows_neighbours_stay_together() -> None:
    random = np.random.default_rng(14)
    rows = windows(random.normal(0, 1, 20_011), 12, 1)
    found = bootstrap.distributions(rows, 200)["mae"]
    assert found.std() == pytest.approx(np.sqrt(1 - 2 / np.pi) / np.sqrt(20_000), rel=0.25)


def test_windows_that_all_overlap_have_no_interval() -> None:
    assert bootstrap.intervals(windows(np.arange(30.0), 24, 1), OPTIONS) == {}


@pytest.mark.parametrize(("sharpness", "truth"), [(1.0, 0.0), (1.5, 0.062)])
def test_the_calibration_errors_interval_holds_the_truth_although_chance_adds_to_it(
    sharpness: float, truth: float
) -> None:
    """Of logits that are too great by a factor. Percentiles at 90 % hold the truth in 0 and 50 % of the cases, and no interval
    can do very well at the edge, where the model is calibrated."""
    random, held, names = np.random.default_rng(15), 0, np.array(["no", "yes"], dtype=object)
    for _ in range(40):
        logit = random.normal(0, 1.5, 300)
        target = random.random(300) < 1 / (1 + np.exp(-logit))
        said = 1 / (1 + np.exp(-sharpness * logit))
        rows = ClassificationRows.of(
            names[target.astype(int)],
            names[(said >= 0.5).astype(int)],
            np.stack([1 - said, said], axis=1),
            ("no", "yes"),
        )
        low, high = bootstrap.intervals(rows, ConfidenceOptions(level=0.9, resamples=100))["expectedCalibrationError"]
        held += low - 0.005 <= truth <= high
    assert held >= (30 if truth else 18)
