"""What a task's pod says of itself: why it cannot start, why it failed, what its container left as its last words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from tidemill.contract.exitcodes import FIRST_USER_CODE, LAST_USER_CODE, SIGTERM_CODE, USER_CODES
from tidemill.contract.names import FETCH_CONTAINER, SCRIPT_CONTAINER, TRAINER_CONTAINER, WATCH_CONTAINER
from tidemill.contract.reasons import FailureReason
from tidemill.contract.results import RESULT, FetchResult, TaskFailure
from tidemill.reconcile.observed import Object

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"})
_CREATE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})

_OWN_CODE = frozenset({TRAINER_CONTAINER, SCRIPT_CONTAINER})
_IMAGES = {
    TRAINER_CONTAINER: "spec.trainer.container.image",
    SCRIPT_CONTAINER: "spec.trainer.script.image (by default images.trainer in the values of the tidemill chart)",
}

_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*":?\s*(ErrImagePull:\s*)?')
"""The kubelet tells the same trouble in two alternating ways; cut to what they have in common, the status stays still."""

_INSUFFICIENT = re.compile(r"Insufficient ([A-Za-z0-9_./-]*[A-Za-z0-9])")


def newest(pods: Sequence[Object], wanted: Callable[[Object], bool]) -> Object | None:
    """The pod created last among those wanted; of equal times the last by name."""
    found = [p for p in pods if wanted(p)]
    return max(found, key=lambda p: (p["metadata"].get("creationTimestamp") or "", p["metadata"]["name"]), default=None)


def culprit(pods: Sequence[Object]) -> Object | None:
    """The failed pod whose end explains the Job's: the newest, but of several that work together most end because one did."""
    failed = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Failed"]
    chosen = (newest(failed, wanted) for wanted in (_blames_the_input, _ended_by_itself, bool))
    return next((pod for pod in chosen if pod is not None), None)


def _blames_the_input(pod: Object) -> bool:
    return any(code in USER_CODES for code in _exit_codes(pod))


def _ended_by_itself(pod: Object) -> bool:
    return SIGTERM_CODE not in _exit_codes(pod) and failure_of(pod)[0] != FailureReason.PEERS_LOST


def _exit_codes(pod: Object) -> list[int]:
    return [int(end["exitCode"]) for _, end in _ends(pod) if "exitCode" in end]


def _ends(pod: Object) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The statuses of containers that have ended, each with its end. How a sidecar ended says nothing of the task."""
    for status in containers(pod):
        end = (status.get("state") or {}).get("terminated")
        if end and status.get("name") != WATCH_CONTAINER:
            yield status, end


def containers(pod: Object) -> Iterator[Mapping[str, Any]]:
    """The statuses of a pod's containers, init containers first."""
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def terminated(pod: Object, container: str) -> Mapping[str, Any] | None:
    """The state in which a container ended."""
    for status in containers(pod):
        if status.get("name") == container:
            return (status.get("state") or {}).get("terminated")
    return None


def is_running(pod: Object) -> bool:
    """Whether the pod's task runs, or a user's own code before it: an init container, in whose time the phase is Pending."""
    if (pod.get("status") or {}).get("phase") == "Running":
        return True
    return any(
        c.get("name") in _OWN_CODE and (c.get("state") or {}).get("running") is not None for c in containers(pod)
    )


def has_started(pod: Object) -> bool:
    """Whether a container of the pod runs or has run. Downloading a dataset does not count once it is done, nor does watching
    over a user's own code."""
    if (pod.get("status") or {}).get("phase") in ("Running", "Succeeded", "Failed"):
        return True
    return any(_has_run(container) for container in containers(pod))


def _has_run(container: Mapping[str, Any]) -> bool:
    state = container.get("state") or {}
    if container.get("name") == WATCH_CONTAINER:
        return False
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    return state.get("running") is not None or (ended is not None and container.get("name") != FETCH_CONTAINER)


def trouble_of(pod: Object) -> tuple[str, str] | None:
    """Reason and message of what keeps a pod from running, None when nothing does."""
    name = pod["metadata"]["name"]
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return FailureReason.UNSCHEDULABLE, _unschedulable(pod, str(condition.get("message") or ""))
    for status in containers(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason, text = waiting.get("reason"), str(waiting.get("message") or "").strip()
        if reason in _PULL:
            image = status.get("image") or "?"
            return FailureReason.IMAGE_PULL, (
                f"image {image} of container {status.get('name')} cannot be pulled: {_sentence(_BACK_OFF.sub('', text))} "
                f"Check {_image_field(status.get('name'))}, the registry, and the pull secret"
            )
        if reason in _CREATE:
            return FailureReason.CONTAINER_FAILED, (
                f"container {status.get('name')} of pod {name} cannot be created ({reason}): {_sentence(text)} "
                "Check the Secrets and the command that spec names"
            )
    return None


def failure_of(pod: Object) -> tuple[str, str]:
    """Reason and message of a failed pod: what its task said, or what its container's end tells."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    for container, end in _ends(pod):
        if end.get("exitCode") == 0:
            continue
        if failure := _task_failure(end):
            return failure.reason, failure.message
        if end.get("reason") == "OOMKilled":
            return FailureReason.OUT_OF_MEMORY, (
                f"container {container.get('name')} of pod {name} needed more memory than its limit: raise resources.memory"
            )
        return FailureReason.CONTAINER_FAILED, _exit_message(str(container.get("name")), name, end)
    reason, text = status.get("reason"), str(status.get("message") or "").strip()
    return FailureReason.CONTAINER_FAILED, f"pod {name} failed ({reason or 'no reason given'}): {text or 'no message'}"


def task_failure_of(pod: Object) -> TaskFailure | None:
    """What the task of a failed pod said, None when it could not."""
    return next((failure for _, end in _ends(pod) if (failure := _task_failure(end))), None)


def fetched_code(pods: Sequence[Object]) -> str | None:
    """What the run of a script runs, as the pods that fetched it say; the first of them fixed it for all."""
    for pod in pods:
        try:
            result = RESULT.validate_json((terminated(pod, FETCH_CONTAINER) or {}).get("message") or "")
        except ValidationError:
            continue
        if isinstance(result, FetchResult):
            return result.code
    return None


def _task_failure(end: Mapping[str, Any]) -> TaskFailure | None:
    try:
        result = RESULT.validate_json(end.get("message") or "")
    except ValidationError:
        return None
    return result if isinstance(result, TaskFailure) else None


def _exit_message(container: str, pod: str, end: Mapping[str, Any]) -> str:
    code = int(end.get("exitCode") or 0)
    said = str(end.get("message") or "").strip()
    cause = f", signal {code - 128}" if code > 128 else ""
    final = ", which says that a retry is in vain" if FIRST_USER_CODE <= code <= LAST_USER_CODE else ""
    words = f": {_tail(said)}" if said else f": see kubectl logs {pod} -c {container}"
    return f"container {container} ended with exit code {code}{cause}{final}{words}"


def _unschedulable(pod: Object, text: str) -> str:
    start = f"no node can run pod {pod['metadata']['name']}: {_sentence(text)}"
    device = next((r for r in _INSUFFICIENT.findall(text) if "/" in r), None)
    if device:
        return f"{start} Add a node that offers {device} (is its device plugin running?), or change resources.gpu"
    return f"{start} Add a node, or change resources or placement"


def _image_field(container: Any) -> str:
    return _IMAGES.get(container, "images in the values of the tidemill chart")


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}." if text else "no message."


def _tail(text: str, limit: int = 600) -> str:
    return text if len(text) <= limit else "…" + text[-limit + 1 :]
