"""When a retraining may start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.driftpolicy import DriftPolicySpec, DriftPolicyStatus
from tidemill.reconcile.policies.cooldown import hold, recent

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def ago(**amount: float) -> str:
    return format_time(NOW - timedelta(**amount))


def spec(**fields: Any) -> DriftPolicySpec:
    return DriftPolicySpec.model_validate({"deployment": "delays", "cooldown": "1h", "maxRunsPerDay": 2, **fields})


def status(*, finished: tuple[str, ...] = (), starts: tuple[str, ...] = ()) -> DriftPolicyStatus:
    attempts = [
        {"number": n, "phase": "Kept", "triggeredAt": at, "finishedAt": at} for n, at in enumerate(finished, start=1)
    ]
    return DriftPolicyStatus.model_validate({"attempts": attempts, "runsStarted": list(starts)})


def test_nothing_holds_back_the_first() -> None:
    assert hold(spec(), status(), rolling_out=None, now=NOW) is None


@pytest.mark.parametrize(("minutes", "held"), [(0, True), (59, True), (60, False), (61, False)])
def test_the_cooldown_counts_from_the_end_of_the_last(minutes: int, held: bool) -> None:
    found = hold(spec(), status(finished=(ago(minutes=minutes), ago(days=3))), rolling_out=None, now=NOW)
    assert (found is not None) is held
    if found:
        assert (found.reason, found.until) == ("Cooldown", NOW - timedelta(minutes=minutes) + timedelta(hours=1))


def test_the_daily_limit_is_over_any_24_hours() -> None:
    full = status(starts=(ago(hours=25), ago(hours=23), ago(hours=2)))
    found = hold(spec(), full, rolling_out=None, now=NOW)
    assert found is not None
    assert (found.reason, found.until) == ("DailyLimit", NOW + timedelta(hours=1))
    assert hold(spec(), status(starts=(ago(hours=25), ago(hours=24), ago(hours=2))), rolling_out=None, now=NOW) is None
    assert recent((ago(hours=25), ago(hours=24), ago(hours=2)), NOW) == (ago(hours=2),)


def test_a_lower_limit_waits_until_enough_starts_have_aged() -> None:
    found = hold(spec(maxRunsPerDay=1), status(starts=(ago(hours=20), ago(hours=5))), rolling_out=None, now=NOW)
    assert found is not None
    assert found.until == NOW + timedelta(hours=19)


def test_suspension_comes_first_then_what_is_taking_over() -> None:
    cooling = status(finished=(ago(minutes=1),))
    both = hold(spec(suspend=True), cooling, rolling_out="delay-v2", now=NOW)
    rolling = hold(spec(), cooling, rolling_out="delay-v2", now=NOW)
    assert both is not None
    assert rolling is not None
    assert (both.reason, both.until) == ("Suspended", None)
    assert rolling.reason == "Loading"
    assert "delay-v2" in rolling.message
