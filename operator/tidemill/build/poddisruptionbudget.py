"""How many servers of a pool a drain may take at once."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.metadata import metadata, owner_labels
from tidemill.build.statefulset import pool_name, pool_selector

Manifest = dict[str, Any]


def pool_disruption_budget(pool: ServingPool) -> Manifest:
    """One server at a time; a broken one never blocks a drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(
            name=pool_name(pool.metadata.name), namespace=pool.metadata.namespace, labels=owner_labels(pool.ref)
        ),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": pool_selector(pool.metadata.name)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
