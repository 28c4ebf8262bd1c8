"""A Dataset's sources are looked at again when that is due, once whatever happens, and never otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property import fake_jobs, manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import NAMESPACE, SETTINGS, Killed
from tests.unit.reconcile.datasets import Cluster, condition, digests

from tidemill.api.durations import format_time, parse_time
from tidemill.api.v1alpha1.dataset import Dataset, DatasetSpec, DatasetStatus
from tidemill.contract.names import ANNOTATION_RETRY
from tidemill.contract.tasks import PrepareDataset
from tidemill.reconcile.dataset import reconcile_dataset
from tidemill.reconcile.observed import Context
from tidemill.reconcile.plan import Key
from tidemill.reconcile.policies.refresh import due_at, schedule_problem

NIGHTLY = {"schedule": "0 3 * * *"}
POLLED = {"onSourceChange": {"interval": "10m"}}
FLIGHTS = Key(kind="Dataset", namespace=NAMESPACE, name="flights")
DERIVED = Key(kind="Dataset", namespace=NAMESPACE, name="derived")


def refreshed(refresh: Raw = NIGHTLY, **spec: Any) -> Cluster:
    """A cluster with one Dataset that is prepared and refreshed."""
    cluster = Cluster()
    cluster.create(manifests.dataset(refresh=refresh, **spec))
    cluster.rest()
    return cluster


def spec_of(refresh: Raw, **fields: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({**manifests.dataset(**fields)["spec"], "refresh": refresh})


def test_a_schedule_makes_a_version_of_changed_sources() -> None:
    cluster = refreshed()
    first = cluster.data()
    assert (first["checkedAt"], first["nextRefreshAt"]) == ("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z")
    assert cluster.due == {FLIGHTS: 3 * 3600}
    cluster.api.sources = "more"
    cluster.at("2026-01-01T02:59:59Z")
    assert cluster.data() == first, "nothing happens before"
    cluster.at("2026-01-01T03:00:00Z")
    status = cluster.data()
    assert status["digest"] != first["digest"]
    assert digests(status) == [status["digest"], first["digest"]]
    assert status["sourceDigest"] != first["sourceDigest"]
    assert (status["checkedAt"], status["nextRefreshAt"]) == ("2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z")
    assert condition(status, "Refreshed")["reason"] == "Succeeded"
    task = cluster.tasks()[-1]
    assert isinstance(task, PrepareDataset)
    assert task.known_sources == first["sourceDigest"]
    assert task.previous is not None
    assert task.previous.digest == first["digest"]


def test_unchanged_sources_make_no_version() -> None:
    cluster = refreshed()
    first = cluster.data()
    cluster.at("2026-01-03T12:00:00Z")
    status = cluster.data()
    assert digests(status) == digests(first)
    assert status["versions"] == first["versions"], "with its own time"
    assert (status["checkedAt"], status["nextRefreshAt"]) == ("2026-01-03T03:00:00Z", "2026-01-04T03:00:00Z")
    assert condition(status, "Refreshed")["reason"] == "Unchanged"
    assert len(cluster.jobs()) == 4
    assert [event.reason for _, event in cluster.events] == ["Succeeded"], "nobody is told of nothing"


def test_ready_all_the_while() -> None:
    cluster = refreshed()

    seen: list[str] = []

    def stays_ready(_before: Raw, after: Raw) -> None:
        if after["kind"] == "Dataset":
            assert condition(after["status"], "Ready")["status"] == "True"
            seen.append(condition(after["status"], "Reconciling").get("reason", ""))

    cluster.api.on_status.append(stays_ready)
    cluster.api.sources = "more"
    cluster.at("2026-01-01T04:00:00Z")
    assert "Running" in seen, "kstatus sees that work goes on"
    cluster.at("2026-01-02T04:00:00Z", end="user")
    assert condition(cluster.data(), "Refreshed")["status"] == "False"


def test_nothing_is_written_between_two_times() -> None:
    cluster = refreshed()
    before = len(cluster.api.writes)
    for hour in range(3):
        cluster.tick(3500)
        cluster.look()
        assert len(cluster.api.writes) == before, f"hour {hour}"
        cluster.restart()
        cluster.rest()
        assert len(cluster.api.writes) == before
    cluster.at("2026-01-01T05:00:00Z")
    verbs = [verb for verb, key in cluster.api.writes[before:] if key.kind in ("Dataset", "Job") and verb != "patch"]
    ours = [verb for verb, key in cluster.api.writes[before:] if key.kind == "Dataset"]
    assert verbs.count("create") == 1
    assert ours == ["status", "status"], "began, ended"


def test_times_that_were_missed_are_made_up_for_once() -> None:
    cluster = refreshed({"schedule": "*/5 * * * *"})
    cluster.tick(5 * 86400 + 17)
    cluster.restart()
    cluster.rest()
    assert len(cluster.jobs()) == 2
    assert cluster.data()["nextRefreshAt"] == "2026-01-06T00:05:00Z"


def test_a_suspended_dataset_is_not_refreshed_and_makes_up_for_it() -> None:
    cluster = refreshed()
    cluster.api.patch_spec(FLIGHTS, {"suspend": True})
    cluster.rest()
    assert "nextRefreshAt" not in cluster.data()
    assert cluster.due == {}
    cluster.tick(3 * 86400)
    cluster.look()
    assert len(cluster.jobs()) == 1
    cluster.api.patch_spec(FLIGHTS, {"suspend": False})
    cluster.rest()
    assert len(cluster.jobs()) == 2
    assert cluster.data()["checkedAt"] == "2026-01-04T00:00:00Z"


def test_a_refresh_under_way_is_suspended_and_goes_on() -> None:
    cluster = refreshed()
    cluster.tick(3 * 3600)
    cluster.queue[FLIGHTS] = None
    cluster.operate()
    cluster.api.patch_spec(FLIGHTS, {"suspend": True})
    cluster.rest()
    status = cluster.data()
    assert condition(status, "Refreshed")["reason"] == "Suspended"
    assert condition(status, "Ready")["status"] == "True"
    assert sorted(job["spec"]["suspend"] for job in cluster.jobs()) == [False, True]
    cluster.api.patch_spec(FLIGHTS, {"suspend": False})
    cluster.rest()
    assert condition(cluster.data(), "Refreshed")["reason"] == "Unchanged"
    assert len(cluster.jobs()) == 2


def test_objects_are_listed_once_an_interval() -> None:
    cluster = refreshed(POLLED)
    assert cluster.due == {FLIGHTS: 600}
    cluster.at("2026-01-01T01:00:00Z")
    assert len(cluster.jobs()) == 1 + 6
    cluster.api.sources = "more"
    cluster.at("2026-01-01T01:10:00Z")
    assert len(digests(cluster.data())) == 2


def test_schedule_and_interval_together_whichever_comes_first() -> None:
    cluster = refreshed({"schedule": "5 0 * * *", **POLLED})
    cluster.at("2026-01-01T00:30:00Z")
    assert cluster.data()["checkedAt"] == "2026-01-01T00:25:00Z", "5, 15, 25"


def derived(refresh: Raw = POLLED) -> Cluster:
    cluster = refreshed()
    cluster.create(manifests.derived("derived", "flights", refresh=refresh))
    cluster.rest()
    return cluster


def test_a_new_version_of_an_input_is_taken_at_once_and_without_looking() -> None:
    cluster = derived()
    assert cluster.due.keys() == {FLIGHTS}, "nothing is listed for what the operator sees itself"
    first = cluster.data("derived")
    assert "nextRefreshAt" not in first
    cluster.api.sources = "more"
    cluster.at("2026-01-01T03:00:00Z")
    status = cluster.data("derived")
    assert len(digests(status)) == 2
    assert status["checkedAt"] == "2026-01-01T03:00:00Z"
    assert status["upstreamDigest"] != first["upstreamDigest"]
    before = len(cluster.api.writes)
    cluster.look("derived")
    assert len(cluster.api.writes) == before


def test_inputs_that_change_often_are_taken_once_an_interval() -> None:
    cluster = derived({"onSourceChange": {"interval": "2h"}})
    cluster.api.patch_spec(FLIGHTS, {"refresh": {"onSourceChange": {"interval": "10m"}}})
    for minute in range(10, 360, 10):
        cluster.api.sources = str(minute)
        cluster.at(format_time(parse_time("2026-01-01T00:00:00Z") + timedelta(minutes=minute)))
    assert len(cluster.data("flights")["versions"]) == 10
    taken = [v["preparedAt"] for v in cluster.data("derived")["versions"]]
    assert taken == ["2026-01-01T04:00:00Z", "2026-01-01T02:00:00Z", "2026-01-01T00:00:00Z"]


def test_without_a_wish_a_newer_input_makes_nothing() -> None:
    cluster = refreshed()
    cluster.create(manifests.derived("derived", "flights"))
    cluster.rest()
    cluster.api.sources = "more"
    cluster.at("2026-01-01T04:00:00Z")
    assert len(cluster.data("flights")["versions"]) == 2
    assert len(cluster.data("derived")["versions"]) == 1


def test_an_input_that_is_not_ready_is_waited_for_with_the_old_version_in_use() -> None:
    cluster = derived({"schedule": "0 1 * * *"})
    cluster.api.patch_spec(FLIGHTS, manifests.dataset(uri="s3://data/broken.parquet")["spec"])
    cluster.rest(end="user")
    cluster.at("2026-01-01T01:00:00Z")
    status = cluster.data("derived")
    assert condition(status, "Ready")["status"] == "True"
    assert condition(status, "Refreshed")["reason"] == "WaitingForInput"
    assert "Dataset flights is not ready" in condition(status, "Refreshed")["message"]
    cluster.api.annotate(FLIGHTS, {ANNOTATION_RETRY: "1"})
    cluster.rest()
    assert len(cluster.data("derived")["versions"]) == 2
    assert condition(cluster.data("derived"), "Refreshed")["status"] == "True"


def test_a_refresh_that_fails_leaves_the_version_in_use() -> None:
    cluster = refreshed()
    first = cluster.data()
    cluster.api.sources = "broken"
    cluster.at("2026-01-01T03:00:00Z", end="user")
    status = cluster.data()
    assert status["digest"] == first["digest"]
    assert condition(status, "Ready") == condition(first, "Ready")
    assert condition(status, "Stalled") == {}
    failed = condition(status, "Refreshed")
    assert (failed["status"], failed["reason"]) == ("False", "ColumnMissing")
    assert failed["message"] == "column x is missing: name another one; the version before stays in use"
    assert cluster.events[-1][1].type == "Warning"
    assert status["nextRefreshAt"] == "2026-01-02T03:00:00Z"
    before = len(cluster.api.writes)
    cluster.look()
    assert len(cluster.api.writes) == before, "it is not tried again before its time"


def test_sources_that_failed_are_not_tried_again_before_they_change() -> None:
    cluster = refreshed(POLLED)
    cluster.api.sources = "broken"
    cluster.at("2026-01-01T00:10:00Z", end="user")
    failed = condition(cluster.data(), "Refreshed")
    cluster.at("2026-01-01T00:20:00Z")
    task = cluster.tasks()[-1]
    assert isinstance(task, PrepareDataset)
    assert task.known_sources == fake_jobs.sources_of(task, "broken"), "the Job ends at once"
    status = cluster.data()
    assert status["checkedAt"] == "2026-01-01T00:20:00Z"
    assert condition(status, "Refreshed") == failed, "what is wrong is still said"
    cluster.api.sources = "mended"
    cluster.at("2026-01-01T00:30:00Z")
    assert condition(cluster.data(), "Refreshed")["status"] == "True"
    assert len(digests(cluster.data())) == 2


def test_sources_that_come_back_are_the_old_version_again() -> None:
    cluster = refreshed(POLLED)
    first = cluster.data()["digest"]
    cluster.api.sources = "more"
    cluster.at("2026-01-01T00:10:00Z")
    second = cluster.data()["digest"]
    cluster.api.sources = ""
    cluster.at("2026-01-01T00:20:00Z")
    assert digests(cluster.data()) == [first, second]


def test_a_first_version_that_failed_is_tried_again_when_it_is_due() -> None:
    cluster = Cluster()
    cluster.create(manifests.dataset(refresh=NIGHTLY))
    cluster.rest(end="user")
    assert condition(cluster.data(), "Stalled")["reason"] == "ColumnMissing"
    assert cluster.data()["nextRefreshAt"] == "2026-01-01T03:00:00Z"
    cluster.at("2026-01-01T03:00:00Z")
    assert condition(cluster.data(), "Ready")["status"] == "True"
    assert len(cluster.jobs()) == 2


@pytest.mark.parametrize("effects", [1, 2, 3])
def test_an_operator_that_is_killed_starts_no_second_one(effects: int) -> None:
    cluster = refreshed()
    cluster.tick(3 * 3600)
    cluster.queue[FLIGHTS] = None
    try:
        cluster.reconcile(FLIGHTS, kill_after=effects)
    except Killed:
        cluster.restart()
    cluster.rest()
    assert len(cluster.jobs()) == 2
    assert cluster.data()["checkedAt"] == "2026-01-01T03:00:00Z"


def test_two_who_look_at_different_times_name_the_same_job() -> None:
    cluster = refreshed({"schedule": "*/5 * * * *", **POLLED})
    seen = cluster.cache.get("Dataset", NAMESPACE, "flights")
    assert seen is not None
    names = set()
    for minutes in (5, 6, 61, 10_000):
        now = cluster.api.now + timedelta(minutes=minutes)
        plan = reconcile_dataset(Dataset.model_validate(seen), cluster.cache, Context(now=now, settings=SETTINGS))
        (child,) = plan.children
        names.add(child.key.name)
    assert len(names) == 1


def test_a_job_that_was_lost_with_its_pod_is_made_again() -> None:
    cluster = refreshed()
    cluster.tick(3 * 3600)
    cluster.queue[FLIGHTS] = None
    cluster.operate()
    (job,) = [j for j in cluster.jobs() if not fake_jobs.is_finished(j)]
    fake_jobs.remove(cluster.api, job)
    cluster.rest()
    assert cluster.data()["checkedAt"] == "2026-01-01T03:00:00Z"


def test_a_change_of_the_spec_ends_a_refresh() -> None:
    cluster = refreshed()
    cluster.tick(3 * 3600)
    cluster.queue[FLIGHTS] = None
    cluster.operate()
    cluster.api.patch_spec(FLIGHTS, manifests.dataset(uri="s3://data/other.parquet")["spec"])
    cluster.rest()
    status = cluster.data()
    assert len(digests(status)) == 2
    assert all(fake_jobs.is_finished(job) for job in cluster.jobs())
    assert status["versions"][0]["generation"] == 2


def test_a_retry_during_a_refresh_prepares_anew_whatever_the_sources_are() -> None:
    cluster = refreshed()
    cluster.tick(3 * 3600)
    cluster.queue[FLIGHTS] = None
    cluster.operate()
    cluster.api.annotate(FLIGHTS, {ANNOTATION_RETRY: "now"})
    cluster.rest()
    task = cluster.tasks()[-1]
    assert isinstance(task, PrepareDataset)
    assert task.known_sources is None
    assert condition(cluster.data(), "Ready")["status"] == "True"


def test_a_retry_is_another_task_than_the_one_that_is_recorded() -> None:
    cluster = Cluster()
    cluster.create(manifests.dataset())
    cluster.rest()
    cluster.api.annotate(FLIGHTS, {ANNOTATION_RETRY: "now"})
    cluster.rest()
    first, second = cluster.tasks()
    assert first.task_id != second.task_id


def test_a_refresh_that_is_taken_back_leaves_no_trace() -> None:
    cluster = refreshed()
    cluster.at("2026-01-01T04:00:00Z")
    cluster.api.patch_spec(FLIGHTS, {"refresh": None})
    cluster.rest()
    status = cluster.data()
    assert condition(status, "Refreshed") == {}
    assert "nextRefreshAt" not in status
    assert cluster.due == {}


def test_a_refresh_that_is_added_later_looks_at_once_if_its_time_has_passed() -> None:
    cluster = Cluster()
    cluster.create(manifests.dataset())
    cluster.rest()
    assert "checkedAt" not in cluster.data()
    cluster.tick(86400)
    cluster.api.patch_spec(FLIGHTS, {"refresh": NIGHTLY})
    cluster.rest()
    assert len(cluster.jobs()) == 2
    assert cluster.data()["checkedAt"] == "2026-01-02T00:00:00Z"


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
