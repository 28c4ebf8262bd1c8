"""The server pods of a pool and what is loaded on them, read from the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tidemill.api.durations import parse_time
from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.modelplacement import ModelPlacement, ServedVersion
from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.statefulset import pool_name
from tidemill.build.triton import TRITON_CONTAINER
from tidemill.reconcile.observed import Object, Observed
from tidemill.reconcile.policies.placement import Candidate
from tidemill.reconcile.typed import typed


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPod:
    """What matters of a server pod."""

    name: str
    uid: str
    ip: str
    node: str | None
    ready: bool
    """Triton answers at an address, and the pod is not being deleted; its agent may be restarting."""
    manned: bool
    """All its containers are ready: its agent can load models."""
    started: str | None
    """When Triton's process began, if that is known: nothing that was loaded before is loaded now."""
    since: str | None
    """When `ready` may have changed last, or the pod was made."""


def server_pod(obj: Object) -> ServerPod:
    """A Pod as a server."""
    meta, status = obj["metadata"], obj.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    ready, containers_ready = conditions.get("Ready") or {}, conditions.get("ContainersReady") or {}
    statuses = {c.get("name"): c for c in status.get("containerStatuses") or ()}
    triton = statuses.get(TRITON_CONTAINER) or {}
    started = ((triton.get("state") or {}).get("running") or {}).get("startedAt")
    ended = ((triton.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
    manned = ready.get("status") == "True"
    # Of a node that is lost only the pod's Ready tells: its containers are as they were when it was heard of last.
    lost = not manned and containers_ready.get("status") == "True"
    ip = status.get("podIP") or ""
    answers = bool(ip and triton.get("ready", manned) and not lost and not meta.get("deletionTimestamp"))
    times = [t for t in (ready.get("lastTransitionTime"), started, ended) if t]
    return ServerPod(
        name=meta["name"],
        uid=meta.get("uid", ""),
        ip=ip,
        node=(obj.get("spec") or {}).get("nodeName"),
        ready=answers,
        manned=answers and manned,
        started=started,
        since=max(times, key=parse_time, default=None) or meta.get("creationTimestamp"),
    )


def candidates(pool: ServingPool, observed: Observed, *, deployment: Deployment, now: datetime) -> list[Candidate]:
    """The servers that the pool should have, in whatever state they are."""
    namespace = pool.metadata.namespace
    missing = _missing_since(pool, deployment)
    own = Counter(p["spec"].get("pod") for p in observed.owned(deployment.metadata.uid, "ModelPlacement"))
    found: list[Candidate] = []
    for index in range(pool.spec.replicas):
        name = f"{pool_name(pool.metadata.name)}-{index}"
        obj = observed.get("Pod", namespace, name)
        pod = server_pod(obj) if obj else None
        since = pod.since if pod else missing
        unready = max(0.0, (now - parse_time(since)).total_seconds()) if since and not (pod and pod.ready) else 0.0
        found.append(
            Candidate(
                pod=name,
                ready=bool(pod and pod.ready),
                manned=bool(pod and pod.manned),
                unready_seconds=unready,
                others=observed.number_of("ModelPlacement", namespace, "pod", name) - own[name],
            )
        )
    return found


def _missing_since(pool: ServingPool, deployment: Deployment) -> str | None:
    """Since when a server that does not exist is missed at the latest: by the pool, and by the Deployment.

    Nothing else tells: neither alone, for each may be in trouble for another reason, long before this server went.
    """
    times: list[str] = []
    for status in (pool.status, deployment.status):
        ready = status.condition("Ready")
        if ready is None or ready.status == "True":
            return None
        times.append(ready.last_transition_time)
    return max(times, key=parse_time)


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
    def held(self) -> ServedVersion | None:
        """What the pod's server has loaded: nothing that an earlier process of it had."""
        serving = self.placement.status.serving
        if not self.current or self.pod is None or serving is None:
            return None
        started = self.pod.started
        return None if started and parse_time(serving.loaded_at) < parse_time(started) else serving

    @property
    def routable(self) -> bool:
        """Whether the pod answers requests with some version of the model."""
        return self.pod is not None and self.pod.ready and self.held is not None

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
        placement = typed(ModelPlacement, obj)
        if placement.spec.track == track:
            pod = observed.get("Pod", namespace, placement.spec.pod)
            found.append(Loaded(placement=placement, pod=server_pod(pod) if pod else None))
    return found


def addresses(loaded: Iterable[Loaded]) -> list[tuple[str, str, str | None]]:
    """(pod, IP, node) of those that can be routed to."""
    return [(item.pod.name, item.pod.ip, item.pod.node) for item in loaded if item.routable and item.pod]
