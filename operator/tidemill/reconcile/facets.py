"""Facets: the few values by which objects are looked up, besides name and owner. The indices are built from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.contract.layout import dataset_of
from tidemill.contract.names import LABEL_JOB, LABEL_POOL

Facet = tuple[str, str]

EVALUATED = "evaluated"
"""Of a Deployment: the Dataset that it is evaluated on. Metrics are exported of those that have it."""
WATCHED_CHILDREN = ("Job", "Pod", "StatefulSet", "Service", "EndpointSlice", "ServiceAccount", "RoleBinding",
                    "PodDisruptionBudget", "RayCluster")  # fmt: skip
"""Child kinds that are watched, with the label managed-by=tidemill."""


def facets(obj: Mapping[str, Any]) -> Iterator[Facet]:
    """The (facet, value) pairs of an object."""
    spec: Mapping[str, Any] = obj.get("spec") or {}
    labels: Mapping[str, str] = (obj.get("metadata") or {}).get("labels") or {}
    match obj.get("kind"):
        case "Dataset":
            for item in spec.get("inputs", ()):
                if source := item.get("dataset"):
                    yield "dataset", source["name"]
        case "TrainingRun":
            yield "dataset", spec.get("dataset", {}).get("name", "")
            yield "model", spec.get("model", {}).get("name", "")
            for trainer in (spec.get("trainer") or {}).values():
                if version := (trainer.get("base") or {}).get("modelVersion"):
                    yield "base", version
        case "ModelVersion":
            yield "model", spec.get("model", "")
            origin = spec.get("origin") or {}
            if uid := origin.get("trainingRunUid"):
                yield "run", uid
            if dataset := origin.get("dataset") or dataset_of(origin.get("datasetUri") or ""):
                yield "dataset", dataset
        case "Deployment":
            yield "model", spec.get("model", {}).get("name", "")
            if online := spec.get("online"):
                yield "pool", online.get("pool", "")
            if batch := spec.get("batch"):
                yield "dataset", batch.get("dataset", "")
            if evaluation := spec.get("evaluation"):
                yield "dataset", evaluation.get("dataset", "")
                yield EVALUATED, evaluation.get("dataset", "")
        case "DriftPolicy":
            yield "deployment", spec.get("deployment", "")
            if retrain := (spec.get("action") or {}).get("retrain"):
                yield "template", retrain.get("template", "")
                if base := retrain.get("base"):
                    yield "dataset", base
            for attempt in (obj.get("status") or {}).get("attempts", ()):
                if dataset := attempt.get("dataset"):
                    yield "dataset", dataset
        case "ModelPlacement":
            yield "deployment", spec.get("deployment", "")
            yield "pool", spec.get("pool", "")
            yield "pod", spec.get("pod", "")
        case "Pod":
            if job := labels.get(LABEL_JOB):
                yield "job", job
            if pool := labels.get(LABEL_POOL):
                yield "pool", pool
        case _:
            return
