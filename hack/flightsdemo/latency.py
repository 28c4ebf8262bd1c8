"""How long the loop takes, step by step, and how much of that is Tidemill's own: all that is not a Job's work."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from flightsdemo import kubectl
from flightsdemo.manifests import DEPLOYMENT, POLICY
from tidemill.contract.names import GROUP, LABEL_TASK, TASK_CONTAINER

OWN_SHARE = "tidemillsOwn"


Interval = tuple[datetime, datetime]


def _runs(owner: str, name: str, task: str = "") -> list[Interval]:
    """When the containers of an owner's tasks ran, as its pods still say."""
    selector = f"{GROUP}/{owner}={name}" + (f",{LABEL_TASK}={task}" if task else "")
    return [
        (datetime.fromisoformat(ended["startedAt"]), datetime.fromisoformat(ended["finishedAt"]))
        for pod in kubectl.listed("pod", selector=selector)
        for status in pod["status"].get("containerStatuses", ())
        if status["name"] == TASK_CONTAINER and (ended := status["state"].get("terminated"))
    ]


def _time(moment: str | None) -> datetime | None:
    return datetime.fromisoformat(moment) if moment else None


def _span(runs: list[Interval]) -> tuple[datetime | None, datetime | None]:
    return min((begin for begin, _ in runs), default=None), max((end for _, end in runs), default=None)


def _seconds(first: datetime | None, second: datetime | None) -> float | None:
    return (second - first).total_seconds() if first and second else None


def _uncovered(begin: datetime, end: datetime, runs: list[Interval]) -> float:
    """Seconds from begin to end in which nothing ran."""
    idle, at = 0.0, begin
    for first, last in sorted(runs):
        idle += max(0.0, (min(first, end) - at).total_seconds())
        at = max(at, min(last, end))
    return idle + (end - at).total_seconds()


def measure(attempt: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a retraining's steps, soon after its end; None where a step did not happen or its pod is gone.

    `tidemillsOwn` is the time from the trigger to the end in which no Job's container ran: reconciling, and Kubernetes
    starting pods.
    """
    triggered, ended = datetime.fromisoformat(attempt["triggeredAt"]), _time(attempt.get("finishedAt"))
    version = (attempt.get("challenger") or {}).get("name") or "-"
    prepare = _runs("dataset", attempt.get("dataset") or "-")
    train = _runs("trainingrun", attempt.get("trainingRun") or "-")
    made = _runs("modelversion", version)
    compare = _runs("driftpolicy", POLICY, "CompareModels")
    preparing, training, comparing = _span(prepare), _span(train), _span(compare)
    verifying = _span(_runs("modelversion", version, "VerifyModel"))
    own = _uncovered(triggered, ended, [*prepare, *train, *made, *compare]) if ended and compare else None
    return {
        "number": attempt["number"],
        "phase": attempt["phase"],
        "driftToTrigger": _seconds(_time(attempt.get("driftedAt")), triggered),
        "triggerToPreparing": _seconds(triggered, preparing[0]),
        "preparing": _seconds(*preparing),
        "preparedToTraining": _seconds(preparing[1], training[0]),
        "training": _seconds(*training),
        "trainedToVerifying": _seconds(training[1], verifying[0]),
        "verifyingAndVariants": _seconds(*_span(made)),
        "variantsToComparing": _seconds(_span(made)[1], comparing[0]),
        "comparing": _seconds(*comparing),
        "comparedToEnd": _seconds(comparing[1], ended),
        OWN_SHARE: own,
    }


def first_version(answered_at: datetime) -> dict[str, float | None]:
    """From the upload of the first model to the first request it answered."""
    name = f"{DEPLOYMENT}-v1"
    uploaded = _span(_runs("trainingrun", "flights-q1"))[1]
    created = _time(kubectl.get("tmmv", name).get("metadata", {}).get("creationTimestamp"))
    made = _span(_runs("modelversion", name))
    transitions = kubectl.get("tmdep", DEPLOYMENT).get("status", {}).get("transitions", [])
    return {
        "uploadedToModelVersion": _seconds(uploaded, created),
        "modelVersionToVerifying": _seconds(created, made[0]),
        "verifyingAndVariants": _seconds(*made),
        "uploadedToServing": _seconds(uploaded, _time(transitions[-1]["at"] if transitions else None)),
        "uploadedToFirstAnswer": _seconds(uploaded, answered_at),
    }


def line(name: str, steps: dict[str, Any]) -> str:
    """Steps as text."""
    return f"{name}: " + ", ".join(f"{k} {v:.0f} s" for k, v in steps.items() if isinstance(v, float))


def lines(attempts: Iterable[dict[str, Any]]) -> list[str]:
    """The steps of every attempt as text."""
    return [line(f"retraining {attempt['number']} ({attempt['phase']})", attempt) for attempt in attempts]
