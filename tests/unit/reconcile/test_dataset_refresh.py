"""A Dataset's sources are looked at again when that is due, once whatever happens, and never otherwise."""

from __future__ import annotations

from datetime import timedelta

from tests.property import manifests
from tests.property.fake_api import Raw
from tests.unit.reconcile.datasets import Cluster, condition, digests
from tests.unit.reconcile.refreshing import FLIGHTS, NIGHTLY, POLLED, derived, refreshed

from tidemill.api.durations import format_time, parse_time
from tidemill.contract.names import ANNOTATION_RETRY
from tidemill.contract.tasks import PrepareDataset


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
