"""Small manifests of the kinds, for tests."""

from __future__ import annotations

from typing import Any

Raw = dict[str, Any]
API_VERSION = "tidemill.dev/v1alpha1"


def dataset(name: str = "flights", *, uri: str = "s3://data/flights.parquet", **spec: Any) -> Raw:
    """A Dataset of one S3 input."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Dataset",
        "metadata": {"name": name},
        "spec": {"inputs": [{"name": "raw", "s3": {"uri": uri}}], **spec},
    }


def derived(name: str, source: str, **spec: Any) -> Raw:
    """A Dataset of another Dataset's newest version."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Dataset",
        "metadata": {"name": name},
        "spec": {"inputs": [{"name": "raw", "dataset": {"name": source}}], **spec},
    }


def run(name: str, *, source: str = "flights", model: str = "delay", **spec: Any) -> Raw:
    """A TrainingRun of the built-in regression, unless `trainer` says otherwise."""
    template = {
        "name": model,
        "optimise": [{"name": "int8"}],
        "export": [{"name": "edge"}],
        **spec.pop("template", {}),
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": {"name": name},
        "spec": {
            "dataset": {"name": source},
            "model": template,
            "trainer": {"tabularRegression": {"target": "arr_delay"}},
            **spec,
        },
    }


def version(model: str, number: int, *, digest: str = "a", **spec: Any) -> Raw:
    """An imported ModelVersion."""
    uri = f"s3://models/{model}/{number}"
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": f"{model}-v{number}"},
        "spec": {
            "model": model,
            "version": number,
            "artifact": {"uri": uri, "digest": f"sha256:{digest * 64}"},
            **spec,
        },
    }


def pool(name: str = "cpu", **spec: Any) -> Raw:
    """A ServingPool."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ServingPool",
        "metadata": {"name": name},
        "spec": {"replicas": 2, **spec},
    }


def deployment(name: str = "delays", **spec: Any) -> Raw:
    """An online Deployment that follows Production."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "model": {"name": "delay", "stage": "Production"},
            "mode": "Online",
            "online": {"pool": "cpu", "replicas": 2, "variant": "int8"},
            **spec,
        },
    }


def policy(name: str = "watch", *, retrain: Raw | None = None, **spec: Any) -> Raw:
    """A DriftPolicy that retrains."""
    action = {
        "type": "Retrain",
        "retrain": {
            "template": "first",
            "base": "flights",
            "labels": {"s3": {"uri": "s3://labels/late/"}},
            "minLabelledRows": 1,
            "gate": {"metric": "mae", "minImprovement": -1.0, "windowRows": 10},
            **(retrain or {}),
        },
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "DriftPolicy",
        "metadata": {"name": name},
        "spec": {
            "deployment": "delays",
            "interval": "1m",
            "window": "10m",
            "forConsecutive": 2,
            "cooldown": "10m",
            "maxRunsPerDay": 3,
            "action": action,
            **spec,
        },
    }
