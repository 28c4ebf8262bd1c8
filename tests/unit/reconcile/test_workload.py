"""A JobSet is looked at as the Job that it stands for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit.reconcile.test_jobs import GOOD, ended, job, pod

from tidemill.build.metadata import ANNOTATION_SHAPE
from tidemill.contract.names import LABEL_JOB
from tidemill.reconcile.jobs import Outcome, is_failed, is_finished, key_of, live
from tidemill.reconcile.observed import Object
from tidemill.reconcile.plan import Key
from tidemill.reconcile.suspension import suspend_patch
from tidemill.reconcile.triggers import triggered
from tidemill.reconcile.workload import job_name_of, pods_of, read_workload, workloads
from tidemill.runtime.indices import Indices

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
RUN = {"kind": "TrainingRun", "name": "r", "uid": "uid-run", "controller": True}
JOB = "set-node-0"


def jobset(*conditions: str, suspend: bool = False) -> dict[str, Any]:
    at = "2026-01-01T00:00:55Z"
    told = [{"type": type_, "status": "True", "message": "m", "lastTransitionTime": at} for type_ in conditions]
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": "set",
            "namespace": "ml",
            "uid": "uid-set",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {ANNOTATION_SHAPE: "s"},
            "ownerReferences": [RUN],
        },
        "spec": {"suspend": suspend, "replicatedJobs": [{"template": {"spec": {"template": "long"}}}]},
        "status": {"conditions": told, "restarts": 0},
    }


def within(**parts: Any) -> dict[str, Any]:
    made = job(name=JOB, **parts)
    made["metadata"]["ownerReferences"] = [{"kind": "JobSet", "name": "set", "uid": "uid-set", "controller": True}]
    return made


def of_the_job(made: dict[str, Any]) -> dict[str, Any]:
    made["metadata"]["labels"][LABEL_JOB] = JOB
    made["metadata"]["ownerReferences"] = [{"kind": "Job", "name": JOB, "uid": f"uid-{JOB}", "controller": True}]
    return made


def seen(*objects: dict[str, Any]) -> tuple[Indices, Object]:
    indices = Indices()
    for obj in objects:
        indices.upsert(obj)
    (workload,) = workloads("uid-run", indices)
    return indices, workload


def read(*objects: dict[str, Any], now: datetime = NOW, shape: str = "s") -> Outcome:
    indices, workload = seen(*objects)
    return read_workload(workload, indices, now=now, shape=shape)


def test_the_outcome_is_that_of_the_job_inside() -> None:
    done = within(ended=("Complete", "SuccessPolicy"), succeeded=1)
    first = of_the_job(pod("Succeeded", ended(0, GOOD.to_json())))
    outcome = read(jobset(), done, first)
    assert (outcome.phase, outcome.result, outcome.attempts) == ("Succeeded", GOOD, 1)
    running = of_the_job(pod("Running", {"running": {}}))
    assert (read(jobset(), within(active=1), running).phase, read(jobset(), within(active=1), running).pod) == (
        "Running", "p0",
    )  # fmt: skip


def test_it_has_ended_when_its_job_has_and_is_deleted_itself() -> None:
    for objects, over, failed in (
        ((jobset(),), False, False),
        ((jobset(), within(active=1)), False, False),
        ((jobset(), within(ended=("Complete", "SuccessPolicy"))), True, False),
        ((jobset(), within(ended=("Failed", "FailedIndexes"))), True, True),
        ((jobset("Completed"),), True, False),
        ((jobset("StartupPolicyCompleted"),), False, False),
        ((jobset("Failed"),), True, True),
    ):
        _, workload = seen(*objects)
        assert (is_finished(workload), is_failed(workload)) == (over, failed)
        assert live([workload]) == (() if over else (Key(kind="JobSet", namespace="ml", name="set"),))
        assert key_of(workload).kind == "JobSet"


def test_without_a_job_it_says_that_its_controller_may_be_missing() -> None:
    early = read(jobset(), now=NOW - timedelta(seconds=50))
    assert (early.phase, early.message, early.warning) == ("Pending", "JobSet set was created", None)
    assert early.recheck is not None
    late = read(jobset())
    assert (late.phase, late.warning) == ("Pending", late.message)
    assert "does JobSet's controller run?" in late.message
    assert "kubectl describe jobset set" in late.message
    assert read(jobset(suspend=True)).phase == "Suspended"


def test_a_job_that_somebody_removed_is_made_again_or_has_failed() -> None:
    later = NOW + timedelta(minutes=5)
    assert read(jobset("Completed"), now=later).phase == "Lost"
    failed = read(jobset("Failed"), now=later)
    assert (failed.phase, failed.message) == ("Failed", "JobSet set failed: m")


def test_one_that_has_not_started_is_made_again_when_its_pods_would_be_others() -> None:
    assert read(jobset(suspend=True), shape="other").phase == "Lost"
    assert read(jobset(suspend=True), within(suspend=True), shape="other").phase == "Lost"
    assert read(jobset(), within(active=1, ready=1), shape="other").phase != "Lost"


def test_it_is_suspended_itself_not_its_job() -> None:
    indices, workload = seen(jobset(), within(active=1))
    (patch,) = suspend_patch(workload, suspend=True)
    assert patch.key == Key(kind="JobSet", namespace="ml", name="set")
    assert (patch.manifest["apiVersion"], patch.manifest["spec"]) == ("jobset.x-k8s.io/v1alpha2", {"suspend": True})
    assert not suspend_patch(workload, suspend=False)
    assert job_name_of(workload) == JOB
    assert not pods_of(workload, indices)


def test_the_run_hears_of_its_jobset_its_job_and_its_pods() -> None:
    running = of_the_job(pod("Running", {"running": {}}))
    indices, _ = seen(jobset(), within(active=1), running)
    run = Key(kind="TrainingRun", namespace="ml", name="r")
    for obj in (jobset(), within(active=1), running):
        assert list(triggered(obj, indices)) == [run]
    stranger = within(active=1)
    stranger["metadata"]["ownerReferences"][0]["name"] = "of-somebody-else"
    assert list(triggered(stranger, indices)) == []


def test_of_a_jobset_only_what_is_read_is_kept() -> None:
    indices, _ = seen(jobset(suspend=True))
    kept = indices.get("JobSet", "ml", "set")
    assert kept is not None
    assert kept["spec"] == {"suspend": True}
    assert set(kept["status"]) == {"conditions"}
