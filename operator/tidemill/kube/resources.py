"""Which kinds the operator speaks of, and where each lies in the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tidemill.api.v1alpha1 import KINDS
from tidemill.contract.names import GROUP, VERSION
from tidemill.reconcile.facets import WATCHED_CHILDREN


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceType:
    """A kind's place in the API."""

    kind: str
    group: str
    """Empty for the core group."""
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As manifests spell it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL's path of the collection (in a namespace, or of the whole cluster) or of one object."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def _type(kind: str, api_version: str, plural: str, *, namespaced: bool = True) -> ResourceType:
    group, _, version = api_version.rpartition("/")
    return ResourceType(kind=kind, group=group, version=version, plural=plural, namespaced=namespaced)


OURS = {
    kind: ResourceType(kind=kind, group=GROUP, version=VERSION, plural=model.NAMES.plural)
    for kind, model in KINDS.items()
}
CHILDREN = {
    t.kind: t
    for t in (
        _type("Job", "batch/v1", "jobs"),
        _type("Pod", "v1", "pods"),
        _type("StatefulSet", "apps/v1", "statefulsets"),
        _type("Service", "v1", "services"),
        _type("EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
        _type("ServiceAccount", "v1", "serviceaccounts"),
        _type("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings"),
        _type("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
    )
}
OPTIONAL = {
    t.kind: t
    for t in (
        _type("JobSet", "jobset.x-k8s.io/v1alpha2", "jobsets"),
        _type("RayCluster", "ray.io/v1", "rayclusters"),
    )
}
"""Children of APIs that not every cluster serves: watched where it does, see runtime/optional.py."""
PROJECTS = {"JobSet": "JobSet", "RayCluster": "KubeRay"}
"""What to install to have an optional kind."""
WATCHABLE = OURS | {kind: CHILDREN[kind] for kind in WATCHED_CHILDREN}
"""By kind: what the indices can hold. Our Deployment, not that of apps/v1."""
EVENT = _type("Event", "events.k8s.io/v1", "events")
LEASE = _type("Lease", "coordination.k8s.io/v1", "leases")
NAMESPACE = _type("Namespace", "v1", "namespaces", namespaced=False)

_BY_MANIFEST = {(t.api_version, t.kind): t for t in (*WATCHABLE.values(), *OPTIONAL.values(), EVENT, LEASE, NAMESPACE)}


def type_of(manifest: Mapping[str, Any]) -> ResourceType:
    """The type of a manifest. Raises KeyError with a clear message when the operator does not know it."""
    key = manifest.get("apiVersion", ""), manifest.get("kind", "")
    try:
        return _BY_MANIFEST[key]
    except KeyError:
        raise KeyError(f"{key[0]} {key[1]} is not registered in tidemill.kube.resources") from None
