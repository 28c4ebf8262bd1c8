"""What became of a task's Job: one outcome from the Job, its pods and containers, with a message that says the way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from tidemill.api.durations import parse_time
from tidemill.build.job import request_of
from tidemill.build.metadata import ANNOTATION_SHAPE, LABEL_GENERATION, LABEL_REQUEST
from tidemill.contract.names import ANNOTATION_RETRY, LABEL_COMPLETION_INDEX, LABEL_TASK, TASK_CONTAINER
from tidemill.contract.reasons import FailureReason, Reason
from tidemill.contract.results import RESULT, Result, TaskFailure
from tidemill.contract.tasks import BaseTask
from tidemill.reconcile.observed import Object, Observed
from tidemill.reconcile.plan import Key
from tidemill.reconcile.podstate import (
    culprit,
    failure_of,
    has_started,
    is_running,
    newest,
    task_failure_of,
    terminated,
    trouble_of,
)

Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Suspended", "Lost"]

POD_GRACE = 30.0
"""Seconds that a finished Job's pod may be missing from the cache before its message is given up."""
NO_POD_GRACE = 30.0
"""Seconds after which a Job without a pod is worth a hint: only the Job's events say why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a Job stands. `reason` and `message` are fit for a condition, whatever the phase.

    `Lost`: delete the Job and make it again, tasks are idempotent. Either it ended well but its pod, and so the result, is
    gone, or it has never started and what shapes its pod has changed. `pod` is the running pod, for its progress.
    `recheck` are seconds after which time alone may change this.
    """

    phase: Phase
    reason: str
    message: str
    result: Result | None = None
    pod: str | None = None
    attempts: int = 0
    warning: str | None = None
    """A trouble that may pass, such as an image that cannot be pulled; the same text is in `message`."""
    recheck: float | None = None

    @property
    def ended(self) -> bool:
        """Succeeded or Failed."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The Job that carries out a task, and those of the same owner that carry out something else."""

    job: Object | None
    others: tuple[Object, ...]


def pods_of(job: Object, observed: Observed) -> Sequence[Object]:
    """The pods that this very Job made: one of the same name, deleted and made again, does not count."""
    meta = job["metadata"]
    return [
        pod
        for pod in observed.select("Pod", meta["namespace"], "job", meta["name"])
        if any(ref.get("uid") == meta["uid"] for ref in pod["metadata"].get("ownerReferences", ()))
    ]


def read_job(job: Object, observed: Observed, *, now: datetime, shape: str) -> Outcome:
    """The outcome of a Job as the caches show it. `shape` is what its pod should be like (see build.job.job_shape)."""
    pods = pods_of(job, observed)
    attempts = len(pods)
    counted = int(_status(job).get("failed") or 0) + int(_status(job).get("succeeded") or 0)
    read = _read_ended(job, pods, now=now) or _read_outdated(job, pods, shape) or _read_live(job, pods, now=now)
    return replace(read, attempts=max(attempts, counted))


def is_finished(job: Object) -> bool:
    """Whether the Job has come to an end, one way or the other."""
    return _condition(job, "Complete") is not None or _condition(job, "Failed") is not None


def is_failed(job: Object) -> bool:
    """Whether the Job has failed for good."""
    return _condition(job, "Failed") is not None


def ended_at(job: Object) -> str | None:
    """When the Job came to its end, as the API server has it."""
    condition = _condition(job, "Complete") or _condition(job, "Failed") or {}
    return condition.get("lastTransitionTime")


def find_job(task: BaseTask, jobs: Sequence[Object], *, request: str | None = None, retry: str | None = None) -> Lookup:
    """The Job of a task among an owner's Jobs, by the labels that `build.job.task_job` sets.

    Owners whose spec may change carry their generation in the task. A change that leaves the request as it is (suspend,
    resources) must not start it anew, so a Job of an earlier generation is taken as well, unless it has failed: then the
    user's change is the retry. One that has ended counts for the owner's present `retry` only. Of several the oldest is
    taken; the rest are extras.
    """
    return find_request(
        jobs, task_type=type(task), request=request or request_of(task), generation=task.owner.generation, retry=retry
    )


