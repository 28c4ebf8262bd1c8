"""TrainingRuns and ModelVersions as the operator leaves them, and their comparison."""

from __future__ import annotations

import base64
from typing import Any

from tidemill_cli.comparison import Comparison, Details, compare
from tidemill_cli.runs import Run, read_run

Object = dict[str, Any]
API_VERSION = "tidemill.dev/v1alpha1"
DIGEST = "sha256:" + "d" * 64
ARTIFACT = "sha256:" + "a" * 64
MODEL_URI = "s3://tidemill/team/models/delay/x"


def run(
    name: str,
    *,
    model: str = "delay",
    trainer: Object | None = None,
    labels: dict[str, str] | None = None,
    status: Object | None = None,
    **spec: Any,
) -> Object:
    """A TrainingRun; without a status the operator has not seen it yet."""
    made: Object = {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "dataset": {"name": "flights"},
            "model": {"name": model},
            "trainer": trainer or {"tabularRegression": {"target": "arr_delay"}},
            **spec,
        },
    }
    return made if status is None else {**made, "status": status}


def succeeded(
    metrics: dict[str, dict[str, float]],
    *,
    version: str = "delay-v1",
    dataset: str = DIGEST,
    uri: str = MODEL_URI,
    minutes: int = 5,
    **more: Any,
) -> Object:
    """The status of a run that went well."""
    return {
        "conditions": [condition("Ready", "True", "Succeeded", f"version 1 of model delay: ModelVersion {version}")],
        "datasetDigest": dataset,
        "datasetUri": "s3://tidemill/team/datasets/flights/" + dataset.removeprefix("sha256:"),
        "metrics": metrics,
        "artifactUri": uri,
        "artifactDigest": ARTIFACT,
        "modelVersion": {"name": version, "version": 1},
        "startedAt": "2026-01-01T10:00:00Z",
        "finishedAt": f"2026-01-01T10:{minutes:02}:30Z",
        **more,
    }


def training(epoch: int = 3) -> Object:
    """The status of a run that trains."""
    return {
        "conditions": [
            condition("Ready", "False", "Running", "the Job runs"),
            condition("Reconciling", "True", "Running", "the Job runs"),
        ],
        "datasetDigest": DIGEST,
        "datasetUri": "s3://tidemill/team/datasets/flights/" + "d" * 64,
        "startedAt": "2026-01-01T11:00:00Z",
        "progress": {"phase": "Training", "epoch": epoch, "epochs": 15, "updatedAt": "2026-01-01T11:01:10Z"},
    }


def stalled(reason: str, message: str) -> Object:
    """The status of a run that failed."""
    conditions = [condition("Ready", "False", reason, message), condition("Stalled", "True", reason, message)]
    return {"conditions": conditions, "startedAt": "2026-01-01T09:00:00Z", "finishedAt": "2026-01-01T09:00:07Z"}


def condition(type_: str, status: str, reason: str, message: str) -> Object:
    """As metav1.Condition has it."""
    at = "2026-01-01T10:00:00Z"
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": at}


def version(name: str, number: int = 1, *, digest: str = ARTIFACT, uri: str = MODEL_URI, **origin: Any) -> Object:
    """A ModelVersion."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": name},
        "spec": {"model": "delay", "version": number, "artifact": {"uri": uri, "digest": digest}, "origin": origin},
        "status": {"stage": "Production", "verifiedDigest": digest},
    }


def secret(name: str, **texts: str) -> Object:
    """A Secret."""
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def job(name: str, **environment: str) -> Object:
    """A Job of Tidemill's with these variables."""
    container = {
        "name": "task",
        "image": "worker:1",
        "env": [{"name": key, "value": value} for key, value in environment.items()],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "tidemill"}},
        "spec": {
            "suspend": True,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }


def seen(obj: Object) -> Run:
    """The run as the plugin reads it."""
    obj["metadata"] |= {"namespace": "team", "uid": f"uid-{obj['metadata']['name']}"}
    return read_run(obj)


def side_by_side(*objects: Object, details: tuple[Details, ...] | None = None) -> Comparison:
    """The runs' comparison."""
    runs = [seen(obj) for obj in objects]
    return compare(runs, details or [Details()] * len(runs))


def network(**fields: Any) -> Object:
    """The built-in network, with these fields."""
    return {"tabularRegression": {"target": "arr_delay", "epochs": 15, **fields}}
