"""The StatefulSet of a ServingPool: Triton servers with stable names, each with an agent beside it."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.agent import agent_container, token_volume
from tidemill.build.metadata import metadata, owner_labels
from tidemill.build.pod import place, pod_security
from tidemill.build.serviceaccount import agent_account_name
from tidemill.build.settings import BuildSettings
from tidemill.build.triton import DRAIN_SECONDS, EXIT_SECONDS, quantity_bytes, triton_container
from tidemill.contract.canonical import digest, short
from tidemill.contract.names import AGENT_PORT, COMPONENT, LABEL_POOL, label_value

Manifest = dict[str, Any]

SERVER = "server"
"""Value of the component label of server pods."""
SHM_LIMIT = "256Mi"
TMP_LIMIT = "1Gi"
MODELS_MIB, MODEL_MIB = 64 << 10, 64
"""Disk for models: 64 GiB, or 64 MiB for each that `capacity.models` allows where that is more. No request: a server
that fills it is evicted by its own limit, before its node runs full and evicts others."""
NAME_LIMIT = 52


def pool_name(pool: str) -> str:
    """The name of a pool's StatefulSet and headless Service; its pods are `<name>-0`, `<name>-1`, …

    At most 52 characters: the StatefulSet's revisions append eleven, and must still fit a label.
    """
    name = f"{pool}-pool"
    if len(name) <= NAME_LIMIT:
        return name
    return f"{pool[: NAME_LIMIT - 16].rstrip('-')}-{short(digest(pool))[:10]}-pool"


def pool_selector(pool: str) -> dict[str, str]:
    """The labels that select a pool's pods; a StatefulSet's selector can never change."""
    return {LABEL_POOL: label_value(pool), COMPONENT: SERVER}


def pool_statefulset(pool: ServingPool, settings: BuildSettings, *, replicas: int | None = None) -> Manifest:
    """Of as many servers as the spec says, or `replicas`.

    All start at once: none knows of the others. A new template rolls through them one by one.
    """
    name, labels = pool_name(pool.metadata.name), owner_labels(pool.ref, {COMPONENT: SERVER})
    selector = pool_selector(pool.metadata.name)
    pod: Manifest = {
        "serviceAccountName": agent_account_name(pool.metadata.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": DRAIN_SECONDS + EXIT_SECONDS + 25,
        "initContainers": [agent_container(pool, settings)],
        "containers": [triton_container(pool, settings)],
        "volumes": [
            {"name": "models", "emptyDir": {"sizeLimit": _models_limit(pool)}},
            {"name": "tap", "emptyDir": {"sizeLimit": str(2 * quantity_bytes(pool.spec.tap.segment_limit))}},
            {"name": "tmp", "emptyDir": {"sizeLimit": TMP_LIMIT}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHM_LIMIT}},
            token_volume(),
        ],
        "topologySpreadConstraints": [_spread(key, selector) for key in _TOPOLOGIES],
    }
    if settings.images.pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in settings.images.pull_secrets]
    place(pod, pool.spec.placement)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(name=name, namespace=pool.metadata.namespace, labels=labels),
        "spec": {
            "replicas": pool.spec.replicas if replicas is None else replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {
                    "labels": {**settings.pod_labels, **labels},
                    "annotations": {
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": str(AGENT_PORT),
                        "prometheus.io/path": "/metrics",
                    },
                },
                "spec": pod,
            },
        },
    }


def _models_limit(pool: ServingPool) -> str:
    return f"{max(MODELS_MIB, MODEL_MIB * pool.spec.capacity.models)}Mi"


_TOPOLOGIES = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")


def _spread(topology: str, selector: dict[str, str]) -> Manifest:
    """Over nodes and zones where there are several, never at the price of not running."""
    return {
        "maxSkew": 1,
        "topologyKey": topology,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector},
    }
