"""The ordinary course of things on the fake cluster, from a Dataset to a version in production."""

from __future__ import annotations

import pytest
from tests.property import fake_jobs, manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import NAMESPACE, FakeCluster

from tidemill.reconcile.plan import Key


def condition(status: Raw, type_: str) -> Raw:
    found = [c for c in status.get("conditions", ()) if c["type"] == type_]
    return found[0] if found else {}


def writes_of_a_resync(cluster: FakeCluster) -> int:
    """How many writes a full pass over everything makes."""
    before = len(cluster.api.writes)
    cluster.restart()
    cluster.operate()
    return len(cluster.api.writes) - before


def test_from_data_to_production() -> None:
    cluster = FakeCluster()
    cluster.create(manifests.run("first", template={"stage": "Production"}))
    cluster.create(manifests.dataset())
    cluster.settle()

    data = cluster.status("Dataset", "flights")
    assert condition(data, "Ready")["status"] == "True"
    assert data["rows"] == 100
    run = cluster.status("TrainingRun", "first")
    assert run["modelVersion"] == {"name": "delay-v1", "version": 1}
    assert run["datasetDigest"] == data["digest"]
    assert run["attempts"] == 1
    version = cluster.api.get(Key(kind="ModelVersion", namespace=NAMESPACE, name="delay-v1"))
    assert version is not None
    assert version["spec"]["origin"]["datasetDigest"] == data["digest"]
    assert version["spec"]["origin"]["trainingRun"] == "first"
    status = version["status"]
    assert status["verifiedDigest"] == version["spec"]["artifact"]["digest"]
    assert [(v["name"], v["state"]) for v in status["variants"]] == [("int8", "Accepted")]
    assert [(e["name"], e["state"]) for e in status["exports"]] == [("edge", "Rejected")]
    assert condition(status, "Ready")["status"] == "True"
    assert condition(status, "VariantsReady")["reason"] == "ToleranceExceeded"
    assert status["stage"] == "Production"
    assert [(t["from"], t["to"], t["reason"], t["by"]) for t in status["transitions"]] == [
        ("None", "Production", "Requested", "trainingrun/first")
    ]
    assert status["metrics"] == {"test": {"mae": 1.0}}
    assert writes_of_a_resync(cluster) == 0


def test_a_finished_run_costs_nothing_when_its_job_goes() -> None:
    cluster = FakeCluster()
    cluster.create(manifests.dataset())
    cluster.create(manifests.run("first"))
    cluster.settle()
    for job in cluster.jobs():
        fake_jobs.remove(cluster.api, job)
    before = len(cluster.api.writes)
    cluster.settle()
    assert cluster.jobs() == []
    assert len(cluster.api.writes) == before
    assert writes_of_a_resync(cluster) == 0


def test_three_calls_take_a_run_to_its_job() -> None:
    cluster = FakeCluster()
    cluster.create(manifests.dataset())
    cluster.settle()
    before = len(cluster.api.writes)
    cluster.create(manifests.run("first"))
    cluster.operate()
    mine = cluster.api.writes[before + 1 :]
    assert [verb for verb, _ in mine].count("create") == 1
    assert len(mine) <= 3


def test_a_changed_dataset_keeps_its_old_version_until_the_new_one_is_there() -> None:
    cluster = FakeCluster()
    key = cluster.create(manifests.dataset())
    cluster.settle()
    old = cluster.status("Dataset", "flights")["digest"]
    cluster.api.patch_spec(key, manifests.dataset(uri="s3://data/more.parquet")["spec"])
    cluster.operate()
    between = cluster.status("Dataset", "flights")
    assert between["digest"] == old
    assert condition(between, "Ready")["status"] == "False"
    assert condition(between, "Reconciling")["status"] == "True"
    cluster.settle()
    new = cluster.status("Dataset", "flights")
    assert new["digest"] != old
    assert [v["digest"] for v in new["versions"]] == [new["digest"], old]
    assert [v["generation"] for v in new["versions"]] == [2, 1]


@pytest.mark.parametrize("change", [{"suspend": True}, {"job": {"backoffLimit": 1}}, {"resources": {"memory": "2Gi"}}])
def test_a_change_that_is_not_of_the_data_prepares_nothing(change: Raw) -> None:
    cluster = FakeCluster()
    key = cluster.create(manifests.dataset())
    cluster.settle()
    jobs = [j["metadata"]["name"] for j in cluster.jobs()]
    cluster.api.patch_spec(key, change)
    cluster.settle()
    status = cluster.status("Dataset", "flights")
    assert [j["metadata"]["name"] for j in cluster.jobs()] == jobs
    assert status["observedGeneration"] == 2
    assert condition(status, "Ready")["status"] == "True"


