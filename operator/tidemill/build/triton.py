"""The Triton container of a server pod, on Tidemill's own image or on NVIDIA's."""

from __future__ import annotations

import re
from typing import Any

from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.pod import container_security, resource_requirements
from tidemill.build.settings import BuildSettings
from tidemill.contract.names import (
    ENV_TAP_DIR,
    ENV_TAP_MAX_BYTES,
    TRACE_FILE,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
)

Manifest = dict[str, Any]

TRITON_CONTAINER = "triton"
MODELS_DIR = "/models"
TAP_DIR = "/tap"
SHM_DIR = "/dev/shm"
BACKENDS_DIR = "/opt/tidemill/backends"
DRAIN_SECONDS = 5
"""Between the pod's leaving the endpoints and SIGTERM: what clients and kube-proxies need to notice."""
EXIT_SECONDS = 30
"""Triton finishes requests in flight for at most so long after SIGTERM."""

_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def quantity_bytes(quantity: str) -> int:
    """`256Mi` → 268435456. Raises ValueError on other units than Ki, Mi and Gi."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", quantity)
    if not match:
        raise ValueError(f"{quantity!r} is not a quantity in Ki, Mi or Gi")
    return int(match[1]) * _UNITS[match[2]]


def triton_image(pool: ServingPool, settings: BuildSettings) -> str:
    """The image of the server: the pool's own, or the installation's for its runtime; empty when there is none."""
    default = settings.images.triton if pool.spec.runtime == "NVIDIA" else settings.images.serving
    return pool.spec.image or default


def triton_container(pool: ServingPool, settings: BuildSettings) -> Manifest:
    """Triton in explicit mode: it loads nothing by itself, and a model that cannot load does not end it."""
    return {
        "name": TRITON_CONTAINER,
        "image": triton_image(pool, settings),
        "imagePullPolicy": settings.images.pull_policy,
        "command": _command(pool),
        "env": [
            {"name": ENV_TAP_DIR, "value": TAP_DIR},
            {"name": ENV_TAP_MAX_BYTES, "value": str(quantity_bytes(pool.spec.tap.segment_limit))},
            {"name": "HOME", "value": "/tmp"},
        ],
        "ports": [
            {"name": "http", "containerPort": TRITON_HTTP_PORT, "protocol": "TCP"},
            {"name": "grpc", "containerPort": TRITON_GRPC_PORT, "protocol": "TCP"},
            {"name": "triton-metrics", "containerPort": TRITON_METRICS_PORT, "protocol": "TCP"},
        ],
        "resources": resource_requirements(pool.spec.resources),
        "securityContext": container_security(),
        # A Triton that crashed may hang, alive but deaf: without these probes it would stay so for ever.
        "startupProbe": _probe("/v2/health/live", period=1, timeout=1, failures=180),
        "livenessProbe": _probe("/v2/health/live", period=5, timeout=3, failures=4),
        "readinessProbe": _probe("/v2/health/ready", period=2, timeout=2, failures=2),
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS_DIR, "readOnly": True},
            {"name": "tap", "mountPath": TAP_DIR},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": SHM_DIR},
        ],
    }


def _command(pool: ServingPool) -> list[str]:
    command = [
        "tritonserver",
        f"--model-repository={MODELS_DIR}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        f"--http-port={TRITON_HTTP_PORT}",
        f"--grpc-port={TRITON_GRPC_PORT}",
        f"--metrics-port={TRITON_METRICS_PORT}",
        f"--exit-timeout-secs={EXIT_SECONDS}",
        "--exit-on-error=false",
        # ready says that the server answers; else one model that is being swapped would take all others out of service
        "--strict-readiness=false",
        "--log-verbose=0",
    ]
    if pool.spec.runtime == "CPU":
        command.append(f"--backend-directory={BACKENDS_DIR}")
    else:
        # Only the file: it cannot be set later. The agent turns the trace on, model by model, where it is sound.
        command += ["--trace-config=mode=triton", f"--trace-config=triton,file={TAP_DIR}/{TRACE_FILE}"]
    return command


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }
