"""The agent's container: a native sidecar that starts before Triton, ends after it, and alone has a token of the API."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.pod import container_security
from tidemill.build.settings import BuildSettings
from tidemill.build.triton import MODELS_DIR, SHM_DIR, TAP_DIR, quantity_bytes
from tidemill.contract.names import (
    AGENT_PORT,
    ENV_NAMESPACE,
    ENV_POD,
    ENV_POD_IP,
    ENV_POOL,
    ENV_STORE_BUCKET,
    ENV_STORE_ENDPOINT,
    ENV_STORE_REGION,
    ENV_TAP_DIR,
    ENV_TAP_MAX_BYTES,
)

Manifest = dict[str, Any]

AGENT_CONTAINER = "agent"
AGENT_COMMAND = ("python3", "-m", "tidemill_agent")
TOKEN_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3600
ENV_POD_UID = "TIDEMILL_POD_UID"
ENV_FLUSH_ROWS = "TIDEMILL_FLUSH_ROWS"
ENV_FLUSH_SECONDS = "TIDEMILL_FLUSH_SECONDS"


def agent_container(pool: ServingPool, settings: BuildSettings) -> Manifest:
    """The agent. No startup probe: it would hold back Triton, for which the agent waits."""
    plain = {
        ENV_POOL: pool.metadata.name,
        ENV_TAP_DIR: TAP_DIR,
        ENV_TAP_MAX_BYTES: str(quantity_bytes(pool.spec.tap.segment_limit)),
        ENV_FLUSH_ROWS: str(pool.spec.tap.flush_rows),
        ENV_FLUSH_SECONDS: str(pool.spec.tap.flush_seconds),
        ENV_STORE_BUCKET: settings.store.bucket,
        ENV_STORE_REGION: settings.store.region,
        ENV_STORE_ENDPOINT: settings.store.endpoint,
        "HOME": "/tmp",
    }
    fields = {
        ENV_NAMESPACE: "metadata.namespace",
        ENV_POD: "metadata.name",
        ENV_POD_UID: "metadata.uid",
        ENV_POD_IP: "status.podIP",
    }
    return {
        "name": AGENT_CONTAINER,
        "image": settings.images.serving,
        "imagePullPolicy": settings.images.pull_policy,
        "command": list(AGENT_COMMAND),
        "restartPolicy": "Always",
        "env": [
            *({"name": name, "value": value} for name, value in plain.items() if value),
            *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
        ],
        "envFrom": [{"secretRef": {"name": settings.store.secret_name, "optional": True}}],
        "ports": [{"name": "metrics", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": container_security(),
        # It says that it is stuck after two minutes; the minute here is for a slow start and a busy node.
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "metrics"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "metrics"},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS_DIR},
            {"name": "tap", "mountPath": TAP_DIR},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": SHM_DIR},
            {"name": "token", "mountPath": TOKEN_DIR, "readOnly": True},
        ],
    }


def token_volume() -> Manifest:
    """What `automountServiceAccountToken` would mount, for the one container that needs it."""
    return {
        "name": "token",
        "projected": {
            "defaultMode": 0o440,
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {
                    "downwardAPI": {
                        "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}],
                    }
                },
            ],
        },
    }
