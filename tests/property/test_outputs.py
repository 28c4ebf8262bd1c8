"""Deployments of the modes Batch and Edge on the fake cluster: once per version and input, and never twice."""

from __future__ import annotations

import pytest
from tests.property import fake_jobs, manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import NAMESPACE
from tests.property.loop_cluster import LoopCluster
from tests.property.test_loop import condition, writes_of_a_resync

from tidemill.contract.names import API_VERSION
from tidemill.reconcile.plan import Key

OUT = Key(kind="Deployment", namespace=NAMESPACE, name="out")


def batch(**spec: object) -> Raw:
    return _deployment({"mode": "Batch", "batch": {"dataset": "flights", "splits": ["test"], **spec}})


def edge(**spec: object) -> Raw:
    return _deployment({"mode": "Edge", "edge": {"export": "edge", **spec}})


def _deployment(spec: Raw) -> Raw:
    spec["model"] = {"name": "delay", "stage": "Production"}
    return {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": {"name": "out"}, "spec": spec}


def cluster_with(deployment: Raw) -> LoopCluster:
    cluster = LoopCluster()
    cluster.create(manifests.dataset())
    cluster.create(manifests.version("delay", 1, stage="Production"))
    cluster.create(deployment)
    cluster.settle()
    return cluster


def jobs_made(cluster: LoopCluster) -> int:
    return sum(
        1 for verb, key in cluster.api.writes if verb == "create" and key.kind == "Job" and key.name.startswith("out-")
    )


def test_a_dataset_is_scored_once_for_every_version_of_model_and_data() -> None:
    cluster = cluster_with(batch())
    status = cluster.status("Deployment", "out")
    first = status["output"]
    assert status["outputRows"] == 100
    assert status["serving"] == {"name": "delay-v1", "version": 1}
    assert condition(status, "Ready")["message"] == "delay-v1 has scored 100 rows of Dataset flights"
    assert jobs_made(cluster) == 1

    cluster.api.tick(10)
    cluster.create(manifests.version("delay", 2, digest="b", stage="Production"))
    cluster.settle()
    status = cluster.status("Deployment", "out")
    assert status["output"] != first
    assert [t["to"] for t in status["transitions"]] == ["delay-v2", "delay-v1"]
    assert jobs_made(cluster) == 2

    key = Key(kind="Dataset", namespace=NAMESPACE, name="flights")
    cluster.api.patch_spec(key, manifests.dataset(uri="s3://data/new.parquet")["spec"])
    cluster.settle()
    assert jobs_made(cluster) == 3
    assert len(cluster.status("Deployment", "out")["transitions"]) == 2, "the model is the same"


def test_the_output_outlives_its_job_and_a_change_of_other_fields() -> None:
    cluster = cluster_with(batch())
    for job in cluster.jobs():
        if job["metadata"]["name"].startswith("out-"):
            fake_jobs.remove(cluster.api, job)
    cluster.api.patch_spec(OUT, {"batch": {"dataset": "flights", "splits": ["test"], "resources": {"memory": "4Gi"}}})
    cluster.settle()
    assert jobs_made(cluster) == 1
    assert condition(cluster.status("Deployment", "out"), "Ready")["status"] == "True"
    assert writes_of_a_resync(cluster) == []


def test_a_failed_scoring_keeps_the_last_output_and_is_not_repeated() -> None:
    cluster = cluster_with(batch())
    first = cluster.status("Deployment", "out")["output"]
    cluster.api.patch_spec(OUT, {"batch": {"dataset": "flights", "splits": ["train"]}})
    cluster.settle(end="user")
    status = cluster.status("Deployment", "out")
    assert status["output"] == first
    assert condition(status, "Available")["status"] == "True"
    assert condition(status, "Stalled")["reason"] == "ColumnMissing"
    assert condition(status, "Stalled")["message"].startswith("scoring Dataset flights with delay-v1 failed: column x")
    for job in cluster.jobs():
        if job["metadata"]["name"].startswith("out-"):
            fake_jobs.remove(cluster.api, job)
    cluster.settle()
    assert jobs_made(cluster) == 2, "the same work is not tried again when its Job is removed"
    assert condition(cluster.status("Deployment", "out"), "Stalled")["reason"] == "ColumnMissing"
    cluster.api.patch_spec(OUT, {"batch": {"dataset": "flights", "splits": ["train", "test"]}})
    cluster.settle()
    assert condition(cluster.status("Deployment", "out"), "Ready")["status"] == "True"


@pytest.mark.parametrize("dataset", ["flights", "none"])
def test_what_is_missing_is_waited_for(dataset: str) -> None:
    cluster = LoopCluster()
    cluster.create(manifests.dataset())
    cluster.create(batch(dataset=dataset))
    cluster.settle()
    assert condition(cluster.status("Deployment", "out"), "Ready")["reason"] == "WaitingForModel"
    cluster.create(manifests.version("delay", 1, stage="Production"))
    cluster.settle()
    ready = condition(cluster.status("Deployment", "out"), "Ready")
    assert (ready["status"], ready["reason"]) == (
        ("True", "Completed") if dataset == "flights" else ("False", "WaitingForDataset")
    )


def test_a_rejected_export_is_not_published() -> None:
    cluster = LoopCluster()
    cluster.create(manifests.version("delay", 1, stage="Production", export=[{"name": "edge"}]))
    cluster.create(edge())
    cluster.settle()
    status = cluster.status("Deployment", "out")
    assert condition(status, "Stalled")["reason"] == "ToleranceExceeded"
    assert "maxAbsError 0.001 was exceeded: 0.5" in condition(status, "Stalled")["message"]
    assert not [j for j in cluster.jobs() if j["metadata"]["name"].startswith("out-")]
