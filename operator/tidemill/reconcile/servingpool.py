"""ServingPool: a StatefulSet of Triton servers with agents, and how far they are."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.api.v1alpha1.servingpool import ServingPool, ServingPoolStatus
from tidemill.build.poddisruptionbudget import pool_disruption_budget
from tidemill.build.rolebinding import agent_role_binding
from tidemill.build.service import pool_service
from tidemill.build.serviceaccount import agent_service_account
from tidemill.build.statefulset import pool_name, pool_selector, pool_statefulset
from tidemill.build.triton import triton_image
from tidemill.contract.reasons import FailureReason, Reason
from tidemill.reconcile.conditions import READY, ConditionSet, finish
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Event, Plan
from tidemill.reconcile.podstate import trouble_of
from tidemill.reconcile.scaledown import servers_kept
from tidemill.reconcile.servers import server_pod

_TERMINAL = frozenset({FailureReason.IMAGE_PULL, FailureReason.UNSCHEDULABLE, FailureReason.CONTAINER_FAILED})
_SAMPLING_NOTE = "; sampling needs Triton's trace, which is sound from release 25.05 on: an older server is not sampled"


def reconcile_servingpool(pool: ServingPool, observed: Observed, context: Context) -> Plan:
    """One pass over a pool: its children, and what its servers and their placements say."""
    if pool.metadata.deletion_timestamp:
        return Plan()
    namespace, name = pool.metadata.namespace, pool.metadata.name
    generation = pool.metadata.generation
    conditions = ConditionSet(pool.status, generation=generation, now=context.now)
    stateful = observed.get("StatefulSet", namespace, pool_name(name))
    placements = observed.select("ModelPlacement", namespace, "pool", name)
    pods = observed.select("Pod", namespace, "pool", name)
    ready = sum(1 for pod in pods if server_pod(pod).manned)
    status = ServingPoolStatus(
        replicas=int(((stateful or {}).get("status") or {}).get("replicas") or 0),
        ready_replicas=ready,
        placements=len(placements),
        loaded=sum(1 for p in placements if (p.get("status") or {}).get("state") == "Loaded"),
        selector=",".join(f"{key}={value}" for key, value in sorted(pool_selector(name).items())),
    )
    if not triton_image(pool, context.settings):
        conditions.stalled(
            Reason.INVALID_SPEC,
            f"ServingPool {name} has runtime NVIDIA but there is no image: set spec.image, or images.triton in the "
            "chart's values",
        )
        return Plan(status=finish(status, conditions, generation=generation))
    kept = servers_kept(pool, stateful, pods, placements, conditions, context.now)
    if kept.message:
        conditions.reconciling(Reason.SERVERS_LEAVING, kept.message)
    else:
        _judge(pool, stateful, pods, ready, conditions)
    return Plan(
        children=_children(pool, context, kept.replicas),
        status=finish(status, conditions, generation=generation),
        events=_events(pool, conditions),
        requeue_after=kept.reconsider_after,
    )


def _children(pool: ServingPool, context: Context, replicas: int) -> tuple[Child, ...]:
    settings = context.settings
    return tuple(
        Child(manifest=manifest)
        for manifest in (
            agent_service_account(pool),
            agent_role_binding(pool, settings),
            pool_service(pool),
            pool_disruption_budget(pool),
            pool_statefulset(pool, settings, replicas=replicas),
        )
    )


def _judge(
    pool: ServingPool,
    stateful: Object | None,
    pods: Sequence[Object],
    ready: int,
    conditions: ConditionSet,
) -> None:
    wanted = pool.spec.replicas
    note = _SAMPLING_NOTE if pool.spec.runtime == "NVIDIA" else ""
    if _rolled_out(stateful, wanted) and ready == wanted:
        conditions.ready(Reason.SERVERS_READY, f"{ready} of {wanted} servers are ready{note}")
        return
    for pod in pods:
        if trouble := trouble_of(pod):
            reason, message = trouble
            text = f"{ready} of {wanted} servers are ready; {message}"
            if reason in _TERMINAL:
                conditions.stalled(reason, text)
            else:
                conditions.reconciling(reason, text)
            return
    conditions.reconciling(Reason.SERVERS_NOT_READY, f"{ready} of {wanted} servers are ready{note}")


def _rolled_out(stateful: Object | None, wanted: int) -> bool:
    """Whether the StatefulSet's controller has seen its newest spec and replaced all pods by it."""
    if stateful is None:
        return False
    status = stateful.get("status") or {}
    if int(status.get("observedGeneration") or 0) < int(stateful["metadata"].get("generation") or 0):
        return False
    if status.get("currentRevision") == status.get("updateRevision"):
        return int(status.get("replicas") or 0) == wanted
    return int(status.get("updatedReplicas") or 0) == wanted


def _events(pool: ServingPool, conditions: ConditionSet) -> tuple[Event, ...]:
    before = pool.status.condition(READY)
    now = next(c for c in conditions.build() if c.type == READY)
    if before and (before.status, before.reason) == (now.status, now.reason):
        return ()
    if now.status == "True":
        return (Event(reason=now.reason, message=now.message),)
    if now.reason in _TERMINAL:
        return (Event(reason=now.reason, message=now.message, type="Warning"),)
    return ()
