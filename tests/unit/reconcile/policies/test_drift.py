"""When a monitor drifts and for how long it has."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from tidemill.api.v1alpha1.driftpolicy import Monitor
from tidemill.reconcile.observed import DriftReading
from tidemill.reconcile.policies.drift import judge, trigger, unknown_features

NAN = math.nan
AT = datetime(2026, 1, 1, tzinfo=UTC)


def reading(**series: tuple[float, ...]) -> DriftReading:
    return DriftReading(
        evaluated_at=AT, samples=1000, scores={("PSI", name): values for name, values in series.items()}
    )


@pytest.mark.parametrize(
    ("series", "consecutive"),
    [
        ((0.1, 0.1, 0.1), 0),
        ((0.1, 0.1, 0.2), 1),
        ((0.3, 0.3, 0.1), 0),
        ((0.3, 0.1, 0.3), 1),
        ((0.3, 0.3, 0.3), 3),
        ((0.3, NAN, 0.3), 1),
        ((0.3, 0.3), 2),
        ((0.3, 0.3, 0.3, 0.3), 3),
    ],
)
def test_consecutive_drifts_are_counted_from_the_newest(series: tuple[float, ...], consecutive: int) -> None:
    status = judge(Monitor(name="psi"), reading(temp=series), for_consecutive=3)
    assert (status.consecutive, status.drifted) == (consecutive, consecutive > 0)


def test_the_worst_feature_may_change_from_one_evaluation_to_the_next() -> None:
    status = judge(Monitor(name="psi"), reading(temp=(0.9, 0.1), wind=(0.1, 0.4)), for_consecutive=2)
    assert (status.worst_feature, status.score, status.consecutive) == ("wind", 0.4, 2)


def test_only_named_features_of_the_own_metric_count() -> None:
    monitor = Monitor(name="psi", features=("wind", "tmep"))
    found = DriftReading(
        evaluated_at=AT, scores={("PSI", "temp"): (9.0,), ("PSI", "wind"): (0.1,), ("MissingRate", "wind"): (0.9,)}
    )
    assert judge(monitor, found, for_consecutive=1).score == 0.1
    assert unknown_features(monitor, found) == ["tmep"]


@pytest.mark.parametrize("series", [(), (NAN,), (0.3, NAN)])
def test_without_a_newest_score_nothing_is_known(series: tuple[float, ...]) -> None:
    status = judge(Monitor(name="psi"), reading(temp=series), for_consecutive=1)
    assert (status.score, status.worst_feature, status.drifted, status.consecutive) == (None, None, False, 0)


def test_scores_are_judged_as_they_are_and_shown_to_two_digits() -> None:
    status = judge(Monitor(name="psi"), reading(temp=(0.1996,)), for_consecutive=1)
    assert (status.score, status.drifted) == (0.2, False)


def test_the_trigger_is_the_monitor_that_exceeds_its_threshold_most() -> None:
    low = judge(Monitor(name="low", threshold=0.01, features=("wind",)), reading(wind=(0.2,)), for_consecutive=1)
    high = judge(Monitor(name="high", threshold=1.0, features=("temp",)), reading(temp=(5.0,)), for_consecutive=1)
    chosen = trigger([high, low], for_consecutive=1)
    assert chosen is not None
    assert chosen.name == "low"
    assert trigger([high, low], for_consecutive=2) is None
