"""What a pool's agents may do: the installation's agent role, bound in the pool's namespace."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.metadata import metadata, owner_labels
from tidemill.build.serviceaccount import agent_account_name
from tidemill.build.settings import BuildSettings

Manifest = dict[str, Any]


def agent_role_binding(pool: ServingPool, settings: BuildSettings) -> Manifest:
    """The RoleBinding of the pool's ServiceAccount to `settings.agent_role_*`."""
    name, namespace = agent_account_name(pool.metadata.name), pool.metadata.namespace
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata(name=name, namespace=namespace, labels=owner_labels(pool.ref)),
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": settings.agent_role_kind,
            "name": settings.agent_role_name,
        },
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
