"""The conditions of an online Deployment: what answers, what is waited for, what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.common import VersionReference
from tidemill.api.v1alpha1.deployment import Deployment, Online
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.contract.reasons import Reason
from tidemill.reconcile.conditions import READY, ConditionSet
from tidemill.reconcile.policies.placement import Placement
from tidemill.reconcile.policies.selection import Choice
from tidemill.reconcile.policies.variant import ORIGINAL, ServedArtifact
from tidemill.reconcile.servers import Loaded
from tidemill.reconcile.serving import listed
from tidemill.reconcile.swapping import Swapping

AVAILABLE = "Available"
VARIANT_SERVED = "VariantServed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that the conditions speak of."""

    deployment: Deployment
    online: Online
    choice: Choice
    version: ModelVersion | None
    artifact: ServedArtifact | None
    pool: ServingPool | None
    servers: Placement
    swap: Swapping
    placed: tuple[Loaded, ...]
    loaded: int
    serving: VersionReference | None

    @property
    def answering(self) -> int:
        """Pods that answer with some version."""
        return sum(1 for p in self.placed if p.routable)

    @property
    def meanwhile(self) -> str:
        """What clients get until the wish is fulfilled."""
        if not self.answering:
            return "nothing answers meanwhile"
        name = self.serving.name if self.serving else "an earlier version"
        return f"{name} answers meanwhile"


def describe(situation: Situation, conditions: ConditionSet) -> None:
    """Set all conditions."""
    _ready(situation, conditions)
    _available(situation, conditions)
    _variant(situation, conditions)


def _ready(s: Situation, conditions: ConditionSet) -> None:
    if s.choice.version is None or s.artifact is None:
        conditions.reconciling(s.choice.reason, f"{s.choice.message}; {s.meanwhile}")
    elif failures := _failures(s):
        conditions.stalled(Reason.LOAD_FAILED, _load_failed(s, s.choice.version, failures))
    elif s.pool is None:
        conditions.reconciling(
            Reason.WAITING_FOR_POOL,
            f"ServingPool {s.online.pool} does not exist: create it or correct spec.online.pool; {s.meanwhile}",
        )
    elif s.servers.shortage:
        _short(s, s.pool, conditions)
    elif s.loaded < s.online.replicas:
        _loading(s, s.choice.version, conditions)
    else:
        variant = "" if s.artifact.variant == ORIGINAL else f" ({s.artifact.variant})"
        conditions.ready(
            Reason.SERVING,
            f"{s.choice.version.metadata.name}{variant} answers on {s.loaded} of {s.online.replicas} servers",
        )


def _failures(s: Situation) -> list[tuple[str, str, str]]:
    """(version, pod, message) of the wanted placements whose agent could not load; those of the chosen version first."""
    specs = [(p.placement.spec, p.failed()) for p in s.placed if p.placement.spec.pod in s.servers.pods]
    chosen = s.version.metadata.name if s.version else ""
    found = [(spec.model_version, spec.pod, message) for spec, message in specs if message]
    return sorted(found, key=lambda item: (item[0] != chosen, *item[:2]))


def _load_failed(s: Situation, version: ModelVersion, failures: list[tuple[str, str, str]]) -> str:
    failed, _, message = failures[0]
    pods = listed([pod for name, pod, _ in failures if name == failed])
    former = "" if failed == version.metadata.name else ", which answered before,"
    way_out = "set another version in spec.model, or withdraw this one's spec.stage"
    return f"{failed}{former} could not be loaded on {pods}: {message[:600].rstrip('.')}; {s.meanwhile}; {way_out}"


def _short(s: Situation, pool: ServingPool, conditions: ConditionSet) -> None:
    wanted, placed = s.online.replicas, len(s.servers.pods)
    name, size = pool.metadata.name, pool.spec.replicas
    match s.servers.shortage:
        case "Servers":
            conditions.stalled(
                Reason.NO_CAPACITY,
                f"{wanted} servers are asked for, but ServingPool {name} has {size}: raise its spec.replicas "
                f"to {wanted} or lower spec.online.replicas; {s.answering} answer",
            )
        case "Ready":
            ready = pool.status.condition(READY)
            said = f" ({ready.message})" if ready and ready.status != "True" and ready.message else ""
            conditions.reconciling(
                Reason.WAITING_FOR_POOL,
                f"{placed} of {wanted} replicas have a server: ServingPool {name} is not ready{said}; {s.meanwhile}",
            )
        case _:
            conditions.stalled(
                Reason.NO_CAPACITY,
                f"{placed} of {wanted} replicas have a server: all others of ServingPool {name} hold "
                f"{pool.spec.capacity.models} models each: raise its spec.replicas or spec.capacity.models; {s.meanwhile}",
            )


def _loading(s: Situation, version: ModelVersion, conditions: ConditionSet) -> None:
    name, wanted = version.metadata.name, s.online.replicas
    told = {pod: target.version.metadata.name for pod, target in s.swap.targets.items()}
    trying = [pod for pod, told_name in told.items() if told_name == name]
    if s.loaded:
        conditions.reconciling(
            Reason.PARTLY_SERVING, f"{name} answers on {s.loaded} of {wanted} servers, the rest follow"
        )
    elif trying:
        first = " first" if len(trying) < len(told) else ""
        conditions.reconciling(Reason.LOADING, f"{name} is being loaded on {listed(trying)}{first}; {s.meanwhile}")
    elif s.swap.hold_until:
        conditions.reconciling(
            Reason.LOADING,
            f"{name} is tried again at {format_time(s.swap.hold_until)}: after the last try a server had to load again "
            f"what answered before; {s.meanwhile}",
        )
    else:
        back = listed(sorted(set(told.values())))
        conditions.reconciling(
            Reason.LOADING, f"{back}, which answered before, is loaded again until {name} is tried; {s.meanwhile}"
        )


def _available(s: Situation, conditions: ConditionSet) -> None:
    if not s.answering:
        ready = next(c for c in conditions.build() if c.type == READY)
        conditions.set(AVAILABLE, False, ready.reason, "no server has the model loaded: see Ready")
        return
    text = "1 server answers" if s.answering == 1 else f"{s.answering} servers answer"
    conditions.set(AVAILABLE, True, Reason.SERVING, text)


def _variant(s: Situation, conditions: ConditionSet) -> None:
    """Only when a variant is asked for."""
    wanted, artifact = s.online.variant, s.artifact
    if wanted == ORIGINAL:
        conditions.remove(VARIANT_SERVED)
    elif artifact is None:
        conditions.set(VARIANT_SERVED, "Unknown", Reason.WAITING_FOR_MODEL, "no version is chosen yet")
    elif artifact.message:
        conditions.set(VARIANT_SERVED, False, artifact.reason, artifact.message)
    elif s.loaded == s.online.replicas:
        conditions.set(VARIANT_SERVED, True, Reason.SERVING, f"variant {wanted} is served")
    else:
        conditions.set(VARIANT_SERVED, False, Reason.LOADING, f"variant {wanted} is accepted and being loaded")
