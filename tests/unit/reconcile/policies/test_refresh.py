"""When the sources of a Dataset are due: cron in UTC, from the last look alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property import manifests
from tests.property.fake_api import Raw
from tests.unit.reconcile.datasets import condition
from tests.unit.reconcile.refreshing import FLIGHTS, NIGHTLY, refreshed

from tidemill.api.durations import format_time, parse_time
from tidemill.api.v1alpha1.dataset import DatasetSpec, DatasetStatus
from tidemill.reconcile.policies.refresh import due_at, schedule_problem


def spec_of(refresh: Raw, **fields: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({**manifests.dataset(**fields)["spec"], "refresh": refresh})


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("0 25 * * *", "'0 25 * * *' is no schedule (Bad hour)"),
        ("0 0 0 * *", "is no schedule (Bad day-of-month)"),
        ("0 0 31 2 *", "31 2"),
        ("a b c d e", "is no schedule (Bad minute)"),
    ],
)
def test_a_schedule_that_cannot_be_kept(schedule: str, words: str) -> None:
    cluster = refreshed({"schedule": schedule})
    stalled = condition(cluster.data(), "Stalled")
    assert stalled["reason"] == "InvalidSpec"
    assert stalled["message"].startswith("spec.refresh.schedule: ")
    assert words in stalled["message"]
    assert cluster.jobs() == []
    cluster.api.patch_spec(FLIGHTS, {"refresh": NIGHTLY})
    cluster.rest()
    assert condition(cluster.data(), "Ready")["status"] == "True"


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 3 * * *", "2026-01-01T03:00:00Z"),
        ("30 * * * *", "2026-01-01T00:30:00Z"),
        ("0 0 * * 1", "2026-01-05T00:00:00Z"),
        ("0 0 1 * *", "2026-02-01T00:00:00Z"),
        ("15 14 1 */3 *", "2026-01-01T14:15:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 L * *", "2026-01-31T00:00:00Z"),
        ("0 9 * * mon-fri", "2026-01-01T09:00:00Z"),
    ],
)
def test_cron_in_utc(schedule: str, expected: str) -> None:
    status = DatasetStatus(checked_at="2026-01-01T00:00:00Z")
    spec = spec_of({"schedule": schedule})
    assert schedule_problem(spec) is None
    assert due_at(spec, status) == parse_time(expected)


MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


FIELDS = st.tuples(
    st.sampled_from(["*", "0", "*/7", "3,40", "10-20"]),
    st.sampled_from(["*", "0", "*/5", "23"]),
    st.sampled_from(["*", "1", "31", "L"]),
    st.sampled_from(["*", "2,3", "12"]),
    st.sampled_from(["*", "0", "5", "mon-fri"]),
)


@given(last=MOMENTS, fields=FIELDS, minutes=st.none() | st.integers(1, 3000))
def test_the_next_time_lies_ahead_and_follows_from_the_last_alone(
    last: datetime, fields: tuple[str, ...], minutes: int | None
) -> None:
    refresh: Raw = {"schedule": " ".join(fields)}
    if minutes is not None:
        refresh["onSourceChange"] = {"interval": f"{minutes}m"}
    spec = spec_of(refresh)
    if schedule_problem(spec):
        return
    status = DatasetStatus(checked_at=format_time(last))
    due = due_at(spec, status)
    assert due is not None
    assert due > last.replace(microsecond=0)
    if minutes is not None:
        assert due <= last + timedelta(minutes=minutes)
    assert due_at(spec, status) == due
