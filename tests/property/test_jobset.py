"""A run as a JobSet on the fake cluster: it behaves as with a Job alone."""

from __future__ import annotations

import pytest
from tests.property import fake_jobs, fake_jobsets, manifests
from tests.property.fake_api import Raw, key_of
from tests.property.fake_cluster import NAMESPACE
from tests.property.invariants import check_status_write
from tests.property.test_distributed import Cluster
from tests.property.test_lifecycle import condition, writes_of_a_resync

from tidemill.contract.names import NAME_LIMIT
from tidemill.reconcile.plan import Key

RUN = Key(kind="TrainingRun", namespace=NAMESPACE, name="first")


def started(name: str = "first", **spec: object) -> Cluster:
    cluster = Cluster()
    cluster.api.on_status.append(check_status_write)
    cluster.create(manifests.dataset())
    cluster.settle()
    cluster.create(manifests.run(name, distribution={"jobSet": {}}, **spec))
    cluster.operate()
    return cluster


def jobset_of(cluster: Cluster) -> Raw:
    (jobset,) = cluster.api.all("JobSet")
    return jobset


def step(cluster: Cluster) -> None:
    """JobSet's controller does one thing, and the operator follows."""
    assert fake_jobsets.step(cluster.api, jobset_of(cluster))
    cluster.operate()


def job_of(cluster: Cluster) -> Raw:
    job = fake_jobsets.job_of(cluster.api, jobset_of(cluster))
    assert job is not None
    return job


def ready(cluster: Cluster) -> Raw:
    return condition(cluster.status("TrainingRun", "first"), "Ready")


def test_it_ends_as_every_other_and_nothing_is_written_afterwards() -> None:
    cluster = started()
    cluster.settle()
    assert ready(cluster)["status"] == "True"
    status = cluster.status("TrainingRun", "first")
    assert (status["attempts"], status["jobName"]) == (1, job_of(cluster)["metadata"]["name"])
    made = [key.kind for verb, key in cluster.api.writes if verb == "create" and "train" in key.name]
    assert made == ["JobSet", "Job", "Pod"]
    assert not [key for verb, key in cluster.api.writes if verb == "delete"]
    assert writes_of_a_resync(cluster) == 0


def test_the_end_of_the_job_counts_before_the_jobset_tells_it() -> None:
    """The run is finished by then: a JobSet that is taken for one that still runs would be deleted, logs and all."""
    cluster = started()
    step(cluster)
    while not fake_jobs.is_finished(job := job_of(cluster)):
        fake_jobs.step(cluster.api, job)
        cluster.operate()
    assert ready(cluster)["status"] == "True"
    assert not fake_jobs.is_finished(jobset_of(cluster))
    cluster.restart()
    cluster.operate()
    assert job_of(cluster)
    cluster.settle()
    assert fake_jobs.is_finished(jobset_of(cluster))


def test_the_users_mistake_ends_it() -> None:
    cluster = started()
    cluster.settle(end="user")
    stalled = condition(cluster.status("TrainingRun", "first"), "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ColumnMissing")
    assert writes_of_a_resync(cluster) == 0


def test_it_is_suspended_and_resumed_by_the_jobset() -> None:
    cluster = started(suspend=True)
    assert jobset_of(cluster)["spec"]["suspend"] is True
    cluster.settle()
    assert job_of(cluster)["spec"]["suspend"] is True
    assert ready(cluster)["reason"] == "Suspended"
    cluster.api.patch_spec(RUN, {"suspend": False})
    cluster.operate()
    assert jobset_of(cluster)["spec"]["suspend"] is False
    assert job_of(cluster)["spec"]["suspend"] is True, "the Job is the JobSet's"
    cluster.settle()
    assert ready(cluster)["status"] == "True"


def test_a_result_that_is_lost_deletes_the_jobset_not_its_job() -> None:
    cluster = started()
    step(cluster)
    while not fake_jobs.is_finished(job := job_of(cluster)):
        fake_jobs.step(cluster.api, job)
    for pod in fake_jobs.pods_of(cluster.api, job_of(cluster)):
        cluster.api.delete(key_of(pod))
    before = jobset_of(cluster)["metadata"]["uid"]
    cluster.settle()
    assert ready(cluster)["status"] == "True"
    deleted = [key.kind for verb, key in cluster.api.writes if verb == "delete"]
    assert deleted == ["Pod", "JobSet", "Job"]
    assert before not in [o["metadata"]["uid"] for o in cluster.api.objects.values()]


def test_the_field_can_be_taken_away_and_given_until_the_run_has_started() -> None:
    cluster = started(suspend=True)
    cluster.api.patch_spec(RUN, {"distribution": {"nodes": 2}})
    for wanted, other, distribution in (("Job", "JobSet", {"jobSet": {}}), ("JobSet", "Job", None)):
        cluster.operate()
        owned = [o for o in cluster.api.objects.values() if o["metadata"].get("ownerReferences")]
        kinds = [o["kind"] for o in owned if o["metadata"]["ownerReferences"][0]["kind"] == "TrainingRun"]
        assert wanted in kinds
        assert other not in kinds
        if distribution:
            cluster.api.patch_spec(RUN, {"distribution": distribution})


@pytest.mark.parametrize("name", ["first", "a" * 63, "2" * 63, "2nd"])
def test_every_name_has_room_for_jobsets_own(name: str) -> None:
    """`<jobset>-<replicated job>-<job>-<pod>-<five characters>`, begun by a letter (validation of JobSet's webhook)."""
    cluster = started(name, suspend=True)
    jobset = jobset_of(cluster)["metadata"]["name"]
    assert len(f"{jobset}-node-0-255-abcde") <= NAME_LIMIT
    assert jobset[0].isalpha()
