"""The objects of the benchmark: TrainingRuns and ConfigMaps of about 2 kB, and what is changed of them."""

from __future__ import annotations

from typing import Any

GROUP, VERSION, PLURAL = "tidemill.dev", "v1alpha1", "trainingruns"
API_VERSION = f"{GROUP}/{VERSION}"
MANAGER = "bench"
STORED = "clients-stored"
"""The namespace of the objects that are listed and watched."""
_PADDING = "x" * 1400


def runs_path(namespace: str, name: str = "", subresource: str = "") -> str:
    """Where TrainingRuns lie."""
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}"
    return "/".join(part for part in (path, name, subresource) if part)


def config_maps_path(namespace: str) -> str:
    """Where ConfigMaps lie."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


def run(namespace: str, index: int, *, note: str = "created") -> dict[str, Any]:
    """A TrainingRun; `note` is what an apply changes."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": {
            "name": f"run-{index:05d}",
            "namespace": namespace,
            "labels": {"bench": note},
            "annotations": {"bench/padding": _PADDING},
        },
        "spec": {
            "dataset": {"name": "flights"},
            "model": {"name": f"model-{index}"},
            "trainer": {"tabularRegression": {"target": "delay"}},
            "suspend": True,
        },
    }


def config_map(namespace: str, index: int) -> dict[str, Any]:
    """A ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"map-{index:05d}", "namespace": namespace, "labels": {"bench": "stored"}},
        "data": {f"key-{n}": "value " * 17 for n in range(16)},
    }


def status(index: int) -> dict[str, Any]:
    """A merge patch of a TrainingRun's status, as a reconcile writes it."""
    at = "2026-01-01T00:00:00Z"
    conditions = [
        {"type": t, "status": "True", "reason": "Pending", "message": "Job is being made", "lastTransitionTime": at}
        for t in ("Ready", "Reconciling", "Admitted")
    ]
    return {"status": {"observedGeneration": 1, "jobName": f"run-{index:05d}-train", "conditions": conditions}}
