"""From a Job and its pods to one outcome, with a message that says the way out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidemill.build.metadata import ANNOTATION_SHAPE, LABEL_GENERATION, LABEL_REQUEST
from tidemill.contract.names import LABEL_JOB, LABEL_TASK
from tidemill.contract.results import FetchResult, TaskFailure, VerifyResult
from tidemill.contract.tasks import VerifyModel
from tidemill.reconcile.jobs import Outcome, expect, find_request, is_finished, live, read_job
from tidemill.runtime.indices import Indices

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
START, END = "2026-01-01T00:00:00Z", "2026-01-01T00:00:55Z"
GOOD = VerifyResult(size_bytes=1, opset=17, inputs=1, outputs=1)


def job(
    *, name: str = "j", suspend: bool = False, created: str = START, ended: tuple[str, str] | None = None, **status: Any
) -> dict[str, Any]:
    if ended:
        condition = {"type": ended[0], "status": "True", "reason": ended[1], "message": "m", "lastTransitionTime": END}
        status["conditions"] = [condition]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "ml",
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "creationTimestamp": created,
            "labels": {LABEL_TASK: "VerifyModel", LABEL_REQUEST: "r", LABEL_GENERATION: "1"},
            "annotations": {ANNOTATION_SHAPE: "s"},
        },
        "spec": {"suspend": suspend, "backoffLimit": 3, "activeDeadlineSeconds": 60},
        "status": status,
    }


def pod(
    phase: str, state: dict[str, Any] | None = None, *, n: int = 0, owner: str = "uid-j", **status: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"p{n}",
            "namespace": "ml",
            "uid": f"uid-p{n}",
            "resourceVersion": "1",
            "creationTimestamp": f"2026-01-01T00:00:{n:02}Z",
            "labels": {LABEL_JOB: "j"},
            "ownerReferences": [{"kind": "Job", "name": "j", "uid": owner, "controller": True}],
        },
        "status": {
            "phase": phase,
            **({"containerStatuses": [{"name": "task", "image": "worker:1", "state": state}]} if state else {}),
            **status,
        },
    }


def read(job_: dict[str, Any], *pods: dict[str, Any], now: datetime = NOW, shape: str = "s") -> Outcome:
    indices = Indices()
    for obj in (job_, *pods):
        indices.upsert(obj)
    seen = indices.get("Job", "ml", "j")
    assert seen is not None
    return read_job(seen, indices, now=now, shape=shape)


def ended(code: int, message: str = "", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, **more}}


def waiting(reason: str, message: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def test_a_result_is_read_from_the_pod_that_succeeded() -> None:
    done = job(ended=("Complete", "CompletionsReached"), succeeded=1, failed=1)
    outcome = read(done, pod("Failed", ended(1)), pod("Succeeded", ended(0, GOOD.to_json()), n=1))
    assert (outcome.phase, outcome.result, outcome.attempts) == ("Succeeded", GOOD, 2)


def test_a_done_job_whose_pod_is_not_seen_yet_waits_and_then_is_lost() -> None:
    done = job(ended=("Complete", "CompletionsReached"))
    early = read(done)
    assert (early.phase, early.recheck) == ("Running", 26.0)
    assert read(done, now=NOW + timedelta(minutes=1)).phase == "Lost"
    stranger = pod("Succeeded", ended(0, GOOD.to_json()), owner="uid-of-an-earlier-job")
    assert read(done, stranger, now=NOW + timedelta(minutes=1)).phase == "Lost"


@pytest.mark.parametrize("text", ["", "not json", '{"type":"Unheard"}'])
def test_a_result_that_cannot_be_read_is_a_failure(text: str) -> None:
    outcome = read(job(ended=("Complete", "CompletionsReached")), pod("Succeeded", ended(0, text)))
    assert (outcome.phase, outcome.reason) == ("Failed", "ContractViolated")
    assert "worker image" in outcome.message


def test_a_result_of_another_type_is_a_failure() -> None:
    fetched = Outcome(phase="Succeeded", reason="Succeeded", message="", result=FetchResult(files=1))
    assert expect(fetched, FetchResult) is fetched
    assert (expect(fetched, VerifyResult).phase, expect(fetched, VerifyResult).result) == ("Failed", None)


def test_what_the_task_said_is_what_the_user_reads() -> None:
    said = TaskFailure(reason="SQLError", message="line 2, column 8: no column x").to_json()
    outcome = read(job(ended=("Failed", "PodFailurePolicy"), failed=1), pod("Failed", ended(64, said)))
    assert (outcome.phase, outcome.reason, outcome.message) == ("Failed", "SQLError", "line 2, column 8: no column x")


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (ended(137, reason="OOMKilled"), "OutOfMemory", "raise resources.memory"),
        (ended(139), "ContainerFailed", "exit code 139, signal 11: see kubectl logs p0 -c task"),
        (ended(70, "boom"), "ContainerFailed", "exit code 70, which says that a retry is in vain: boom"),
        (ended(1, "x" * 900), "ContainerFailed", "…xxx"),
    ],
)
def test_what_the_end_of_a_container_tells(state: dict[str, Any], reason: str, words: str) -> None:
    outcome = read(job(ended=("Failed", "BackoffLimitExceeded"), failed=4), pod("Failed", state))
    assert (outcome.phase, outcome.reason) == ("Failed", reason)
    assert words in outcome.message
    assert outcome.message.endswith("(4 attempts, job.backoffLimit=3)")


def test_a_deadline_names_its_field() -> None:
    outcome = read(job(ended=("Failed", "DeadlineExceeded")))
    assert (outcome.phase, outcome.reason) == ("Failed", "DeadlineExceeded")
    assert "job.activeDeadlineSeconds=60" in outcome.message


def test_a_failed_job_waits_for_its_pods_last_words_but_not_for_ever() -> None:
    failed = job(ended=("Failed", "BackoffLimitExceeded"), failed=1)
    assert read(failed).phase == "Running"
    late = read(failed, now=NOW + timedelta(minutes=1))
    assert (late.phase, late.reason, late.message) == ("Failed", "RetriesExhausted", "Job j failed: m")


def test_two_ways_of_the_kubelet_to_say_one_thing_are_one_message() -> None:
    first = read(job(), pod("Pending", waiting("ErrImagePull", "worker:1: not found")))
    text = 'Back-off pulling image "worker:1": ErrImagePull: worker:1: not found'
    second = read(job(), pod("Pending", waiting("ImagePullBackOff", text)))
    assert first == second
    assert (first.phase, first.reason) == ("Pending", "ImagePullFailed")
    assert "image worker:1 of container task cannot be pulled" in first.message


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("0/2 nodes are available: 2 Insufficient nvidia.com/gpu.", "Add a node that offers nvidia.com/gpu"),
        ("0/2 nodes are available: 2 Insufficient memory.", "change resources or placement"),
    ],
)
def test_a_pod_that_fits_nowhere(text: str, way_out: str) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
    outcome = read(job(), pod("Pending", conditions=[condition]))
    assert (outcome.phase, outcome.reason) == ("Pending", "Unschedulable")
    assert text in outcome.message
    assert way_out in outcome.message
    assert outcome.warning == outcome.message


def test_between_two_attempts_the_last_failure_is_told() -> None:
    outcome = read(job(failed=1), pod("Failed", ended(1, "Traceback")))
    assert (outcome.phase, outcome.reason) == ("Running", "ContainerFailed")
    assert outcome.message.startswith("will be tried again: ")


def test_a_job_without_a_pod_gets_a_hint_after_a_while() -> None:
    fresh = read(job(created="2026-01-01T00:00:50Z"))
    assert (fresh.phase, fresh.warning, fresh.recheck) == ("Pending", None, 21.0)
    assert "kubectl describe job j" in read(job()).message


def test_a_pod_that_ended_well_before_its_job_says_so_is_no_missing_pod() -> None:
    outcome = read(job(), pod("Succeeded", ended(0, GOOD.to_json())), now=NOW + timedelta(minutes=5))
    assert (outcome.phase, outcome.warning) == ("Running", None)
    assert "is done" in outcome.message


def test_a_running_pod_and_a_suspended_job() -> None:
    assert read(job(), pod("Running", {"running": {}})).pod == "p0"
    assert read(job(suspend=True)).phase == "Suspended"


NEVER_RAN = [
    (),
    (pod("Pending"),),
    (pod("Pending", waiting("ErrImagePull", "not found")),),
    (pod("Pending", initContainerStatuses=[{"name": "fetch", "state": ended(0)}]),),
]
RAN = [
    pod("Running", {"running": {}}),
    pod("Pending", initContainerStatuses=[{"name": "fetch", "state": {"running": {}}}]),
    pod("Pending", initContainerStatuses=[{"name": "trainer", "state": ended(0)}]),
    pod("Pending", {**waiting("CrashLoopBackOff", "")}, initContainerStatuses=[{"name": "x", "lastState": ended(1)}]),
    pod("Failed", ended(1)),
]


@pytest.mark.parametrize("pods", NEVER_RAN)
@pytest.mark.parametrize("suspend", [False, True])
def test_a_job_that_never_ran_is_made_again_when_its_pod_would_be_another(pods: Any, suspend: bool) -> None:
    outcome = read(job(suspend=suspend), *pods, shape="another")
    assert (outcome.phase, outcome.reason) == ("Lost", "Pending")
    assert "is made again" in outcome.message
    assert read(job(suspend=suspend), *pods).phase in ("Pending", "Suspended")


@pytest.mark.parametrize("pod_", RAN)
def test_a_job_that_ran_is_left_alone(pod_: dict[str, Any]) -> None:
    assert read(job(), pod_, shape="another") == read(job(), pod_)


@pytest.mark.parametrize("status", [{"ready": 1}, {"failed": 1}, {"succeeded": 1}])
def test_a_job_whose_pod_is_not_seen_yet_but_counted_is_left_alone(status: dict[str, int]) -> None:
    assert read(job(**status), shape="another").phase != "Lost"


def test_a_job_without_a_recorded_shape_is_left_alone() -> None:
    old = job()
    del old["metadata"]["annotations"]
    assert read(old, shape="another").phase == "Pending"


def found(*jobs: dict[str, Any], generation: int = 1) -> tuple[str | None, list[str]]:
    lookup = find_request(list(jobs), task_type=VerifyModel, request="r", generation=generation)
    return (lookup.job or {"metadata": {"name": None}})["metadata"]["name"], [
        j["metadata"]["name"] for j in lookup.others
    ]


def test_a_job_of_an_earlier_generation_is_taken_unless_it_failed() -> None:
    assert found(job(name="a"), generation=2) == ("a", [])
    assert found(job(name="a", ended=("Failed", "BackoffLimitExceeded")), generation=2) == (None, ["a"])
    assert found(job(name="a", ended=("Failed", "BackoffLimitExceeded")), generation=1) == ("a", [])


def test_of_several_the_oldest_is_taken() -> None:
    assert found(job(name="a", created=END), job(name="b"), job(name="c")) == ("b", ["a", "c"])


def test_only_what_has_not_ended_is_deleted() -> None:
    over = job(name="a", ended=("Complete", "CompletionsReached"))
    assert is_finished(over)
    assert [k.name for k in live([over, job(name="b")])] == ["b"]
