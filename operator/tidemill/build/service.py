"""Services: the headless one that names a pool's pods, and the one that clients of a Deployment speak to."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.metadata import metadata, owner_labels
from tidemill.build.settings import BuildSettings
from tidemill.build.statefulset import pool_name, pool_selector
from tidemill.contract.names import AGENT_PORT, TRITON_GRPC_PORT, TRITON_HTTP_PORT, TRITON_METRICS_PORT

Manifest = dict[str, Any]


def _port(name: str, port: int, app_protocol: str | None = None) -> Manifest:
    entry: Manifest = {"name": name, "port": port, "protocol": "TCP", "targetPort": port}
    if app_protocol:
        entry["appProtocol"] = app_protocol
    return entry


def pool_service(pool: ServingPool) -> Manifest:
    """The headless Service of the StatefulSet; it lists pods before they are ready, since it serves no client."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(
            name=pool_name(pool.metadata.name), namespace=pool.metadata.namespace, labels=owner_labels(pool.ref)
        ),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": pool_selector(pool.metadata.name),
            "ports": [_port("metrics", AGENT_PORT), _port("triton-metrics", TRITON_METRICS_PORT)],
        },
    }


def deployment_service(deployment: Deployment) -> Manifest:
    """The Deployment's address. It has no selector: the operator lists the pods that have the model loaded."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(
            name=deployment.metadata.name,
            namespace=deployment.metadata.namespace,
            labels=owner_labels(deployment.ref),
        ),
        "spec": {
            "type": "ClusterIP",
            "ports": [
                _port("http", TRITON_HTTP_PORT, "http"),
                _port("grpc", TRITON_GRPC_PORT, "kubernetes.io/h2c"),
            ],
        },
    }


def deployment_host(deployment: Deployment, settings: BuildSettings) -> str:
    """The Service's name in the cluster's DNS."""
    meta = deployment.metadata
    return f"{meta.name}.{meta.namespace}.svc.{settings.cluster_domain}"
