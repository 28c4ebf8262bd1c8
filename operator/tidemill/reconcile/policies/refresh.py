"""Policy: when the sources of a Dataset are looked at again."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from tidemill.api.v1alpha1.dataset import DatasetSpec, DatasetStatus
from tidemill.contract.canonical import digest, short
from tidemill.contract.durations import parse_time, seconds


def schedule_problem(spec: DatasetSpec) -> str | None:
    """Why the schedule cannot be kept, in words; None when it can, or there is none."""
    return None if spec.refresh is None or spec.refresh.schedule is None else _problem(spec.refresh.schedule)


@lru_cache(maxsize=512)
def _problem(schedule: str) -> str | None:
    try:
        _next(schedule, parse_time("2000-01-01T00:00:00Z"))
    except CronSimError as error:
        return f"spec.refresh.schedule: {schedule!r} is no schedule ({error}): write five fields such as 0 3 * * *"
    except StopIteration:
        return f"spec.refresh.schedule: {schedule!r} never comes: there is no such day"
    return None


def looked_at(status: DatasetStatus) -> str | None:
    """When the sources were looked at last. A version that was made before there was a refresh counts by its own time."""
    return status.checked_at or (status.versions[0].prepared_at if status.versions else None)


def due_at(spec: DatasetSpec, status: DatasetStatus, *, upstream_changed: bool = False) -> datetime | None:
    """The moment from which the sources are to be looked at again; None when time alone never asks for it.

    It follows from the status alone, not from the present moment: whoever looks, and however late, finds the same. Of times
    that were missed the first one counts, and looking then makes up for all of them.
    """
    last = looked_at(status)
    if spec.refresh is None or spec.suspend or last is None or schedule_problem(spec):
        return None
    moments = []
    if spec.refresh.schedule is not None:
        moments.append(_next(spec.refresh.schedule, parse_time(last)))
    change = spec.refresh.on_source_change
    if change is not None and (upstream_changed or must_list(spec)):
        moments.append(parse_time(last) + timedelta(seconds=seconds(change.interval)))
    return min(moments, default=None)


def must_list(spec: DatasetSpec) -> bool:
    """Whether only a look at the store can tell that an input has changed. A Dataset's versions the operator sees itself, and
    a web file is pinned by its hash."""
    return any(item.s3 or item.volume or item.inference_log for item in spec.inputs)


def request_after(wanted: str, last: str | None) -> str:
    """What names the Job: the spec's digest, and when the sources were looked at before, from which its due time follows.

    The next look after a given one is thus one Job, whoever makes it and whatever asked for it.
    """
    return short(wanted if last is None else digest([wanted, last]))


def _next(schedule: str, after: datetime) -> datetime:
    return next(CronSim(schedule, after))
