"""The EndpointSlice of a Deployment's track: the pods that have the model loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.build.metadata import metadata, owner_labels
from tidemill.contract.canonical import digest, short
from tidemill.contract.names import GROUP, LABEL_SERVICE, LABEL_TRACK, TRITON_GRPC_PORT, TRITON_HTTP_PORT, child_name

Manifest = dict[str, Any]

LABEL_SLICE_MANAGER = "endpointslice.kubernetes.io/managed-by"
ANNOTATION_ENDPOINTS = f"{GROUP}/endpoints"
"""`<address type>/<digest of the endpoints>`: tells from metadata alone what the slice lists."""


def slice_name(deployment: str, track: str) -> str:
    """`<deployment>-<track>`."""
    return child_name(deployment, track)


def address_type(ip: str) -> str:
    """IPv4 or IPv6. A slice can never change it."""
    return "IPv6" if ":" in ip else "IPv4"


def endpoint_slice(
    deployment: Deployment, *, track: str, family: str, pods: Sequence[tuple[str, str, str | None]]
) -> Manifest:
    """The slice that lists these (pod name, IP, node), sorted by name. `family` is IPv4 or IPv6."""
    meta = deployment.metadata
    endpoints = [_endpoint(meta.namespace, *pod) for pod in sorted(pods)]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(
            name=slice_name(meta.name, track),
            namespace=meta.namespace,
            labels={
                **owner_labels(deployment.ref, {LABEL_TRACK: track}),
                LABEL_SERVICE: meta.name,
                # Names us as the slice's keeper, so that Kubernetes' own controllers leave it alone.
                LABEL_SLICE_MANAGER: GROUP,
            },
            annotations={ANNOTATION_ENDPOINTS: f"{family}/{short(digest(endpoints))}"},
        ),
        "addressType": family,
        "endpoints": endpoints,
        "ports": [
            {"name": "http", "port": TRITON_HTTP_PORT, "protocol": "TCP", "appProtocol": "http"},
            {"name": "grpc", "port": TRITON_GRPC_PORT, "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"},
        ],
    }


def _endpoint(namespace: str, pod: str, ip: str, node: str | None) -> Manifest:
    endpoint: Manifest = {
        "addresses": [ip],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod},
    }
    if node:
        endpoint["nodeName"] = node
    return endpoint
