"""Lease objects: read, create, replace under the observed resourceVersion."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tidemill.kube.client import Client
from tidemill.kube.errors import ApiError
from tidemill.kube.resources import LEASE


def micro_time(moment: datetime) -> str:
    """metav1.MicroTime: RFC 3339 in UTC with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def read(client: Client, namespace: str, name: str, *, timeout: float) -> dict[str, Any] | None:
    """The Lease, or None when it does not exist."""
    try:
        found: dict[str, Any] = await client.request(
            "get", LEASE.path(namespace, name), kind="Lease", timeout=timeout, attempts=1
        )
    except ApiError as error:
        if error.not_found:
            return None
        raise
    return found


async def write(
    client: Client,
    namespace: str,
    name: str,
    *,
    spec: dict[str, Any],
    previous: dict[str, Any] | None,
    timeout: float,
) -> dict[str, Any] | None:
    """Create or replace the Lease; None when somebody else was quicker."""
    meta: dict[str, Any] = {"name": name, "namespace": namespace}
    if previous is not None:
        meta = {**previous["metadata"]}
        meta.pop("managedFields", None)
    body = {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": meta, "spec": spec}
    try:
        written: dict[str, Any] = await client.request(
            "create" if previous is None else "update",
            LEASE.path(namespace, None if previous is None else name),
            kind="Lease",
            body=body,
            timeout=timeout,
            attempts=1,
        )
    except ApiError as error:
        if error.conflict or (
            error.not_found and previous is not None
        ):  # a create is answered so without its namespace
            return None
        raise
    return written
