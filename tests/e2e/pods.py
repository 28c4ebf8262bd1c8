"""Manifests of pods for tests, as Pod Security `restricted` wants them, and ways to wait for what they do."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.apiserver import eventually, kubectl

Manifest = dict[str, Any]


def pod(name: str, image: str, *command: str, labels: dict[str, str] | None = None, **spec: Any) -> Manifest:
    """A pod of one container with a read-only root file system and a /tmp."""
    container = {
        "name": "main",
        "image": image,
        "command": list(command),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            **spec,
        },
    }


def apply(namespace: str, *manifests: Manifest) -> None:
    """Apply manifests into a namespace."""
    document = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(document))


def finished(namespace: str, name: str, *, seconds: float = 90) -> str:
    """The log of a pod that must end well."""

    def phase() -> str | None:
        found = kubectl("-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.phase}")
        return found if found in ("Succeeded", "Failed") else None

    ended = eventually(f"pod {name} to end", phase, seconds=seconds)
    log = kubectl("-n", namespace, "logs", name)
    assert ended == "Succeeded", f"pod {name} failed:\n{log}\n{kubectl('-n', namespace, 'describe', 'pod', name)}"
    return log


def ready(namespace: str, name: str, *, seconds: int = 90) -> None:
    """Wait until a pod is ready."""
    kubectl(
        "-n", namespace, "wait", "--for=condition=Ready", f"--timeout={seconds}s", f"pod/{name}", timeout=seconds + 10
    )
