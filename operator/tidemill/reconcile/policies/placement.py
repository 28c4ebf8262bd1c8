"""Policy: which server pods of a pool hold a Deployment's model.

Rendezvous hashing: each Deployment ranks all servers by a hash of both names, so that a server more or less moves only
the placements that must move. A server that holds the model already is preferred, and one that has just stopped being
ready keeps its placements for a while: a restarted server loads its models faster than another one would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

UNREADY_GRACE = 60.0
"""Seconds that a server may be unready before its placements are made elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A server that the pool should have."""

    pod: str
    ready: bool
    """Whether it answers."""
    manned: bool = True
    """Whether its agent is there too, so that it can be given something to load."""
    unready_seconds: float = 0.0
    """Since when it is not ready, or missed; 0 for a pod that is only about to be made."""
    others: int = 0
    """Placements of other Deployments on it."""

    @property
    def usable(self) -> bool:
        """Whether it answers, or may be expected to do so soon."""
        return self.ready or self.unready_seconds < UNREADY_GRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The servers chosen, and why they are fewer than asked for."""

    pods: tuple[str, ...]
    shortage: Literal["Servers", "Ready", "Capacity"] | None = None
    """Servers: the pool has too few. Ready: too few are ready. Capacity: the ready ones are full."""
    reconsider_after: float | None = None
    """Seconds after which an unready server loses its placements, if it still is unready."""


def rank(deployment: str, pod: str) -> bytes:
    """The weight of a server for a Deployment: the same for ever, unrelated between Deployments."""
    return hashlib.sha256(f"{deployment}/{pod}".encode()).digest()


def choose_servers(
    *, deployment: str, replicas: int, servers: Sequence[Candidate], holding: Collection[str], capacity: int
) -> Placement:
    """The servers for a Deployment: holders that are usable, then ready ones with room, then holders that are down."""
    ranked = sorted(servers, key=lambda s: rank(deployment, s.pod), reverse=True)
    holders = [s for s in ranked if s.pod in holding]
    room = [s for s in ranked if s.pod not in holding and s.ready and s.manned and s.others < capacity]
    order = [
        *(s for s in holders if s.ready),
        *(s for s in holders if not s.ready and s.usable),
        *room,
        *(s for s in holders if not s.usable),
    ]
    chosen = order[:replicas]
    waiting = [UNREADY_GRACE - s.unready_seconds for s in chosen if not s.ready and s.usable]
    return Placement(
        pods=tuple(sorted(s.pod for s in chosen)),
        shortage=_shortage(replicas - len(chosen), replicas, servers),
        reconsider_after=min(waiting, default=None),
    )


def _shortage(
    missing: int, replicas: int, servers: Sequence[Candidate]
) -> Literal["Servers", "Ready", "Capacity"] | None:
    if missing <= 0:
        return None
    if len(servers) < replicas:
        return "Servers"
    return "Ready" if any(not (s.ready and s.manned) for s in servers) else "Capacity"