def find_request(
    jobs: Sequence[Object],
    *,
    task_type: type[BaseTask],
    request: str,
    generation: int,
    retry: str | None = None,
    followed: str | None = None,
) -> Lookup:
    """Like `find_job`, when the task itself is not known yet.

    `followed` is for tasks that read what may change under the same name: of an earlier generation a Job that has ended
    counts only when it is the one that the owner's status names, and not one of long before.
    """

    def counts(job: Object) -> bool:
        if not is_finished(job):
            return True
        if (job["metadata"].get("annotations") or {}).get(ANNOTATION_RETRY) != retry:
            return False
        current = _labels(job).get(LABEL_GENERATION) == str(generation)
        return current or (not is_failed(job) and followed in (None, job["metadata"]["name"]))

    of_type = [job for job in jobs if _labels(job).get(LABEL_TASK) == task_type.__name__]
    usable = [
        job
        for job in sorted(of_type, key=lambda j: (j["metadata"].get("creationTimestamp") or "", j["metadata"]["name"]))
        if _labels(job).get(LABEL_REQUEST) == request and counts(job)
    ]
    chosen = next(iter(usable), None)
    return Lookup(job=chosen, others=tuple(job for job in of_type if job is not chosen))


def live(jobs: Iterable[Object]) -> tuple[Key, ...]:
    """The keys of the Jobs that have not ended: what to delete of those that nobody asks for any more."""
    return tuple(key_of(job) for job in jobs if not is_finished(job))


def key_of(obj: Object) -> Key:
    """An object's key."""
    return Key(kind=obj["kind"], namespace=obj["metadata"].get("namespace", ""), name=obj["metadata"]["name"])


def expect(outcome: Outcome, *types: type[Any]) -> Outcome:
    """The outcome, or a failure when the task left a result of another type than its owner can read."""
    if outcome.phase != "Succeeded" or isinstance(outcome.result, types):
        return outcome
    wanted = " or ".join(t.__name__ for t in types)
    message = (
        f"the task's result is a {type(outcome.result).__name__}, not a {wanted}: "
        "operator and worker images are of different versions; use those of one release"
    )
    return replace(outcome, phase="Failed", reason=FailureReason.CONTRACT_VIOLATED, message=message, result=None)


def _read_ended(job: Object, pods: Sequence[Object], *, now: datetime) -> Outcome | None:
    if complete := _condition(job, "Complete"):
        return _read_complete(job, pods, complete, now=now)
    if failed := _condition(job, "Failed"):
        return _read_failed(job, pods, failed, now=now)
    return None


def _read_complete(job: Object, pods: Sequence[Object], condition: Mapping[str, Any], *, now: datetime) -> Outcome:
    name = _named(job)
    pod = newest(_speakers(pods), lambda p: _phase(p) == "Succeeded")
    state = terminated(pod, TASK_CONTAINER) if pod else None
    if state is None:
        if (age := _age(condition.get("lastTransitionTime"), now)) < POD_GRACE:
            message = f"{name} is done, its result is being read"
            return Outcome(phase="Running", reason=Reason.RUNNING, message=message, recheck=POD_GRACE - age + 1)
        message = f"{name} is done but its pod was removed before the result was read: it is run again"
        return Outcome(phase="Lost", reason=Reason.PENDING, message=message)
    try:
        result = RESULT.validate_json(state.get("message") or "")
    except ValidationError:
        message = f"{name} ended well but left no result that can be read: use a worker image of the operator's release"
        return Outcome(phase="Failed", reason=FailureReason.CONTRACT_VIOLATED, message=message)
    if isinstance(result, TaskFailure):
        return Outcome(phase="Failed", reason=result.reason, message=result.message, result=result)
    return Outcome(phase="Succeeded", reason=Reason.SUCCEEDED, message=f"{name} is done", result=result)


def _read_failed(job: Object, pods: Sequence[Object], condition: Mapping[str, Any], *, now: datetime) -> Outcome:
    name, spec = _named(job), job.get("spec") or {}
    if condition.get("reason") == "DeadlineExceeded":
        seconds = spec.get("activeDeadlineSeconds")
        message = f"{name} did not end within job.activeDeadlineSeconds={seconds}: allow more time or ask for less"
        return Outcome(phase="Failed", reason=FailureReason.DEADLINE_EXCEEDED, message=message)
    pod = culprit(pods)
    if pod is None:
        if (age := _age(condition.get("lastTransitionTime"), now)) < POD_GRACE:
            message = f"{name} has failed, its pod's last words are being read"
            return Outcome(phase="Running", reason=Reason.RUNNING, message=message, recheck=POD_GRACE - age + 1)
        message = f"{name} failed: {condition.get('message') or condition.get('reason') or 'no reason given'}"
        return Outcome(phase="Failed", reason=FailureReason.RETRIES_EXHAUSTED, message=message)
    reason, message = failure_of(pod)
    tries = int(_status(job).get("failed") or 0)
    if condition.get("reason") == "BackoffLimitExceeded" and tries > 1:
        message = f"{message} ({tries} attempts, job.backoffLimit={spec.get('backoffLimit')})"
    return Outcome(phase="Failed", reason=reason, message=message, result=task_failure_of(pod))