def test_suspending_and_resuming_keeps_the_job() -> None:
    cluster = FakeCluster()
    key = cluster.create(manifests.dataset())
    cluster.operate()
    names = [j["metadata"]["name"] for j in cluster.jobs()]
    cluster.api.patch_spec(key, {"suspend": True})
    cluster.settle()
    assert [j["spec"]["suspend"] for j in cluster.jobs()] == [True]
    assert condition(cluster.status("Dataset", "flights"), "Ready")["reason"] == "Suspended"
    assert condition(cluster.status("Dataset", "flights"), "Reconciling") == {}
    cluster.api.patch_spec(key, {"suspend": False})
    cluster.settle()
    assert [j["metadata"]["name"] for j in cluster.jobs()] == names
    assert condition(cluster.status("Dataset", "flights"), "Ready")["status"] == "True"


def test_the_user_is_to_blame_and_a_change_of_the_spec_retries() -> None:
    cluster = FakeCluster()
    key = cluster.create(manifests.dataset(transform={"sql": "SELECT x FROM raw"}))
    cluster.settle(end="user")
    status = cluster.status("Dataset", "flights")
    assert condition(status, "Stalled")["reason"] == "ColumnMissing"
    assert "name another one" in condition(status, "Stalled")["message"]
    assert [(e.type, e.reason) for _, e in cluster.events] == [("Warning", "ColumnMissing")]
    assert writes_of_a_resync(cluster) == 0
    cluster.api.patch_spec(key, {"transform": {"sql": "SELECT y FROM raw"}})
    cluster.settle()
    assert condition(cluster.status("Dataset", "flights"), "Ready")["status"] == "True"
    assert condition(cluster.status("Dataset", "flights"), "Stalled") == {}


def test_more_memory_is_a_retry_of_the_same_data() -> None:
    cluster = FakeCluster()
    key = cluster.create(manifests.dataset(job={"backoffLimit": 0}))
    cluster.settle(end="oom")
    assert condition(cluster.status("Dataset", "flights"), "Stalled")["reason"] == "OutOfMemory"
    cluster.api.patch_spec(key, {"resources": {"memory": "4Gi"}})
    cluster.settle()
    assert condition(cluster.status("Dataset", "flights"), "Ready")["status"] == "True"


def test_crashes_are_retried_up_to_the_limit() -> None:
    cluster = FakeCluster()
    cluster.create(manifests.dataset())
    cluster.create(manifests.run("first", job={"backoffLimit": 2}))
    cluster.settle(end="crash", rounds=400)
    status = cluster.status("Dataset", "flights")
    assert condition(status, "Stalled")["reason"] == "ContainerFailed"
    assert "(4 attempts, job.backoffLimit=3)" in condition(status, "Stalled")["message"]
    run = cluster.status("TrainingRun", "first")
    assert condition(run, "Reconciling")["reason"] == "WaitingForDataset"
    assert "Dataset flights is not ready (ContainerFailed" in condition(run, "Ready")["message"]


def test_an_unverified_version_is_never_staged() -> None:
    cluster = FakeCluster()
    cluster.create(manifests.version("delay", 1, stage="Production", optimise=[{"name": "int8"}]))
    cluster.settle(end="user")
    status = cluster.status("ModelVersion", "delay-v1")
    assert status["stage"] == "None"
    assert status["transitions"] == []
    assert condition(status, "Stalled")["reason"] == "NotVerified"
    assert condition(status, "Verified")["status"] == "False"
    assert "ColumnMissing" in condition(status, "Stalled")["message"]
    assert len(cluster.jobs()) == 1, "no variant is made of what was not verified"
    assert writes_of_a_resync(cluster) == 0


