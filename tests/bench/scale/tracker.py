"""What an independent watch sees of our resources: who is settled, since when, and when anything moved last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from tests.bench.scale.watch import follow

from tidemill.kube.client import Client
from tidemill.kube.resources import OURS, ResourceType

Raw = dict[str, Any]
Name = tuple[str, str]
KINDS = ("ServingPool", "Dataset", "TrainingRun", "ModelVersion", "Deployment", "DriftPolicy")
_JUDGED_BY_GENERATION = frozenset({"DriftPolicy"})
"""Without a Prometheus nothing is measured and such a policy is never Ready: its status need only be of its spec."""


@dataclass(slots=True)
class Seen:
    """One object as it was seen last."""

    generation: int
    observed: int
    settled: bool
    why: str
    at: float


class Tracker:
    """Follows kinds for as long as its context lasts. Times are of `time.monotonic`, when an event arrived here."""

    def __init__(self, client: Client, *, more: tuple[ResourceType, ...] = ()) -> None:
        """`more` are children that listeners want to hear of as well."""
        self._client = client
        self._types = (*(OURS[kind] for kind in KINDS), *more)
        self._tasks: list[asyncio.Task[None]] = []
        self.seen: dict[str, dict[Name, Seen]] = {kind: {} for kind in KINDS}
        self.settled_at: dict[str, dict[Name, float]] = {kind: {} for kind in KINDS}
        """When an object was settled for the first time."""
        self.unsettled: dict[str, set[Name]] = {kind: set() for kind in KINDS}
        self.listeners: list[Callable[[Raw, float], None]] = []
        """Called with every added or modified object and the time."""
        self.moved = time.monotonic()

    async def __aenter__(self) -> Self:
        listed = [asyncio.Event() for _ in self._types]
        for type_, event in zip(self._types, listed, strict=True):
            self._tasks.append(asyncio.create_task(follow(self._client, type_, self._take, listed=event)))
        for event in listed:
            async with asyncio.timeout(60):
                await event.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, event: str, obj: Raw) -> None:
        now = self.moved = time.monotonic()
        kind, meta = obj["kind"], obj["metadata"]
        name = meta["namespace"], meta["name"]
        if kind in self.seen and obj["apiVersion"].startswith("tidemill.dev/"):
            if event == "DELETED":
                self.seen[kind].pop(name, None)
                self.unsettled[kind].discard(name)
                return
            seen = self.seen[kind][name] = _seen(kind, obj, now)
            if seen.settled:
                self.settled_at[kind].setdefault(name, now)
                self.unsettled[kind].discard(name)
            else:
                self.unsettled[kind].add(name)
        if event != "DELETED":
            for listener in self.listeners:
                listener(obj, now)

    async def until_settled(self, wanted: Mapping[str, int], seconds: float) -> float:
        """Wait until so many of each kind exist and all of the kind are settled; when the last one was, for the first time."""
        end = time.monotonic() + seconds
        while any(len(self.seen[k]) < n or self.unsettled[k] for k, n in wanted.items()):
            self._check()
            if time.monotonic() > end:
                raise TimeoutError(f"not settled in {seconds:.0f} s: {self._describe(wanted)}")
            await asyncio.sleep(0.1)
        return max(max(self.settled_at[kind].values()) for kind in wanted)

    async def until_quiet(self, quiet: float = 3.0, seconds: float = 300) -> None:
        """Wait until nothing has moved for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() - self.moved < quiet:
            self._check()
            if time.monotonic() > end:
                raise TimeoutError(f"objects still change after {seconds:.0f} s")
            await asyncio.sleep(0.1)

    def _check(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    def _describe(self, wanted: Mapping[str, int]) -> str:
        said = []
        for kind, count in wanted.items():
            open_ = self.unsettled[kind]
            example = next(iter(open_), None)
            why = f", for instance {'/'.join(example)}: {self.seen[kind][example].why}" if example else ""
            said.append(f"{kind}: {len(self.seen[kind])} of {count}, {len(open_)} not settled{why}")
        return "; ".join(said)


def _seen(kind: str, obj: Raw, now: float) -> Seen:
    status, generation = obj.get("status") or {}, int(obj["metadata"]["generation"])
    observed = int(status.get("observedGeneration") or 0)
    ready = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
    settled = observed >= generation and (kind in _JUDGED_BY_GENERATION or ready.get("status") == "True")
    why = f"observed generation {observed} of {generation}, Ready {ready.get('status')}: {ready.get('message')}"
    return Seen(generation=generation, observed=observed, settled=settled, why=why, at=now)
