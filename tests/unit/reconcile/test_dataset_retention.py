"""Versions that nobody needs go, and never one that anything refers to."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.property import fake_jobs, manifests
from tests.unit.reconcile.datasets import condition, digests
from tests.unit.reconcile.retaining import FLIGHTS, cluster_of, versions

from tidemill.api.durations import format_time
from tidemill.contract.canonical import short
from tidemill.contract.tasks import PruneDataset
from tidemill.reconcile import pruning


def test_the_newest_so_many_stay() -> None:
    cluster = cluster_of({"keepVersions": 2})
    made = versions(cluster, 4)
    status = cluster.data()
    assert [short(d) for d in digests(status)] == made[:-3:-1]
    assert condition(status, "Pruned") | {"lastTransitionTime": ""} == {
        "type": "Pruned",
        "status": "True",
        "reason": "Pruned",
        "message": "versions removed: 1",
        "lastTransitionTime": "",
        "observedGeneration": 1,
    }
    assert [e.message for _, e in cluster.events if e.reason == "Pruned"] == [
        "versions removed: 1, as spec.retention does not keep them"
    ] * 3
    before = len(cluster.api.writes)
    cluster.look()
    cluster.restart()
    cluster.rest()
    assert len(cluster.api.writes) == before


def test_without_retention_all_stay() -> None:
    cluster = cluster_of(None)
    versions(cluster, 12)
    assert cluster.tasks("PruneDataset") == []
    assert len(digests(cluster.data())) == 10


def test_versions_that_became_too_old_go_without_a_new_one() -> None:
    cluster = cluster_of({"keepFor": "5h"})
    versions(cluster, 2)
    assert len(digests(cluster.data())) == 3
    cluster.at("2026-01-01T05:00:00Z")
    assert len(digests(cluster.data())) == 3
    cluster.at("2026-01-01T05:00:30Z")
    assert len(digests(cluster.data())) == 2
    cluster.at("2026-01-02T00:00:00Z")
    assert len(digests(cluster.data())) == 1, "the newest stays"


def test_what_the_status_has_no_room_for_is_looked_through_after_each_new_version() -> None:
    cluster = cluster_of({"keepVersions": 50})
    versions(cluster, 8)
    assert cluster.tasks("PruneDataset") == []
    versions(cluster, 1)
    assert len(cluster.tasks("PruneDataset")) == 1, "there are ten: who knows what came before"
    cluster.at(format_time(cluster.api.now + timedelta(hours=5)))
    assert len(cluster.tasks("PruneDataset")) == 1
    versions(cluster, 1)
    (task,) = cluster.tasks("PruneDataset")[1:]
    assert isinstance(task, PruneDataset)
    assert [v.digest for v in task.versions] == digests(cluster.data())
    assert task.root == "s3://tidemill/ml/datasets/flights"
    assert len(task.to_json()) < 3000


def test_a_suspended_dataset_keeps_all() -> None:
    cluster = cluster_of(None)
    versions(cluster, 3)
    cluster.api.patch_spec(FLIGHTS, {"suspend": True, "retention": {"keepVersions": 1}})
    cluster.rest()
    assert cluster.tasks("PruneDataset") == []
    cluster.api.patch_spec(FLIGHTS, {"suspend": False})
    cluster.rest()
    assert len(digests(cluster.data())) == 1


def test_a_removal_that_fails_is_said_and_harms_nothing() -> None:
    cluster = cluster_of(None)
    versions(cluster, 3)
    before = digests(cluster.data())
    cluster.api.patch_spec(FLIGHTS, {"retention": {"keepVersions": 1}})
    cluster.rest(end="user")
    status = cluster.data()
    assert digests(status) == before
    assert condition(status, "Ready")["status"] == "True"
    assert condition(status, "Pruned")["status"] == "False"
    assert condition(status, "Pruned")["message"].startswith("versions could not be removed: ")
    writes = len(cluster.api.writes)
    cluster.look()
    assert len(cluster.api.writes) == writes
    for job in cluster.jobs():
        fake_jobs.remove(cluster.api, job)  # its time to live is over
    cluster.rest()
    assert len(digests(cluster.data())) == 1


def test_nothing_is_removed_while_a_version_is_made() -> None:
    cluster = cluster_of(None)
    versions(cluster, 3)
    cluster.api.patch_spec(FLIGHTS, {"retention": {"keepVersions": 1}})
    cluster.operate()
    (pruning_job,) = [job for job in cluster.jobs() if not fake_jobs.is_finished(job)]
    assert pruning_job["metadata"]["labels"]["tidemill.dev/task"] == "PruneDataset"
    cluster.api.patch_spec(FLIGHTS, manifests.dataset(uri="s3://data/other.parquet")["spec"])
    cluster.operate()
    unfinished = [j["metadata"]["labels"]["tidemill.dev/task"] for j in cluster.jobs() if not fake_jobs.is_finished(j)]
    assert unfinished == ["PrepareDataset"], "the one that removes is gone before the other begins"
    cluster.rest()
    assert len(digests(cluster.data())) == 1


def test_more_references_than_a_task_can_hold_keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "MOST_PROTECTED", 2)
    cluster = cluster_of(None)
    versions(cluster, 4)
    for number, digest in enumerate(digests(cluster.data())[1:3], start=1):
        cluster.create(manifests.version("delay", number, origin={"dataset": "flights", "datasetDigest": digest}))
    cluster.api.patch_spec(FLIGHTS, {"retention": {"keepVersions": 1}})
    cluster.rest()
    assert len(digests(cluster.data())) == 5
    assert condition(cluster.data(), "Pruned")["message"] == (
        "spec.retention: 3 versions are referred to: beyond 2 none is removed; delete ModelVersions that are not needed"
    )