def _read_outdated(job: Object, pods: Sequence[Object], shape: str) -> Outcome | None:
    """A Job that has not started and whose pod would be made otherwise now. One whose container has run is left alone, and
    so is one of an operator that recorded nothing."""
    recorded = (job["metadata"].get("annotations") or {}).get(ANNOTATION_SHAPE)
    ran = any(_status(job).get(count) for count in ("ready", "failed", "succeeded"))
    if recorded in (None, shape) or ran or any(map(has_started, pods)):
        return None
    message = (
        f"{_named(job)} has not started, and its resources, placement, options or image have changed: it is made again"
    )
    return Outcome(phase="Lost", reason=Reason.PENDING, message=message)


def _read_live(job: Object, pods: Sequence[Object], *, now: datetime) -> Outcome:
    name, spec = _named(job), job.get("spec") or {}
    if spec.get("suspend"):
        return Outcome(phase="Suspended", reason=Reason.SUSPENDED, message=f"{name} is suspended")
    speakers, alive = _speakers(pods), [p for p in pods if _phase(p) in ("Pending", "Running", None)]
    pod = newest(speakers, lambda p: p in alive)
    if pod is None and newest(speakers, lambda p: _phase(p) == "Succeeded"):
        # The Job controller has not yet counted it: the Job's condition follows.
        return Outcome(phase="Running", reason=Reason.RUNNING, message=f"{name} is done, its result is being read")
    if pod is None:
        failed = culprit(pods)
        if failed is not None:
            reason, message = failure_of(failed)
            return Outcome(phase="Running", reason=reason, message=f"will be tried again: {message}", warning=message)
        age = _age(_status(job).get("startTime") or job["metadata"].get("creationTimestamp"), now)
        if age < NO_POD_GRACE:
            message = f"{name} was created"
            return Outcome(phase="Pending", reason=Reason.PENDING, message=message, recheck=NO_POD_GRACE - age + 1)
        message = (
            f"{name} has no pod yet: its events say why (a quota, a missing ServiceAccount, an admission policy): "
            f"kubectl describe job {job['metadata']['name']}"
        )
        return Outcome(phase="Pending", reason=Reason.PENDING, message=message, warning=message)
    pod_name = pod["metadata"]["name"]
    if trouble := next((found for p in (pod, *alive) if (found := trouble_of(p))), None):
        return Outcome(phase="Pending", reason=trouble[0], message=trouble[1], warning=trouble[1])
    if is_running(pod):
        return Outcome(phase="Running", reason=Reason.RUNNING, message=f"pod {pod_name} is running", pod=pod_name)
    return Outcome(phase="Pending", reason=Reason.PENDING, message=f"pod {pod_name} is starting")


def _named(job: Object) -> str:
    """`Job first-train-1`; of a JobSet that is read like a Job its own kind (see workload.py)."""
    return f"{job['kind']} {job['metadata']['name']}"


def _speakers(pods: Sequence[Object]) -> Sequence[Object]:
    """The pods whose words count for the Job: all of an ordinary one, number 0 of an Indexed Job."""
    return [pod for pod in pods if _labels(pod).get(LABEL_COMPLETION_INDEX, "0") == "0"]


def _phase(pod: Object) -> str | None:
    return (pod.get("status") or {}).get("phase")


def _condition(job: Object, type_: str) -> Mapping[str, Any] | None:
    conditions: Sequence[Mapping[str, Any]] = _status(job).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == type_ and c.get("status") == "True"), None)


def _status(job: Object) -> Mapping[str, Any]:
    status: Mapping[str, Any] = job.get("status") or {}
    return status


def _labels(obj: Object) -> Mapping[str, str]:
    labels: Mapping[str, str] = obj["metadata"].get("labels") or {}
    return labels


def _age(moment: str | None, now: datetime) -> float:
    return (now - parse_time(moment)).total_seconds() if moment else 0.0
