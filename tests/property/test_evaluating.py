"""Continuous evaluation on the fake cluster: one Job for every pair of versions, whatever happens to the operator meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from tests.property import fake_jobs, manifests
from tests.property.evaluating_cluster import BATCH, FRESH, USED, Cluster, cluster_with
from tests.property.fake_cluster import NAMESPACE

from tidemill.api.v1alpha1.dataset import Dataset
from tidemill.contract.names import ANNOTATION_RETRY
from tidemill.reconcile.plan import Key
from tidemill.reconcile.policies.retention import referred


def test_every_pair_of_versions_is_evaluated_once() -> None:
    cluster = cluster_with()
    (first,) = cluster.results
    assert (first["modelVersion"], first["outcome"], first["rows"]) == (
        {"name": "delay-v1", "version": 1},
        "Passed",
        1000,
    )
    assert first["metrics"] == {"mae": 10.0}
    assert first["reportUri"].startswith("s3://tidemill/ml/evaluations/used/")
    assert cluster.verdict == ("True", "Evaluated")
    version = first["datasetDigest"][7:19]
    assert cluster.condition["message"] == f"delay-v1 on version {version} of Dataset fresh: mae 10 on 1000 rows"

    second = cluster.refresh("b")
    cluster.settle()
    assert [r["datasetDigest"] for r in cluster.results] == [second, first["datasetDigest"]]

    cluster.api.tick(10)
    cluster.create(manifests.version("delay", 2, digest="e", stage="Production"))
    cluster.settle()
    assert (cluster.results[0]["modelVersion"]["version"], cluster.results[0]["datasetDigest"]) == (2, second)
    assert cluster.made() == 3
    assert cluster.writes_of_a_resync() == []
    told = [event.message for _, event in cluster.events if event.reason == "Evaluated"]
    assert len(told) == 3, "each is told once"


def test_serving_does_not_depend_on_it() -> None:
    plain = cluster_with(gates=[{"metric": "mae", "max": 20}])
    bad = cluster_with(gates=[{"metric": "mae", "max": 9}])
    assert bad.verdict == ("False", "GateNotPassed")
    assert bad.condition["message"].endswith("not every gate is passed: test mae is 10, above the maximum 9")
    assert bad.results[0]["outcome"] == "GateNotPassed"
    assert [e.type for _, e in bad.events if e.reason == "GateNotPassed"] == ["Warning"]
    for cluster in (plain, bad):
        ready = next(c for c in cluster.used["conditions"] if c["type"] == "Ready")
        assert (ready["status"], cluster.used["serving"]["name"]) == ("True", "delay-v1")
    bad.refresh("b")
    bad.settle()
    assert [e.type for _, e in bad.events if e.reason == "GateNotPassed"] == ["Warning"] * 2
    assert bad.writes_of_a_resync() == []


def test_another_gate_is_another_question() -> None:
    cluster = cluster_with(gates=[{"metric": "mae", "max": 9}])
    cluster.api.patch_spec(USED, {"evaluation": {"dataset": "fresh", "gates": [{"metric": "mae", "max": 11}]}})
    cluster.settle()
    assert cluster.verdict == ("True", "Evaluated")
    assert (cluster.made(), len(cluster.results)) == (2, 2)
    cluster.api.patch_spec(USED, {"evaluation": {"dataset": "fresh", "gates": [{"metric": "mae", "max": 9}]}})
    cluster.settle()
    assert cluster.verdict == ("False", "GateNotPassed")
    assert "see s3://tidemill/ml/evaluations/used/" in cluster.condition["message"], (
        "what was found stands in the store"
    )
    assert (cluster.made(), len(cluster.results)) == (2, 2), "the answer is known"
    assert cluster.writes_of_a_resync() == []


def test_a_job_that_runs_is_not_given_up_for_a_newer_version() -> None:
    cluster = cluster_with()
    second = cluster.refresh("b")
    job = cluster.begin()
    cluster.refresh("c")
    newest = cluster.refresh("d")
    cluster.operate()
    assert [j["metadata"]["name"] for j in cluster.evaluations() if not fake_jobs.is_finished(j)] == [
        job["metadata"]["name"]
    ]
    dataset = Dataset.model_validate(cluster.api.get(FRESH))
    assert second in referred(dataset, cluster.cache), "its version stays while it is read"
    cluster.settle()
    assert [r["datasetDigest"] for r in cluster.results][:2] == [newest, second], "those in between are passed over"
    assert cluster.made() == 3
    assert second not in referred(Dataset.model_validate(cluster.api.get(FRESH)), cluster.cache)


def test_what_ended_while_the_operator_was_away_is_known_afterwards() -> None:
    cluster = cluster_with()
    second = cluster.refresh("b")
    job = cluster.begin()
    while fake_jobs.step(cluster.api, cluster.fresh(job)):
        pass
    newest = cluster.refresh("c")
    cluster.restart()
    cluster.settle()
    assert [r["datasetDigest"] for r in cluster.results][:2] == [newest, second]
    assert cluster.made() == 3


def test_what_is_not_in_use_any_more_is_not_judged() -> None:
    cluster = cluster_with()
    digest = cluster.refresh("b")
    job = cluster.begin()
    cluster.api.tick(10)
    cluster.create(manifests.version("delay", 2, digest="e", stage="Production"))
    for _ in range(10):
        cluster.operate()
        for other in cluster.jobs():
            if other["metadata"]["name"] != job["metadata"]["name"]:
                fake_jobs.step(cluster.api, other)
    assert job["metadata"]["name"] not in {j["metadata"]["name"] for j in cluster.evaluations()}
    cluster.settle()
    newest = cluster.results[0]
    assert (newest["modelVersion"]["name"], newest["datasetDigest"]) == ("delay-v2", digest)
    assert ("delay-v1", digest) not in {(r["modelVersion"]["name"], r["datasetDigest"]) for r in cluster.results}


def test_a_version_that_comes_back_is_known() -> None:
    cluster = cluster_with()
    cluster.api.tick(10)
    second = cluster.create(manifests.version("delay", 2, digest="e", stage="Production"))
    cluster.settle()
    cluster.api.patch_spec(second, {"stage": "Archived"})
    cluster.settle()
    assert [r["modelVersion"]["name"] for r in cluster.results] == ["delay-v1", "delay-v2"]
    assert cluster.condition["message"].startswith("delay-v1 on version")
    assert cluster.made() == 2


def test_a_failure_stands_until_somebody_acts() -> None:
    cluster = cluster_with(end="user")
    assert cluster.verdict == ("False", "ColumnMissing")
    assert "delay-v1 could not be judged on version" in cluster.condition["message"]
    assert f"kubectl annotate tmdep/used {ANNOTATION_RETRY}=" in cluster.condition["message"]
    assert cluster.results[0]["outcome"] == "Failed"
    for job in cluster.evaluations():
        fake_jobs.remove(cluster.api, job)
    cluster.settle()
    assert cluster.made() == 1, "its Job's time to live is no reason to try again"
    assert cluster.writes_of_a_resync() == []
    cluster.api.annotate(USED, {ANNOTATION_RETRY: "1"})
    cluster.settle()
    assert (cluster.verdict, cluster.made()) == (("True", "Evaluated"), 2)
    assert [r["outcome"] for r in cluster.results] == ["Passed"]
    assert cluster.writes_of_a_resync() == []


def test_more_memory_is_another_try() -> None:
    cluster = cluster_with(end="user")
    cluster.api.patch_spec(USED, {"evaluation": {"dataset": "fresh", "resources": {"memory": "4Gi"}}})
    cluster.settle()
    assert (cluster.verdict, cluster.made()) == (("True", "Evaluated"), 2)
    cluster.api.patch_spec(USED, {"evaluation": {"dataset": "fresh", "resources": {"memory": "8Gi"}}})
    cluster.settle()
    assert cluster.made() == 2, "what is known needs no other"


@pytest.mark.parametrize("end", ["crash", "oom"])
def test_a_crash_is_tried_again_by_its_job(end: fake_jobs.End) -> None:
    cluster = cluster_with(end=end)
    assert cluster.verdict == ("False", "OutOfMemory" if end == "oom" else "RetriesExhausted") or end == "crash"
    assert cluster.results[0]["outcome"] == "Failed"
    cluster.refresh("b")
    cluster.settle()
    assert cluster.verdict == ("True", "Evaluated"), "the next version is judged all the same"


def test_what_is_missing_is_waited_for_and_said() -> None:
    cluster = cluster_with(dataset="later")
    assert cluster.verdict == ("Unknown", "WaitingForDataset")
    assert "spec.evaluation.dataset: there is no Dataset later" in cluster.condition["message"]
    cluster.create(manifests.dataset("later"))
    cluster.settle()
    assert cluster.verdict == ("True", "Evaluated")
    version = Key(kind="ModelVersion", namespace=NAMESPACE, name="delay-v1")
    cluster.api.patch_spec(version, {"stage": "Archived"})
    cluster.settle()
    assert cluster.verdict == ("Unknown", "WaitingForModel")
    assert len(cluster.results) == 1, "what was found stays"
    cluster.api.patch_spec(version, {"stage": "Production"})
    cluster.settle()
    assert cluster.verdict == ("True", "Evaluated")
    assert cluster.made() == 1


def test_a_version_that_was_trained_on_it_has_its_evaluation_already() -> None:
    cluster = Cluster()
    cluster.create(manifests.dataset())
    cluster.create(manifests.run("first", template={"stage": "Production"}))
    cluster.settle()
    spec = {**BATCH, "evaluation": {"dataset": "flights", "gates": [{"metric": "mae", "max": 0.5}]}}
    cluster.create(
        {"apiVersion": manifests.API_VERSION, "kind": "Deployment", "metadata": {"name": "used"}, "spec": spec}
    )
    cluster.settle()
    assert cluster.made() == 0
    (found,) = cluster.results
    assert (found["fromTraining"], found["metrics"], found["outcome"]) == (True, {"mae": 1.0}, "GateNotPassed")
    assert cluster.condition["message"].endswith(
        "as its own training found, which was on this very version; not every gate is passed: test mae is 1, above the "
        "maximum 0.5"
    )
    assert cluster.writes_of_a_resync() == []
    newest = cluster.refresh("b", "flights")
    cluster.settle()
    assert (cluster.made(), cluster.results[0]["datasetDigest"]) == (1, newest)
    assert "fromTraining" not in cluster.results[0]


def test_a_gate_on_a_slice_needs_the_rows() -> None:
    cluster = Cluster()
    cluster.create(manifests.dataset())
    cluster.create(manifests.run("first", template={"stage": "Production"}))
    cluster.settle()
    gate = {"metric": "mae", "max": 50, "slice": {"column": "carrier", "value": "AA"}}
    spec = {**BATCH, "evaluation": {"dataset": "flights", "slices": ["carrier"], "gates": [gate]}}
    cluster.create(
        {"apiVersion": manifests.API_VERSION, "kind": "Deployment", "metadata": {"name": "used"}, "spec": spec}
    )
    cluster.settle()
    assert (cluster.made(), cluster.verdict) == (1, ("True", "Evaluated"))


def test_what_is_not_asked_for_any_more_goes() -> None:
    cluster = cluster_with()
    cluster.refresh("b")
    cluster.begin()
    obj = cluster.api.get(USED)
    assert obj is not None
    cluster.api.patch_spec(USED, {"evaluation": None})
    cluster.settle()
    assert not [job for job in cluster.evaluations() if not fake_jobs.is_finished(job)]
    assert "evaluation" not in cluster.used
    assert "Evaluated" not in {c["type"] for c in cluster.used["conditions"]}


def test_the_newest_ten_stay() -> None:
    cluster = cluster_with()
    made = [cluster.results[0]["datasetDigest"]]
    for letter in "0123456789ab":
        made.insert(0, cluster.refresh(letter))
        cluster.settle()
    assert [r["datasetDigest"] for r in cluster.results] == made[:10]
    assert cluster.writes_of_a_resync() == []


def story(kill_at: int | None = None) -> Cluster:
    """A new version of the data, a Job that is overtaken, a change in production, a failure, and its retry."""
    cluster = cluster_with(kill_at=kill_at, gates=[{"metric": "mae", "max": 9}])
    cluster.refresh("b")
    cluster.operate()
    cluster.refresh("c")
    cluster.settle()
    cluster.api.tick(60)
    cluster.create(manifests.version("delay", 2, digest="e", stage="Production"))
    cluster.settle()
    cluster.refresh("d")
    cluster.settle(end="user")
    cluster.api.annotate(USED, {ANNOTATION_RETRY: "1"})
    cluster.settle()
    return cluster


def essence(cluster: Cluster) -> list[Any]:
    """What a user would compare."""
    found = [(r["modelVersion"]["name"], r["datasetDigest"], r["outcome"]) for r in cluster.results]
    return [
        found,
        cluster.verdict,
        cluster.condition["message"],
        sorted(j["metadata"]["name"] for j in cluster.evaluations()),
    ]


@pytest.mark.slow
def test_killed_after_every_effect() -> None:
    undisturbed = story()
    assert len(undisturbed.results) == 5
    for moment in range(1, undisturbed.effects + 1):
        cluster = story(kill_at=moment)
        assert cluster.kills == 1, f"nobody was killed at effect {moment}"
        assert essence(cluster) == essence(undisturbed), f"killed after effect {moment}"
        made = [key for verb, key in cluster.api.writes if verb == "create" and key.kind == "Job"]
        assert len(made) == len(set(made)), f"killed after effect {moment}: something was made twice"
        assert cluster.writes_of_a_resync() == []
