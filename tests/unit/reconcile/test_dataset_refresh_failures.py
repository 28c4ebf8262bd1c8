"""Refreshes that fail, are interrupted or overtaken leave one version in use, and one Job at most."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.property import fake_jobs, manifests
from tests.property.fake_cluster import NAMESPACE, SETTINGS, Killed
from tests.unit.reconcile.datasets import Cluster, condition, digests
from tests.unit.reconcile.refreshing import FLIGHTS, NIGHTLY, POLLED, refreshed

from tidemill.api.v1alpha1.dataset import Dataset
from tidemill.contract.names import ANNOTATION_RETRY
from tidemill.contract.tasks import PrepareDataset
from tidemill.reconcile.dataset import reconcile_dataset
from tidemill.reconcile.observed import Context


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
