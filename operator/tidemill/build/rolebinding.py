"""What a pool's agents may do: the installation's agent role, bound in the pool's namespace.

Kubernetes never changes a RoleBinding's roleRef. An upgrade to another release name or to Roles in place of a ClusterRole
therefore makes another RoleBinding, with the role in its name; the old one belongs to the pool and goes with it, and until
then it gives the agents nothing, because its role is gone.
"""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.metadata import metadata, owner_labels
from tidemill.build.serviceaccount import agent_account_name
from tidemill.build.settings import BuildSettings
from tidemill.contract.canonical import digest, short
from tidemill.contract.names import child_name

Manifest = dict[str, Any]


def role_binding_name(pool: str, settings: BuildSettings) -> str:
    """`tidemill-agent-<pool>-<which role>`."""
    return child_name(agent_account_name(pool), short(digest([settings.agent_role_kind, settings.agent_role_name])))


def agent_role_binding(pool: ServingPool, settings: BuildSettings) -> Manifest:
    """The RoleBinding of the pool's ServiceAccount to `settings.agent_role_*`."""
    namespace = pool.metadata.namespace
    name = role_binding_name(pool.metadata.name, settings)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata(name=name, namespace=namespace, labels=owner_labels(pool.ref)),
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": settings.agent_role_kind,
            "name": settings.agent_role_name,
        },
        "subjects": [
            {"kind": "ServiceAccount", "name": agent_account_name(pool.metadata.name), "namespace": namespace}
        ],
    }
