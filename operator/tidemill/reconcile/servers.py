"""The server pods of a pool and what is loaded on them, read from the cache."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tidemill.api.durations import parse_time
from tidemill.api.v1alpha1.modelplacement import ModelPlacement
from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.statefulset import pool_name
from tidemill.reconcile.observed import Object, Observed
from tidemill.reconcile.policies.placement import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPod:
    """What matters of a server pod."""

    name: str
    uid: str
    ip: str
    node: str | None
    ready: bool
    """Ready, with an address, and not being deleted."""
    since: str | None
    """When Ready changed last, or the pod was made."""


def server_pod(obj: Object) -> ServerPod:
    """A Pod as a server."""
    meta, status = obj["metadata"], obj.get("status") or {}
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    ip = status.get("podIP") or ""
    return ServerPod(
        name=meta["name"],
        uid=meta.get("uid", ""),
        ip=ip,
        node=(obj.get("spec") or {}).get("nodeName"),
        ready=bool(ip and ready and ready.get("status") == "True" and not meta.get("deletionTimestamp")),
        since=(ready or {}).get("lastTransitionTime") or meta.get("creationTimestamp"),
    )


def candidates(pool: ServingPool, observed: Observed, *, deployment: str, now: datetime) -> list[Candidate]:
    """The servers that the pool should have, in whatever state they are."""
    namespace = pool.metadata.namespace
    found: list[Candidate] = []
    for index in range(pool.spec.replicas):
        name = f"{pool_name(pool.metadata.name)}-{index}"
        placements = observed.select("ModelPlacement", namespace, "pod", name)
        others = sum(1 for p in placements if p["spec"].get("deployment") != deployment)
        obj = observed.get("Pod", namespace, name)
        pod = server_pod(obj) if obj else None
        unready = 0.0
        if pod and not pod.ready and pod.since:
            unready = max(0.0, (now - parse_time(pod.since)).total_seconds())
        found.append(Candidate(pod=name, ready=bool(pod and pod.ready), unready_seconds=unready, others=others))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A placement beside the pod that it is on."""

    placement: ModelPlacement
    pod: ServerPod | None

    @property
    def current(self) -> bool:
        """Whether the placement's status was written by this very pod, not by one that had its name before."""
        return self.pod is not None and self.placement.status.pod_uid == self.pod.uid

    @property
    def routable(self) -> bool:
        """Whether the pod answers requests with some version of the model."""
        return self.current and self.pod is not None and self.pod.ready and self.placement.status.serving is not None

    def serves(self, *, model_version: str, digest: str) -> bool:
        """Whether the pod answers with exactly this artifact."""
        serving = self.placement.status.serving
        return bool(self.routable and serving and serving.model_version == model_version and serving.digest == digest)

    def failed(self) -> str | None:
        """The agent's message when it could not load what the spec asks for."""
        status = self.placement.status
        if not self.current or status.state != "Failed":
            return None
        if status.observed_generation < self.placement.metadata.generation:
            return None
        return status.message or "the agent gave no message"


def placements_of(uid: str, namespace: str, observed: Observed, *, track: str) -> list[Loaded]:
    """The placements of a Deployment's track, each with its pod."""
    found = []
    for obj in observed.owned(uid, "ModelPlacement"):
        placement = ModelPlacement.model_validate(obj)
        if placement.spec.track == track:
            pod = observed.get("Pod", namespace, placement.spec.pod)
            found.append(Loaded(placement=placement, pod=server_pod(pod) if pod else None))
    return found


def addresses(loaded: Iterable[Loaded]) -> list[tuple[str, str, str | None]]:
    """(pod, IP, node) of those that can be routed to."""
    return [(item.pod.name, item.pod.ip, item.pod.node) for item in loaded if item.routable and item.pod]
