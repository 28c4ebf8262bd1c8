"""Of an Indexed Job pod 0 speaks; any pod may be in trouble."""

from __future__ import annotations

from typing import Any

from tests.unit.build.test_job import job as built
from tests.unit.reconcile.test_jobs import GOOD, ended, job, pod, read, waiting

from tidemill.build.indexed import index_job
from tidemill.contract.names import LABEL_COMPLETION_INDEX
from tidemill.contract.reasons import FailureReason
from tidemill.contract.results import FetchResult, TaskFailure


def numbered(index: int, phase: str, state: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    made = pod(phase, state, n=more.pop("n", index), **more)
    made["metadata"]["labels"][LABEL_COMPLETION_INDEX] = str(index)
    return made


def test_the_result_is_that_of_pod_0_whichever_ended_last() -> None:
    done = job(ended=("Complete", "SuccessPolicy"), succeeded=2)
    first = numbered(0, "Succeeded", ended(0, GOOD.to_json()), n=1)
    other = numbered(1, "Succeeded", ended(0, FetchResult(files=1).to_json()), n=9)
    outcome = read(done, first, other)
    assert (outcome.phase, outcome.result) == ("Succeeded", GOOD)


def test_progress_is_asked_of_pod_0() -> None:
    outcome = read(job(active=2), numbered(0, "Running"), numbered(1, "Running", n=9))
    assert (outcome.phase, outcome.pod) == ("Running", "p0")


def test_pod_0_is_done_while_others_run_on() -> None:
    outcome = read(
        job(active=1, succeeded=1), numbered(0, "Succeeded", ended(0, GOOD.to_json())), numbered(1, "Running")
    )
    assert outcome.phase == "Running"
    assert "its result is being read" in outcome.message


def test_a_pod_that_cannot_start_is_named_though_it_is_not_pod_0() -> None:
    stuck = numbered(1, "Pending", waiting("ErrImagePull", "not found"))
    outcome = read(job(active=2), numbered(0, "Running"), stuck)
    assert (outcome.phase, outcome.reason) == ("Pending", FailureReason.IMAGE_PULL)


def test_the_job_of_several_pods() -> None:
    made = built()
    index_job(made, pods=3)
    spec = made["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (3, 3, "Indexed")
    assert spec["successPolicy"] == {"rules": [{"succeededIndexes": "0"}]}
    assert spec["podFailurePolicy"]["rules"], "what blames the user's input still ends the Job at once"


def said(reason: FailureReason, message: str) -> str:
    return TaskFailure(reason=reason, message=message).to_json()


def test_of_pods_that_failed_together_the_one_that_blames_the_input_explains_it() -> None:
    """The others were told to end by then, and one of them may be the newest."""
    failed = job(ended=("Failed", "PodFailurePolicy"), failed=3)
    blaming = numbered(0, "Failed", ended(65, said(FailureReason.COLUMN_MISSING, "column x")))
    outcome = read(failed, blaming, numbered(1, "Failed", ended(143)), numbered(2, "Failed", ended(1, "Traceback")))
    assert (outcome.phase, outcome.reason, outcome.message) == ("Failed", "ColumnMissing", "column x")


def test_pods_that_only_lost_another_one_explain_nothing() -> None:
    failed = job(ended=("Failed", "BackoffLimitExceeded"), failed=3)
    cause = numbered(0, "Failed", ended(1, said(FailureReason.RETRIES_EXHAUSTED, "process 0 of pod 0 was killed")))
    lost = numbered(1, "Failed", ended(1, said(FailureReason.PEERS_LOST, "other processes")))
    outcome = read(failed, cause, lost, numbered(2, "Failed", ended(143)))
    assert outcome.message.startswith("process 0 of pod 0 was killed")
    assert read(failed, lost, numbered(2, "Failed", ended(143))).reason == "ContainerFailed", (
        "the newest, for want of a better"
    )
