"""Policy: whether drift may set off a retraining now, or why not and until when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.api.durations import format_time, parse_time, seconds
from tidemill.api.v1alpha1.driftpolicy import DriftPolicySpec, DriftPolicyStatus
from tidemill.contract.reasons import Reason

DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why nothing is started."""

    reason: Reason
    message: str
    until: datetime | None = None
    """When time alone ends it."""


def hold(spec: DriftPolicySpec, status: DriftPolicyStatus, *, rolling_out: str | None, now: datetime) -> Hold | None:
    """What forbids a start now: suspension, a version that is only taking over, the cooldown, the daily limit."""
    if spec.suspend:
        return Hold(reason=Reason.SUSPENDED, message="spec.suspend is true: set it to false to retrain")
    if rolling_out:
        return Hold(reason=Reason.LOADING, message=f"{rolling_out} is taking over: it is judged first once it answers")
    return _cooldown(spec, status, now) or _daily_limit(spec, status, now)


def recent(starts: Iterable[str], now: datetime) -> tuple[str, ...]:
    """The starts of the last 24 hours."""
    return tuple(start for start in starts if parse_time(start) > now - DAY)


def _cooldown(spec: DriftPolicySpec, status: DriftPolicyStatus, now: datetime) -> Hold | None:
    ends = [parse_time(a.finished_at) for a in status.attempts if a.finished_at]
    if not ends:
        return None
    last = max(ends)
    until = last + timedelta(seconds=seconds(spec.cooldown))
    if now >= until:
        return None
    return Hold(
        reason=Reason.COOLDOWN,
        message=f"the last retraining ended at {format_time(last)}: none is started before {format_time(until)} "
        f"(spec.cooldown {spec.cooldown})",
        until=until,
    )


def _daily_limit(spec: DriftPolicySpec, status: DriftPolicyStatus, now: datetime) -> Hold | None:
    starts = sorted(parse_time(start) for start in recent(status.runs_started, now))
    if len(starts) < spec.max_runs_per_day:
        return None
    until = starts[len(starts) - spec.max_runs_per_day] + DAY
    return Hold(
        reason=Reason.DAILY_LIMIT,
        message=f"{len(starts)} retrainings were started in the last 24 hours (spec.maxRunsPerDay "
        f"{spec.max_runs_per_day}): the next may start at {format_time(until)}",
        until=until,
    )
