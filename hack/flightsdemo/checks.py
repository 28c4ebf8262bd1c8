"""What must hold whenever the demo ends, however often the operator was killed: nothing twice, nothing lost."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

from flightsdemo import kubectl
from flightsdemo.manifests import DEPLOYMENT, POLICY
from tidemill.contract.names import LABEL_TASK


def problems() -> list[str]:
    """All that does not hold, as sentences; empty when the end is as it must be."""
    versions = kubectl.listed("tmmv")
    return [
        *_children(),
        *_versions(versions),
        *_attempts(kubectl.get("tmdrift", POLICY).get("status", {})),
        *_log(kubectl.get("tmdep", DEPLOYMENT).get("status", {})),
    ]


def _children() -> list[str]:
    """Each owner has one Job for each task (for a version: for each variant and export)."""
    counted: Counter[str] = Counter()
    for job in kubectl.listed("job"):
        owner = job["metadata"]["ownerReferences"][0]
        name = job["metadata"]["name"].rpartition("-")[0]  # what follows is the request
        counted[f"{owner['kind']} {owner['name']} has {{}} Jobs {name} ({job['metadata']['labels'][LABEL_TASK]})"] += 1
    return [text.format(count) for text, count in counted.items() if count > 1]


def _versions(versions: list[dict[str, Any]]) -> list[str]:
    """Each TrainingRun made one version, and each model has one version in production."""
    found = []
    runs = Counter(version["spec"]["origin"]["trainingRun"] for version in versions)
    wanted = Counter(run["metadata"]["name"] for run in kubectl.listed("tmrun"))
    if runs != wanted:
        found.append(f"TrainingRuns and the versions they made differ: {(runs - wanted) + (wanted - runs)}")
    production = Counter(v["spec"]["model"] for v in versions if v["status"].get("stage") == "Production")
    found += [
        f"model {model} has {production[model]} versions in production"
        for model in sorted({version["spec"]["model"] for version in versions})
        if production[model] != 1
    ]
    for version in versions:
        log = version["status"].get("transitions", [])
        if log and log[0]["to"] != version["status"]["stage"]:
            found.append(f"{version['metadata']['name']} is {version['status']['stage']}, its log says {log[0]['to']}")
        found += _broken(version["metadata"]["name"], log)
    return found


def _attempts(status: dict[str, Any]) -> list[str]:
    """Retrainings are numbered without a gap, and all have ended."""
    numbers = [attempt["number"] for attempt in status.get("attempts", [])]
    newest = status.get("attemptCount", 0)
    found = []
    if numbers != list(range(newest, newest - len(numbers), -1)):
        found.append(f"the policy's retrainings are numbered {numbers}, the newest is {newest}")
    if status.get("current"):
        found.append(f"retraining {status['current']['number']} has not ended")
    return found


def _log(status: dict[str, Any]) -> list[str]:
    """The Deployment's log leads to the version that it serves, and has every promotion."""
    log = status.get("transitions", [])
    found = _broken(f"tmdep {DEPLOYMENT}", log)
    if log and log[0]["to"] != status["serving"]["name"]:
        found.append(f"tmdep {DEPLOYMENT} serves {status['serving']['name']}, its log says {log[0]['to']}")
    logged = {entry["by"] for entry in log}
    for attempt in kubectl.get("tmdrift", POLICY)["status"].get("attempts", []):
        by = f"driftpolicy/{POLICY}#{attempt['number']}"
        if attempt["phase"] == "Promoted" and by not in logged:
            found.append(f"the promotion by {by} is not in the log of tmdep {DEPLOYMENT}")
    return found


def _broken(name: str, log: list[dict[str, Any]]) -> list[str]:
    """A log, newest first, in which an entry does not begin where the one before it ended."""
    return [
        f"the log of {name} jumps from {old['to']} to {new['from']}"
        for new, old in itertools.pairwise(log)
        if new["from"] != old["to"]
    ]
