"""Objects of the glue tests, and what kubectl says of them."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.apiserver import kubectl


def dataset(name: str, namespace: str, *, inputs: tuple[str, ...] = ("a",), suspend: bool = False) -> dict[str, Any]:
    """A Dataset; tiny makes the Service `<name>-inputs` of it, with a port for each input."""
    return {
        "apiVersion": "tidemill.dev/v1alpha1",
        "kind": "Dataset",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "inputs": [{"name": i, "s3": {"uri": f"s3://bucket/{i}.parquet"}} for i in inputs],
            "suspend": suspend,
        },
    }


def run(name: str, namespace: str) -> dict[str, Any]:
    """A TrainingRun; tiny makes a suspended Job of it."""
    return {
        "apiVersion": "tidemill.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "dataset": {"name": "flights"},
            "model": {"name": "delay"},
            "trainer": {"tabularRegression": {"target": "arr_delay"}},
        },
    }


def apply(*objects: dict[str, Any]) -> None:
    """`kubectl apply`, all at once."""
    document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(document))


def items(namespace: str, resource: str, *flags: str) -> list[dict[str, Any]]:
    """All objects of a resource."""
    found: list[dict[str, Any]] = json.loads(kubectl("get", resource, "-n", namespace, *flags, "-o", "json"))["items"]
    return found


def ready(obj: dict[str, Any]) -> str:
    """Status of the condition Ready, '' when there is none."""
    return condition(obj, "Ready").get("status", "")


def condition(obj: dict[str, Any], type_: str) -> dict[str, str]:
    """A condition, {} when there is none."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == type_), {})


def get(namespace: str, resource: str, name: str) -> dict[str, Any]:
    """One object, {} when it does not exist."""
    text = kubectl("get", resource, name, "-n", namespace, "--ignore-not-found", "-o", "json")
    return json.loads(text) if text else {}
