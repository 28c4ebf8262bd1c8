"""What has failed for a reason outside the spec is tried again when the retry annotation gets a new value."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.property import fake_jobs, manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import RECONCILERS, FakeCluster
from tests.property.invariants import check_rest, check_status_write, conditions

from tidemill.contract.names import ANNOTATION_RETRY
from tidemill.reconcile.deployment import reconcile_deployment
from tidemill.reconcile.plan import Key

BATCH = {"mode": "Batch", "batch": {"dataset": "flights"}, "model": {"name": "delay", "version": 1}}
KINDS = ["Dataset", "ModelVersion", "Deployment"]


class Cluster(FakeCluster):
    """With Deployments."""

    reconcilers: Mapping[str, object] = {**RECONCILERS, "Deployment": reconcile_deployment}

    def writes_of_a_resync(self) -> list[tuple[str, Key]]:
        before = len(self.api.writes)
        self.restart()
        self.operate()
        return self.api.writes[before:]

    def remove_jobs(self) -> None:
        """Their time to live is over."""
        for job in self.jobs():
            fake_jobs.remove(self.api, job)
        self.settle()

    def conditions(self, key: Key) -> dict[str, Raw]:
        obj = self.api.get(key)
        assert obj is not None
        return conditions(obj)


def failed(kind: str) -> tuple[Cluster, Key]:
    """A cluster with one resource whose Job has failed."""
    cluster = Cluster()
    cluster.api.on_status.append(check_status_write)
    if kind == "Deployment":
        cluster.create(manifests.dataset())
        cluster.create(manifests.version("delay", 1))
        cluster.settle()
        made = manifests.deployment(**BATCH)
        del made["spec"]["online"]
        key = cluster.create(made)
    else:
        key = cluster.create(manifests.dataset() if kind == "Dataset" else manifests.version("delay", 1))
    cluster.settle(end="user")
    assert "Stalled" in cluster.conditions(key)
    return cluster, key


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ttl", [False, True], ids=["failed-job-still-there", "failed-job-gone"])
def test_a_new_value_tries_again(kind: str, ttl: bool) -> None:
    cluster, key = failed(kind)
    if ttl:
        cluster.remove_jobs()
    assert cluster.writes_of_a_resync() == []
    cluster.api.annotate(key, {ANNOTATION_RETRY: "1764000000"})
    cluster.settle()
    assert cluster.conditions(key)["Ready"]["status"] == "True"
    assert "Stalled" not in cluster.conditions(key)
    check_rest(cluster)
    assert cluster.writes_of_a_resync() == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ttl", [False, True], ids=["failed-job-still-there", "failed-job-gone"])
def test_each_value_tries_once(kind: str, ttl: bool) -> None:
    cluster, key = failed(kind)
    for value in ("1", "2", "3"):
        before = {j["metadata"]["uid"] for j in cluster.jobs()}
        cluster.api.annotate(key, {ANNOTATION_RETRY: value})
        cluster.settle(end="user")
        assert "Stalled" in cluster.conditions(key)
        new = [j for j in cluster.jobs() if j["metadata"]["uid"] not in before]
        assert [j["metadata"]["annotations"][ANNOTATION_RETRY] for j in new] == [value]
        if ttl:
            cluster.remove_jobs()
        assert cluster.writes_of_a_resync() == []
        assert "Stalled" in cluster.conditions(key)


@pytest.mark.parametrize("kind", KINDS)
def test_the_message_says_how(kind: str) -> None:
    cluster, key = failed(kind)
    short = {"Dataset": "tmds", "ModelVersion": "tmmv", "Deployment": "tmdep"}[kind]
    message = cluster.conditions(key)["Stalled"]["message"]
    assert message.endswith(
        f"; to try again unchanged: kubectl annotate {short}/{key.name} {ANNOTATION_RETRY}=$(date +%s) --overwrite"
    )
    assert cluster.conditions(key)["Ready"]["message"] == message


def test_the_annotation_makes_a_ready_dataset_read_its_inputs_anew() -> None:
    cluster = Cluster()
    key = cluster.create(manifests.dataset())
    cluster.settle()
    names = {j["metadata"]["name"] for j in cluster.jobs()}
    cluster.api.annotate(key, {ANNOTATION_RETRY: "1"})
    cluster.settle(end="user")
    assert {j["metadata"]["name"] for j in cluster.jobs()} > names
    assert "Stalled" in cluster.conditions(key), "the old version does not hide that the new one failed"
    assert cluster.status("Dataset", "flights")["digest"]
    cluster.api.annotate(key, {ANNOTATION_RETRY: "2"})
    cluster.settle()
    assert cluster.conditions(key)["Ready"]["status"] == "True"
    jobs = len(cluster.jobs())
    cluster.api.annotate(key, {ANNOTATION_RETRY: None})
    cluster.settle()
    assert len(cluster.jobs()) == jobs, "taking the annotation away asks for nothing"
    assert cluster.writes_of_a_resync() == []


def test_a_retry_leaves_a_running_job_alone() -> None:
    cluster = Cluster()
    key = cluster.create(manifests.dataset())
    cluster.operate()
    (job,) = cluster.jobs()
    for _ in range(2):
        fake_jobs.step(cluster.api, cluster.jobs()[0])
    cluster.api.annotate(key, {ANNOTATION_RETRY: "1"})
    cluster.operate()
    assert [j["metadata"]["uid"] for j in cluster.jobs()] == [job["metadata"]["uid"]]
    cluster.settle(end="user")
    assert len(cluster.jobs()) == 2, "when that one fails the retry is still due"


def test_failed_variants_are_made_again() -> None:
    cluster = Cluster()
    key = cluster.create(manifests.version("delay", 1))
    cluster.settle()
    cluster.api.patch_spec(key, {"optimise": [{"name": "int8"}]})
    cluster.settle(end="user")
    said = cluster.conditions(key)["VariantsReady"]
    assert said["status"] == "False"
    assert f"kubectl annotate tmmv/delay-v1 {ANNOTATION_RETRY}=" in said["message"]
    cluster.api.annotate(key, {ANNOTATION_RETRY: "1"})
    cluster.settle()
    assert cluster.conditions(key)["VariantsReady"]["status"] == "True"
    verified = [j for j in cluster.jobs() if "verify" in j["metadata"]["name"]]
    assert len(verified) == 1, "what did not fail is not done again"


def test_a_dataset_that_goes_back_to_what_it_was_is_prepared_anew() -> None:
    """The objects behind the same inputs may have changed meanwhile."""
    cluster = Cluster()
    key = cluster.create(manifests.dataset())
    cluster.settle()
    first = {j["metadata"]["uid"] for j in cluster.jobs()}
    for uri in ("s3://data/more.parquet", "s3://data/flights.parquet"):
        cluster.api.patch_spec(key, manifests.dataset(uri=uri)["spec"])
        cluster.settle()
    assert len({j["metadata"]["uid"] for j in cluster.jobs()} - first) == 2
    assert cluster.status("Dataset", "flights")["versions"][0]["generation"] == 3


def test_a_job_that_ended_while_something_else_was_edited_is_still_read() -> None:
    cluster = Cluster()
    key = cluster.create(manifests.dataset())
    cluster.operate()
    for _ in range(4):
        fake_jobs.step(cluster.api, cluster.jobs()[0])
    cluster.api.patch_spec(key, {"job": {"backoffLimit": 1}})
    cluster.settle()
    assert len(cluster.jobs()) == 1
    assert cluster.conditions(key)["Ready"]["status"] == "True"


@pytest.mark.parametrize("end", ["ok", "user"])
def test_a_run_that_has_ended_says_that_edits_have_no_effect(end: fake_jobs.End) -> None:
    cluster = Cluster()
    cluster.create(manifests.dataset())
    cluster.settle()
    key = cluster.create(manifests.run("first"))
    for _ in range(5):
        cluster.operate()
        for job in cluster.jobs():
            fake_jobs.step(cluster.api, job, end)
    cluster.settle()
    condition = "Ready" if end == "ok" else "Stalled"
    message = cluster.conditions(key)[condition]["message"]
    assert message.endswith("; a run is not tried again: create a new TrainingRun") is (end == "user")
    jobs = cluster.jobs()
    cluster.api.annotate(key, {ANNOTATION_RETRY: "1"})
    for memory in ("5Gi", "6Gi"):
        cluster.api.patch_spec(key, {"resources": {"memory": memory}})
        cluster.settle()
        said = cluster.conditions(key)[condition]
        assert (said["status"], said["observedGeneration"]) == (
            "True",
            cluster.api.objects[key]["metadata"]["generation"],
        )
        assert said["message"].count("edits of its spec have no effect: create a new TrainingRun") == 1
        assert said["message"].startswith(message.partition(";")[0])
    assert sum(e.reason == "InvalidSpec" for _, e in cluster.events) == 2
    assert cluster.jobs() == jobs, "and nothing is trained"
    assert cluster.writes_of_a_resync() == []
