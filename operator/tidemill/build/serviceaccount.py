"""The identity of a pool's agents."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.metadata import metadata, owner_labels
from tidemill.contract.names import child_name

Manifest = dict[str, Any]


def agent_account_name(pool: str) -> str:
    """`tidemill-agent-<pool>`."""
    return child_name("tidemill-agent", pool)


def agent_service_account(pool: ServingPool) -> Manifest:
    """The ServiceAccount; its token is mounted by the pod's spec into the agent's container only."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(
            name=agent_account_name(pool.metadata.name),
            namespace=pool.metadata.namespace,
            labels=owner_labels(pool.ref),
        ),
        "automountServiceAccountToken": False,
    }
