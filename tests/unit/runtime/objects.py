"""Objects as the API server gives them."""

from __future__ import annotations

from typing import Any


def raw(
    kind: str = "Dataset",
    name: str = "d",
    *,
    namespace: str = "ns",
    uid: str = "",
    version: int = 1,
    api: str = "tidemill.dev/v1alpha1",
    owner: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    **parts: Any,
) -> dict[str, Any]:
    """One object."""
    meta: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "uid": uid or f"uid-{kind}-{name}",
        "resourceVersion": str(version),
        "managedFields": [{"manager": "kubectl"}],
    }
    if labels:
        meta["labels"] = labels
    if owner:
        meta["ownerReferences"] = [{"apiVersion": "tidemill.dev/v1alpha1", "controller": True, **owner}]
    return {"apiVersion": api, "kind": kind, "metadata": meta, **parts}


def job(name: str = "j", *, owner: str = "d", version: int = 1, **parts: Any) -> dict[str, Any]:
    """A Job of a Dataset."""
    reference = {"kind": "Dataset", "name": owner, "uid": f"uid-Dataset-{owner}"}
    return raw("Job", name, api="batch/v1", owner=reference, version=version, **parts)
