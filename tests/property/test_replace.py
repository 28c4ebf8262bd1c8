"""A Job that cannot start is made anew when what keeps it from starting is put right; one that has run is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import fake_jobs, manifests
from tests.property.fake_api import Raw, key_of
from tests.property.fake_cluster import FakeCluster
from tests.property.invariants import check_rest, conditions

from tidemill.reconcile.plan import Key

HUGE: Raw = {"memory": "100Ti"}
FITS: Raw = {"memory": "3Gi"}


def ready(cluster: FakeCluster, key: Key) -> Raw:
    obj = cluster.api.get(key)
    assert obj is not None
    return conditions(obj)["Ready"]


def resource(cluster: FakeCluster, kind: str, **spec: Any) -> Key:
    """A resource of this kind whose Job is the next to come."""
    if kind == "Dataset":
        return cluster.create(manifests.dataset("weather", **spec))
    if kind == "ModelVersion":
        return cluster.create(manifests.version("wind", 1, **spec))
    cluster.create(manifests.dataset())
    cluster.settle()
    return cluster.create(manifests.run("first", **spec))


def started(cluster: FakeCluster) -> list[str]:
    """UIDs of the Jobs of which a container has run."""
    return [j["metadata"]["uid"] for j in cluster.jobs() if any(map(_ran, fake_jobs.pods_of(cluster.api, j)))]


def _ran(pod: Raw) -> bool:
    return pod["status"]["phase"] != "Pending"


@pytest.mark.parametrize("kind", ["Dataset", "TrainingRun", "ModelVersion"])
def test_a_pod_that_no_node_can_run_starts_after_an_edit(kind: str) -> None:
    cluster = FakeCluster()
    key = resource(cluster, kind, resources=HUGE)
    cluster.settle()
    assert ready(cluster, key)["reason"] == "Unschedulable"
    assert "change resources" in ready(cluster, key)["message"]
    cluster.api.patch_spec(key, {"resources": FITS})
    cluster.settle()
    assert ready(cluster, key)["status"] == "True"
    check_rest(cluster)


@pytest.mark.parametrize("kind", ["Dataset", "TrainingRun", "ModelVersion"])
def test_an_image_that_does_not_exist_is_replaced_by_a_right_one(kind: str) -> None:
    cluster = FakeCluster()
    cluster.settle()
    if kind == "TrainingRun":
        cluster.upgrade(trainer="missing")
        key = resource(cluster, kind)
    else:
        cluster.upgrade(worker="missing")
        key = resource(cluster, kind)
    cluster.settle()
    assert ready(cluster, key)["reason"] == "ImagePullFailed"
    cluster.upgrade(worker="worker:2", trainer="trainer:2")
    cluster.settle()
    assert ready(cluster, key)["status"] == "True"
    check_rest(cluster)


def test_what_kueue_changes_on_a_job_is_no_reason_to_replace_it() -> None:
    cluster = FakeCluster()
    resource(cluster, "TrainingRun", queueName="gpus")
    cluster.settle()
    (job,) = [j for j in cluster.jobs() if not fake_jobs.is_finished(j)]
    template = {**job["spec"]["template"]}
    template["spec"] = {**template["spec"], "nodeSelector": {"pool": "a100"}, "tolerations": [{"operator": "Exists"}]}
    cluster.api.patch_spec(key_of(job), {"template": template})
    before = [w for w in cluster.api.writes if w[0] == "delete"]
    cluster.restart()
    cluster.settle()
    assert [w for w in cluster.api.writes if w[0] == "delete"] == before
    cluster.api.patch_spec(key_of(job), {"suspend": False})
    cluster.settle()
    assert [w for w in cluster.api.writes if w[0] == "delete"] == before
    assert cluster.status("TrainingRun", "first")["modelVersion"]["name"] == "delay-v1"


CHANGES = st.lists(
    st.one_of(
        st.sampled_from([{"resources": HUGE}, {"resources": FITS}, {"job": {"backoffLimit": 1}}, {"suspend": True}]),
        st.sampled_from([{"placement": {"nodeSelector": {"zone": "a"}}}, {"suspend": False}]),
        st.sampled_from(["worker:2", "missing"]),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["Dataset", "TrainingRun"]), steps=st.integers(0, 3), changes=CHANGES)
def test_nothing_that_has_run_is_made_again(kind: str, steps: int, changes: list[Any]) -> None:
    """However far a Job has come, and whatever changes then: only one that has not run is replaced, and only as often as
    something changes."""
    cluster = FakeCluster()
    key = resource(cluster, kind)
    cluster.operate()
    for _ in range(steps):
        for job in cluster.jobs():
            fake_jobs.step(cluster.api, job)
    cluster.operate()
    for change in changes:
        ran = started(cluster)
        deletes = sum(verb == "delete" for verb, _ in cluster.api.writes)
        if isinstance(change, str):
            cluster.upgrade(worker=change, trainer=change)
        else:
            cluster.api.patch_spec(key, change)
        cluster.operate()
        assert set(ran) <= {j["metadata"]["uid"] for j in cluster.jobs()}
        assert sum(verb == "delete" for verb, _ in cluster.api.writes) <= deletes + 2, "one Job with its pod"
    cluster.upgrade(worker="worker:3", trainer="trainer:3")
    cluster.api.patch_spec(key, {"resources": FITS, "suspend": False})
    cluster.settle()
    assert ready(cluster, key)["status"] == "True"
    check_rest(cluster)


def test_an_upgrade_of_the_operator_restarts_no_running_job() -> None:
    cluster = FakeCluster()
    key = resource(cluster, "TrainingRun")
    cluster.operate()
    for _ in range(2):
        for job in cluster.jobs():
            fake_jobs.step(cluster.api, job)
    running = started(cluster)
    cluster.upgrade(worker="worker:2", trainer="trainer:2")
    cluster.operate()
    assert started(cluster) == running
    cluster.settle()
    assert ready(cluster, key)["status"] == "True"
    assert cluster.status("TrainingRun", "first")["attempts"] == 1


def test_a_users_container_does_not_train_again_for_a_result_that_was_lost() -> None:
    """Its Job ended well, so the model is stored: only the task that stored it runs once more, and finds it."""
    cluster = FakeCluster()
    trainer = {"container": {"image": "mine:1", "target": "arr_delay"}}
    key = resource(cluster, "TrainingRun", trainer=trainer)
    cluster.operate()
    (before,) = [j for j in cluster.jobs() if not fake_jobs.is_finished(j)]
    assert [c["name"] for c in before["spec"]["template"]["spec"]["initContainers"]] == ["fetch", "watch", "trainer"]
    while not fake_jobs.is_finished(live := cluster.api.objects[key_of(before)]):
        fake_jobs.step(cluster.api, live)
    for pod in fake_jobs.pods_of(cluster.api, live):
        cluster.api.delete(key_of(pod))
    cluster.settle()
    again = cluster.api.objects[key_of(before)]
    assert again["metadata"]["uid"] != before["metadata"]["uid"]
    assert "initContainers" not in again["spec"]["template"]["spec"]
    assert ready(cluster, key)["status"] == "True"
    check_rest(cluster)


def test_a_users_container_that_never_started_still_trains_after_an_edit() -> None:
    cluster = FakeCluster()
    trainer = {"container": {"image": "mine:1", "target": "arr_delay"}}
    key = resource(cluster, "TrainingRun", trainer=trainer, resources=HUGE)
    cluster.settle()
    cluster.api.patch_spec(key, {"resources": FITS})
    cluster.operate()
    (job,) = [j for j in cluster.jobs() if not fake_jobs.is_finished(j)]
    assert [c["name"] for c in job["spec"]["template"]["spec"]["initContainers"]] == ["fetch", "watch", "trainer"]
    cluster.settle()
    assert ready(cluster, key)["status"] == "True"
