"""A TrainingRun as it is shown: what it was, how it went, what came of it. Read from the plain object, so that a newer
operator's fields do no harm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.contract.durations import parse_time
from tidemill.contract.layout import run_root
from tidemill.contract.tracking import Scalar, flatten

_NOT_PARAMETERS = {"dataset", "model", "job", "placement", "suspend", "queueName", "tracking", "trainer"}
"""Of the spec: where and when a run takes place, and what is done with its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One TrainingRun."""

    name: str
    namespace: str
    uid: str
    model: str
    version: str | None
    """The ModelVersion that it left."""
    dataset: str
    dataset_digest: str | None
    status: str
    """The reason of its newest condition in a word: Succeeded, Running, GateNotPassed …"""
    message: str
    started_at: str | None
    finished_at: str | None
    seconds: float | None
    """How long it took, or has taken until it last spoke."""
    epoch: str
    """`3/15` while it runs."""
    trainer: str
    parameters: Mapping[str, Scalar]
    metrics: Mapping[str, Mapping[str, float]]
    """By split and metric; empty until the run has succeeded."""
    artifact_uri: str | None
    artifact_digest: str | None
    folder: str | None
    """Where its metrics by step lie; None while nobody knows the bucket."""
    warnings: tuple[str, ...]


def read_run(obj: Mapping[str, Any]) -> Run:
    """The run that an object of the API server describes."""
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    progress = status.get("progress") or {}
    condition = _condition(status)
    started, ended = status.get("startedAt"), status.get("finishedAt")
    last = ended or progress.get("updatedAt")
    trainer, fields = _trainer(spec.get("trainer") or {})
    rest = {name: value for name, value in spec.items() if name not in _NOT_PARAMETERS}
    bucket = re.match(r"s3://([^/]+)/", status.get("artifactUri") or status.get("datasetUri") or "")
    return Run(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        model=spec["model"]["name"],
        version=(status.get("modelVersion") or {}).get("name"),
        dataset=spec["dataset"]["name"],
        dataset_digest=status.get("datasetDigest") or spec["dataset"].get("digest"),
        status=condition.get("reason") or "Pending",
        message=condition.get("message") or "",
        started_at=started,
        finished_at=ended,
        seconds=(parse_time(last) - parse_time(started)).total_seconds() if started and last else None,
        epoch=f"{progress['epoch']}/{progress.get('epochs', '?')}" if progress.get("epoch") else "",
        trainer=trainer,
        parameters={**fields, **flatten(rest)},
        metrics=status.get("metrics") or {},
        artifact_uri=status.get("artifactUri"),
        artifact_digest=status.get("artifactDigest"),
        folder=run_root(bucket[1], meta["namespace"], meta["name"], meta["uid"]) if bucket else None,
        warnings=tuple(status.get("warnings") or ()),
    )


def headline(run: Run) -> tuple[str, float] | None:
    """The metric that speaks for a run: of the test split if it has one, the first of its kind's."""
    for split in ("test", "validation", *sorted(run.metrics)):
        values = run.metrics.get(split) or {}
        for name in ("mae", "accuracy", *sorted(values)):
            if name in values:
                return f"{split}/{name}", values[name]
    return None


def by_start(runs: list[Run]) -> list[Run]:
    """The order in which runs began; those that have not yet come last."""
    return sorted(runs, key=lambda run: (run.started_at is None, run.started_at or "", run.name))


def _trainer(trainer: Mapping[str, Any]) -> tuple[str, dict[str, Scalar]]:
    """Which trainer, and its fields without its name before each: equal fields of two trainers stand in one line."""
    chosen = [name for name, value in trainer.items() if value is not None]
    if len(chosen) == 1 and isinstance(trainer[chosen[0]], Mapping):
        return chosen[0], flatten(trainer[chosen[0]])
    return ", ".join(chosen), flatten(trainer)


def _condition(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """What says most of where an object stands: why it stalled, what it is doing, or that it is ready (kstatus)."""
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    for type_ in ("Stalled", "Reconciling", "Ready"):
        found: Mapping[str, Any] = conditions.get(type_) or {}
        if found.get("status") == "True" or (type_ == "Ready" and found):
            return found
    return {}
