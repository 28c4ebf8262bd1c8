"""Scaling a pool down: a server stays until what it answers with answers elsewhere, but not for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tidemill.api.durations import parse_time
from tidemill.api.v1alpha1.modelplacement import ModelPlacement
from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.statefulset import pool_name
from tidemill.contract.reasons import Reason
from tidemill.reconcile.conditions import ConditionSet
from tidemill.reconcile.observed import Object
from tidemill.reconcile.servers import Loaded, server_pod
from tidemill.reconcile.serving import listed
from tidemill.reconcile.typed import typed

SCALED_DOWN = "ScaledDown"
"""Only there, and False, while servers stay longer than the spec asks for. Its time is when that began."""
PATIENCE = 300.0
"""Seconds that a server stays for what cannot be placed elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How many servers the StatefulSet is to have, and when that must be looked at again."""

    replicas: int
    reconsider_after: float | None = None
    message: str = ""
    """What is waited for, while that is more than the spec asks for."""


def servers_kept(
    pool: ServingPool,
    stateful: Object | None,
    pods: Sequence[Object],
    placements: Sequence[Object],
    conditions: ConditionSet,
    now: datetime,
) -> Kept:
    """The spec's number, or more while servers beyond it answer; says so in a condition."""
    wanted = pool.spec.replicas
    busy = _busy(pool, stateful, pods, placements)
    before = pool.status.condition(SCALED_DOWN)
    since = parse_time(before.last_transition_time) if before else now
    left = PATIENCE - (now - since).total_seconds()
    # To none at all is the wish that nothing answers: there is nowhere to move to.
    if not busy or not wanted or left <= 0:
        if not busy or not wanted:
            conditions.remove(SCALED_DOWN)
        return Kept(replicas=wanted)
    deployments = sorted({name for names in busy.values() for name in names})
    message = (
        f"{listed([_pod(pool, n) for n in sorted(busy)])} will go when what it serves ({listed(deployments)}) answers "
        f"elsewhere, at the latest after {PATIENCE:.0f} s"
    )
    conditions.set(SCALED_DOWN, False, Reason.SERVERS_LEAVING, message)
    return Kept(replicas=max(busy) + 1, reconsider_after=left, message=message)


def _busy(
    pool: ServingPool, stateful: Object | None, pods: Sequence[Object], placements: Sequence[Object]
) -> dict[int, set[str]]:
    """The Deployments that are answered by the servers that are too many, by the server's number."""
    present = int(((stateful or {}).get("spec") or {}).get("replicas") or 0)
    numbers = {_pod(pool, number): number for number in range(pool.spec.replicas, present)}
    servers = {pod["metadata"]["name"]: server_pod(pod) for pod in pods if pod["metadata"]["name"] in numbers}
    busy: dict[int, set[str]] = {}
    for obj in placements:
        name = obj["spec"].get("pod")
        if name in servers and Loaded(placement=typed(ModelPlacement, obj), pod=servers[name]).routable:
            busy.setdefault(numbers[name], set()).add(obj["spec"]["deployment"])
    return busy


def _pod(pool: ServingPool, number: int) -> str:
    return f"{pool_name(pool.metadata.name)}-{number}"