def test_production_passes_on_and_comes_back() -> None:
    cluster = FakeCluster()
    keys = [cluster.create(manifests.version("delay", n)) for n in (1, 2)]
    cluster.settle()
    stages: list[tuple[str, str]] = []
    for key, stage, by in (
        (keys[0], "Production", None),
        (keys[1], "Production", "driftpolicy/watch#1"),
        (keys[1], "None", None),
    ):
        cluster.api.tick(10)
        cluster.api.patch_spec(key, {"stage": stage, "promotedBy": by} if by else {"stage": stage})
        cluster.settle()
        stages.append(tuple(cluster.status("ModelVersion", f"delay-v{n}")["stage"] for n in (1, 2)))  # type: ignore[arg-type]
    assert stages == [("Production", "None"), ("Archived", "Production"), ("Production", "None")]
    first, second = (cluster.status("ModelVersion", f"delay-v{n}")["transitions"] for n in (1, 2))
    assert [(t["to"], t["reason"], t["by"]) for t in reversed(first)] == [
        ("Production", "Requested", "spec.stage"),
        ("Archived", "Superseded", "delay-v2"),
        ("Production", "Restored", "spec.stage"),
    ]
    assert [(t["to"], t["reason"]) for t in reversed(second)] == [("Production", "Promoted"), ("None", "Requested")]


def test_approval_is_waited_for() -> None:
    cluster = FakeCluster()
    key = cluster.create(manifests.version("delay", 1, stage="Production", approval={"mode": "Manual"}))
    cluster.settle()
    status = cluster.status("ModelVersion", "delay-v1")
    assert (status["stage"], condition(status, "Approved")["reason"]) == ("None", "WaitingForApproval")
    assert condition(status, "Ready")["status"] == "True"
    cluster.api.patch_spec(key, {"approval": {"mode": "Manual", "approvedBy": "ada"}})
    cluster.settle()
    status = cluster.status("ModelVersion", "delay-v1")
    assert (status["stage"], condition(status, "Approved")["message"]) == ("Production", "approved by ada")


def test_a_variant_added_later_leaves_the_version_ready() -> None:
    cluster = FakeCluster()
    key = cluster.create(manifests.version("delay", 1))
    cluster.settle()
    cluster.api.patch_spec(key, {"optimise": [{"name": "int8"}]})
    cluster.operate()
    status = cluster.status("ModelVersion", "delay-v1")
    assert condition(status, "Ready")["status"] == "True"
    assert condition(status, "Reconciling")["reason"] == "Optimising"
    cluster.settle()
    status = cluster.status("ModelVersion", "delay-v1")
    assert condition(status, "VariantsReady")["status"] == "True"
    assert condition(status, "Reconciling") == {}


def test_a_result_that_was_lost_with_its_pod_is_made_again() -> None:
    cluster = FakeCluster()
    cluster.create(manifests.dataset())
    cluster.operate()
    for _ in range(3):
        for job in cluster.jobs():
            fake_jobs.step(cluster.api, job)
    for job in cluster.jobs():
        fake_jobs.step(cluster.api, job)
        for pod in fake_jobs.pods_of(cluster.api, job):
            cluster.api.delete(Key(kind="Pod", namespace=NAMESPACE, name=pod["metadata"]["name"]))
    cluster.settle()
    assert condition(cluster.status("Dataset", "flights"), "Ready")["status"] == "True"


def test_kueue_alone_resumes_a_queued_run() -> None:
    cluster = FakeCluster()
    cluster.create(manifests.dataset())
    cluster.settle()
    cluster.create(manifests.run("first", queueName="gpus", suspend=True))
    cluster.settle()
    (job,) = [j for j in cluster.jobs() if "train" in j["metadata"]["name"]]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert job["spec"]["suspend"] is True
    status = cluster.status("TrainingRun", "first")
    assert condition(status, "Reconciling")["reason"] == "Queued"
    assert status["warnings"] == ["spec.suspend has no effect with spec.queueName: Kueue decides when the Job runs"]
    cluster.api.patch_spec(Key(kind="Job", namespace=NAMESPACE, name=job["metadata"]["name"]), {"suspend": False})
    cluster.settle()
    assert condition(cluster.status("TrainingRun", "first"), "Ready")["reason"] == "Succeeded"


def test_a_change_taken_back_ends_the_job_that_nobody_asks_for() -> None:
    cluster = FakeCluster()
    key = cluster.create(manifests.dataset())
    cluster.settle()
    finished = [j["metadata"]["name"] for j in cluster.jobs()]
    cluster.api.patch_spec(key, manifests.dataset(uri="s3://data/more.parquet")["spec"])
    cluster.operate()
    assert len(cluster.jobs()) == 2
    cluster.api.patch_spec(key, manifests.dataset()["spec"])
    cluster.operate()
    assert [j["metadata"]["name"] for j in cluster.jobs()] == finished
    assert condition(cluster.status("Dataset", "flights"), "Ready")["status"] == "True"
