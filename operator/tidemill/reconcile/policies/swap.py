"""Policy: which of a Deployment's versions each of its servers is told to load.

A server keeps what it answers with in memory while it tries another version, and loses it when it is made anew. So a
server that has nothing is given what answered last before anything else; a new version is tried on one server first, and
the others follow only when it answers there; when one of them cannot load it, all go back. A server on which the new
version failed while the old one answers stays told: its agent tries again, ever more slowly, and its report is what
keeps the others from following.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

TRIES = 3
"""Loads of what answered before that fail until an even older version is tried: the store may only be away."""
LAST_TRIES = 6
"""Loads of the last that is left that fail until all are tried anew: by then what was away may be back."""
FIRST_HOLD, LONGEST_HOLD = 300.0, 3600.0
"""Seconds until a version is tried again after which servers lost everything: as long as the trouble is old."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What can be told apart: a version, and the artifact that stands for it, which may be a variant."""

    version: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A chosen server pod, as its placement and its agent describe it."""

    pod: str
    placed: Artifact | None = None
    """What it is told to load."""
    held: Artifact | None = None
    """What this very pod has loaded."""
    answers: bool = False
    """Whether clients are sent to it."""
    failed: bool = False
    """Whether it could not load what it is told to."""
    attempts: int = 0
    last_resort: bool = False
    """Whether it is told to load the chosen version because nothing that answered before could be loaded."""
    loaded_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """What each server is told to load."""

    targets: dict[str, Artifact]
    hold_until: datetime | None = None
    """When the chosen version is tried again; None when nothing is waited for."""
    last_resort: frozenset[str] = frozenset()
    """The pods that are told to load the chosen version because nothing that answered before could be loaded."""


def choose_targets(
    *,
    chosen: Artifact,
    earlier: Sequence[Artifact],
    established: bool,
    servers: Sequence[Server],
    troubled_since: datetime | None,
    now: datetime,
) -> Swap:
    """The targets. `earlier`: what may serve instead, what answered last first. `established`: that is `chosen` itself.

    `troubled_since`: since when the Deployment is not what it should be with the version chosen now.
    """
    everywhere = Swap(targets={s.pod: chosen for s in servers})
    answering = [s for s in servers if s.answers]
    if not earlier or (established and answering):
        return everywhere
    former = earlier[0]
    failing = [s for s in servers if s.placed == chosen and s.failed]
    if not established and not failing and any(s.held == chosen for s in answering):
        return everywhere
    last = [] if answering else [chosen]  # where others answer with an older one, clients would get a mix
    order = [chosen, *earlier] if established else [*earlier, *last]
    targets = {s.pod: order[0] if s.held else _restored(s, order, chosen) for s in servers}
    if established:
        return Swap(targets=targets)
    last_resort = frozenset(pod for pod, target in targets.items() if target == chosen)
    if failing:
        # One report is enough to remember; only from a server that answers with what the others do.
        keeper = next((s for s in failing if s.held == former), None)
        return Swap(targets=targets | ({keeper.pod: chosen} if keeper else {}), last_resort=last_resort)
    first = _first(answering or [s for s in servers if s.held], chosen, former)
    if first is None:
        return Swap(targets=targets, last_resort=last_resort)
    until = None if first.placed == chosen else _held_until(servers, former, troubled_since)
    if until and until > now:
        return Swap(targets=targets, hold_until=until, last_resort=last_resort)
    return Swap(targets=targets | {first.pod: chosen}, last_resort=last_resort)


def _restored(server: Server, order: Sequence[Artifact], chosen: Artifact) -> Artifact:
    """What a server that has nothing is told to load: the next in order that it may still be able to.

    A server that was made anew while it tried the chosen version begins with what answered before: the try may have
    ended it. As the last resort it stays with the chosen one.
    """
    at = order.index(server.placed) if server.placed in order else 0
    last = len(order) - 1
    if at == last and order[at] == chosen and not server.last_resort:
        at = 0
    if server.failed and server.attempts >= (TRIES if at < last else LAST_TRIES):
        at = (at + 1) % len(order)
    return order[at]


def _first(servers: Sequence[Server], chosen: Artifact, former: Artifact) -> Server | None:
    """The server that tries first: the one that does already, then by name one that answers with what the others do."""
    return min(servers, key=lambda s: (s.placed != chosen, s.held != former, s.pod), default=None)


def _held_until(servers: Sequence[Server], former: Artifact, since: datetime | None) -> datetime | None:
    """When the next try is due, if servers had to load `former` again since the trouble began."""
    again = [s.loaded_at for s in servers if since and s.held == former and s.loaded_at and s.loaded_at > since]
    if not again or since is None:
        return None
    age = (max(again) - since).total_seconds()
    return max(again) + timedelta(seconds=min(max(age, FIRST_HOLD), LONGEST_HOLD))
