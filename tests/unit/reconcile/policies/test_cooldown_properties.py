"""Under lasting drift retrainings come never sooner than the cooldown and the daily limit say, and no later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.driftpolicy import Attempt, DriftPolicySpec, DriftPolicyStatus
from tidemill.contract.reasons import Reason
from tidemill.reconcile.policies.cooldown import DAY, hold, recent

START = datetime(2026, 1, 1, tzinfo=UTC)


def play(spec: DriftPolicySpec, *, cooldown_seconds: int, lasts: list[int]) -> tuple[list[datetime], list[datetime]]:
    """Starts and ends of retrainings under lasting drift, each begun at the first moment at which nothing forbids it."""
    status, now = DriftPolicyStatus(), START
    starts: list[datetime] = []
    ends: list[datetime] = []
    for number, seconds in enumerate(lasts, start=1):
        while held := hold(spec, status, rolling_out=None, now=now):
            assert held.reason in (Reason.COOLDOWN, Reason.DAILY_LIMIT)
            assert held.until is not None
            assert now < held.until <= now + max(DAY, timedelta(seconds=cooldown_seconds))
            now = held.until
        starts.append(now)
        started = (*recent(status.runs_started, now), format_time(now))
        now += timedelta(seconds=seconds)
        ends.append(now)
        attempt = Attempt(
            number=number, phase="Kept", triggered_at=format_time(starts[-1]), finished_at=format_time(now)
        )
        status = DriftPolicyStatus(attempts=(attempt, *status.attempts)[:10], runs_started=started)
    return starts, ends


@given(
    cooldown=st.integers(0, 100_000),
    limit=st.integers(1, 5),
    lasts=st.lists(st.integers(1, 40_000), min_size=1, max_size=15),
)
def test_starts_keep_the_cooldown_and_the_daily_limit_and_nothing_more(
    cooldown: int, limit: int, lasts: list[int]
) -> None:
    spec = DriftPolicySpec(deployment="d", cooldown=f"{cooldown}s", max_runs_per_day=limit)
    starts, ends = play(spec, cooldown_seconds=cooldown, lasts=lasts)
    for end, start in zip(ends, starts[1:], strict=False):
        assert start >= end + timedelta(seconds=cooldown)
    for first in starts:
        assert sum(first <= start < first + DAY for start in starts) <= limit
    for number, (end, start) in enumerate(zip(ends, starts[1:], strict=False)):
        day_is_full = number + 1 >= limit and start == starts[number + 1 - limit] + DAY
        assert start == end + timedelta(seconds=cooldown) or day_is_full, "it waits for one of the two, for no more"
    assert all(earlier < later for earlier, later in pairwise(starts))
