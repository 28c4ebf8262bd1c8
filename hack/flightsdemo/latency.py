"""How long the loop takes: by step, from the first evaluation over the threshold to the pod that retrains, and on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flightsdemo import kubectl
from flightsdemo.months import POLICY


def _between(first: str | None, second: str | None) -> float | None:
    if not first or not second:
        return None
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()


def measure() -> list[dict[str, Any]]:
    """Seconds of each attempt's steps; None where a step did not happen or its time is not known any more."""
    found = []
    for attempt in reversed(kubectl.get("tmdrift", POLICY)["status"].get("attempts", [])):
        dataset = kubectl.get("tmds", attempt.get("dataset") or "-").get("status", {})
        run = kubectl.get("tmrun", attempt.get("trainingRun") or "-").get("status", {})
        version = kubectl.get("tmmv", (attempt.get("challenger") or {}).get("name") or "-").get("metadata", {})
        found.append(
            {
                "number": attempt["number"],
                "phase": attempt["phase"],
                "driftToTrigger": _between(attempt.get("driftedAt"), attempt["triggeredAt"]),
                "triggerToDatasetStarted": _between(attempt["triggeredAt"], dataset.get("startedAt")),
                "datasetJob": _between(dataset.get("startedAt"), dataset.get("finishedAt")),
                "datasetToTrainingStarted": _between(dataset.get("finishedAt"), run.get("startedAt")),
                "trainingJob": _between(run.get("startedAt"), run.get("finishedAt")),
                "trainingToModelVersion": _between(run.get("finishedAt"), version.get("creationTimestamp")),
                "verifyCompareAndEnd": _between(version.get("creationTimestamp"), attempt.get("finishedAt")),
            }
        )
    return found


def lines(attempts: list[dict[str, Any]]) -> list[str]:
    """The steps as text."""
    words = []
    for attempt in attempts:
        steps = ", ".join(f"{k} {v:.0f} s" for k, v in attempt.items() if isinstance(v, float))
        words.append(f"retraining {attempt['number']} ({attempt['phase']}): {steps}")
    return words
