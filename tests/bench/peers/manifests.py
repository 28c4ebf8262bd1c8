"""Pods and Jobs that never run, as parts of other manifests."""

from __future__ import annotations

from typing import Any

NOWHERE = {"no/such": "node"}
"""A nodeSelector that keeps pods where they are."""


def pod_template(container: str = "c") -> dict[str, Any]:
    """One small container."""
    resources = {"requests": {"cpu": "10m"}}
    containers = [{"name": container, "image": "localhost/pause:1", "resources": resources}]
    return {"spec": {"restartPolicy": "Never", "nodeSelector": NOWHERE, "containers": containers}}


def job_template(container: str = "c") -> dict[str, Any]:
    """One pod."""
    return {"spec": {"parallelism": 1, "completions": 1, "template": pod_template(container)}}
