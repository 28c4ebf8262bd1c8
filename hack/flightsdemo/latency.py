"""How long the loop takes, step by step, and how much of that is Tidemill's own: all that is not a Job's work."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from flightsdemo import kubectl
from flightsdemo.months import DEPLOYMENT, POLICY
from tidemill.contract.names import GROUP, LABEL_TASK, TASK_CONTAINER

OWN_SHARE = "tidemillsOwn"


def _seconds(first: str | None, second: str | None) -> float | None:
    if not first or not second:
        return None
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()


def _work(owner: str, name: str, task: str = "") -> tuple[str | None, str | None]:
    """When the first container of an owner's tasks began and the last one ended, as its pods still say."""
    selector = f"{GROUP}/{owner}={name}" + (f",{LABEL_TASK}={task}" if task else "")
    ended = [
        state["terminated"]
        for pod in kubectl.listed("pod", selector=selector)
        for status in pod["status"].get("containerStatuses", ())
        if status["name"] == TASK_CONTAINER and "terminated" in (state := status["state"])
    ]
    return (
        min((each["startedAt"] for each in ended), default=None),
        max((each["finishedAt"] for each in ended), default=None),
    )


def measure() -> list[dict[str, Any]]:
    """Seconds of each attempt's steps; None where a step did not happen or its pod is gone.

    `tidemillsOwn` is the time from the trigger to the end in which no Job's container ran: reconciling, and Kubernetes
    starting pods.
    """
    found = []
    for attempt in reversed(kubectl.get("tmdrift", POLICY)["status"].get("attempts", [])):
        prepare = _work("dataset", attempt.get("dataset") or "-", "PrepareDataset")
        train = _work("trainingrun", attempt.get("trainingRun") or "-", "TrainModel")
        version = (attempt.get("challenger") or {}).get("name") or "-"
        verify = _work("modelversion", version, "VerifyModel")
        compare = _work("driftpolicy", POLICY, "") if attempt is None else _comparison(attempt)
        steps = {
            "driftToTrigger": _seconds(attempt.get("driftedAt"), attempt["triggeredAt"]),
            "triggerToPreparing": _seconds(attempt["triggeredAt"], prepare[0]),
            "preparing": _seconds(*prepare),
            "preparedToTraining": _seconds(prepare[1], train[0]),
            "training": _seconds(*train),
            "trainedToVerifying": _seconds(train[1], verify[0]),
            "verifying": _seconds(*verify),
            "verifiedToComparing": _seconds(verify[1], compare[0]),
            "comparing": _seconds(*compare),
            "comparedToEnd": _seconds(compare[1], attempt.get("finishedAt")),
        }
        own = [v for k, v in steps.items() if "To" in k and k != "driftToTrigger"]
        steps[OWN_SHARE] = None if None in own else sum(v for v in own if v is not None)
        found.append({"number": attempt["number"], "phase": attempt["phase"], **steps})
    return found


def _comparison(attempt: dict[str, Any]) -> tuple[str | None, str | None]:
    """The window of the attempt's comparison: the policy's task that began after the challenger existed."""
    selector = f"{GROUP}/driftpolicy={POLICY}"
    for pod in kubectl.listed("pod", selector=selector):
        for status in pod["status"].get("containerStatuses", ()):
            ended = status["state"].get("terminated")
            if ended and attempt["triggeredAt"] <= ended["startedAt"] <= (attempt.get("finishedAt") or "9"):
                return ended["startedAt"], ended["finishedAt"]
    return None, None


def first_version(answered_at: str | None) -> dict[str, float | None]:
    """From the upload of the first model to the first request it answered."""
    version = kubectl.get("tmmv", f"{DEPLOYMENT}-v1")
    train = _work("trainingrun", "flights-q1", "TrainModel")
    verify = _work("modelversion", f"{DEPLOYMENT}-v1", "VerifyModel")
    transitions = kubectl.get("tmdep", DEPLOYMENT).get("status", {}).get("transitions", [])
    serving = transitions[-1]["at"] if transitions else None
    return {
        "uploadedToModelVersion": _seconds(train[1], version.get("metadata", {}).get("creationTimestamp")),
        "modelVersionToVerifying": _seconds(version.get("metadata", {}).get("creationTimestamp"), verify[0]),
        "verifying": _seconds(*verify),
        "verifiedToServing": _seconds(verify[1], serving),
        "uploadedToFirstAnswer": _seconds(train[1], answered_at),
    }


def line(name: str, steps: dict[str, Any]) -> str:
    """Steps as text."""
    return f"{name}: " + ", ".join(f"{k} {v:.0f} s" for k, v in steps.items() if isinstance(v, float))


def lines(attempts: Iterable[dict[str, Any]]) -> list[str]:
    """The steps of every attempt as text."""
    return [line(f"retraining {attempt['number']} ({attempt['phase']})", attempt) for attempt in attempts]
