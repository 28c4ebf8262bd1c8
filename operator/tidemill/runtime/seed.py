"""Seeding: our own paged LIST of a kind, into the indices. At the start, and whenever a watch had to begin anew.

kopf would hold every listed object in a task of its own until all kinds are listed, and does not report deletions that a
re-list hides. So the informer answers kopf's LIST with an empty page and seeds here: less memory, a barrier over all
kinds, and no ghosts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping

from tidemill.contract.names import MANAGED_BY, MANAGED_BY_VALUE
from tidemill.kube.client import Client
from tidemill.kube.errors import ApiError
from tidemill.kube.lists import pages
from tidemill.kube.resources import OURS, ResourceType
from tidemill.runtime.history import Dimension, History
from tidemill.runtime.indices import EVERYTHING, Indices
from tidemill.runtime.intake import Intake

NOTHING = "metadata.name=tidemill-matches-no-object"
"""A field selector: a list of it costs nothing and has a resourceVersion."""
PAGE = 200
"""Objects in memory as the API server sent them are several times larger than what is kept: few at a time."""
_ATTEMPTS = 3
_log = logging.getLogger("tidemill.seed")


def selector(kind: str) -> str | None:
    """The label selector under which a kind is listed and watched: children only when they are ours."""
    return None if kind in OURS else f"{MANAGED_BY}={MANAGED_BY_VALUE}"


class Seeder:
    """Knows which kinds were listed, and when each watch was last seen alive."""

    def __init__(
        self, client: Client, indices: Indices, intake: Intake, types: Iterable[ResourceType], namespaces: Iterable[str]
    ) -> None:
        self._client = client
        self._indices = indices
        self._intake = intake
        self._spaces = tuple(namespaces) or ("",)
        self.history = History(indices)
        self.dimensions: Mapping[str, tuple[ResourceType, str]] = {}
        """By the path of the collection."""
        self._seeded: set[Dimension] = set()
        self._alive: dict[Dimension, float] = {}
        self._turn = asyncio.Lock()  # one list at a time: the memory of a start is one page's
        self.cut = asyncio.Event()
        """Set when a watch ended before its time: the resync shall come sooner."""
        self.synced = asyncio.Event()
        """Set when every kind is listed: before that nothing may be reconciled."""
        self.watch(types)

    def watch(self, types: Iterable[ResourceType]) -> None:
        """These are the kinds to list, from now on. What was known of others is forgotten."""
        self.dimensions = {type_.path(space or None): (type_, space) for type_ in types for space in self._spaces}
        wanted = {(type_.kind, space) for type_, space in self.dimensions.values()}
        for kind, space in self._seeded - wanted:
            for entry in self._indices.all(kind, space or None):
                self._intake.deleted(entry.obj)
        self._seeded &= wanted
        self._alive = {dimension: at for dimension, at in self._alive.items() if dimension in wanted}

    async def seed(self, type_: ResourceType, namespace: str) -> None:
        """List a kind into the indices and drop what is not there any more."""
        started = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._turn:
                    count = await self._list(type_, namespace)
                break
            except ApiError as error:
                # The list took longer than the API server keeps its snapshot: begin again.
                if not error.expired or attempt == _ATTEMPTS:
                    raise
        self._seeded.add((type_.kind, namespace))
        self.touch(type_, namespace)
        _log.debug("listed %d %s in %.1f s", count, type_.plural, time.monotonic() - started)
        if len(self._seeded) == len(self.dimensions):
            self.synced.set()

    async def _list(self, type_: ResourceType, namespace: str) -> int:
        kind, listed, version = type_.kind, set[str](), 0
        newest, before = self._indices.newest(kind), set(self._indices.all(kind, namespace or None))
        back, shard = self.history.is_behind((kind, namespace)), self._intake.shard
        chosen, fields = selector(kind), shard.field_selector()
        found = pages(self._client, type_, namespace=namespace or None, selector=chosen, fields=fields, limit=PAGE)
        async for items, version in found:
            if not back and self.history.contradicted(kind, items, version, newest=newest):
                back = True
                self.history.went_back(kind, version)
            for item in items:
                if not shard.admits(item["metadata"].get("namespace", "")):
                    continue
                listed.add(item["metadata"]["uid"])
                self._intake.observed(item, listed=EVERYTHING if back else version)
            del items
            await asyncio.sleep(0)  # a page is milliseconds of work: let the lease be renewed in between
        for entry in self._indices.all(kind, namespace or None):
            older = entry.version <= version or (back and entry in before)
            if older and entry.uid not in listed:
                self._intake.deleted(entry.obj)
        if back:
            self._indices.rewind(kind, version)  # what has just been forgotten was of the lost history
        return len(listed)

    async def is_behind(self, type_: ResourceType, namespace: str, since: int) -> bool:
        """Whether the server has not come as far as this version: it will say nothing to a watch that goes on from there."""
        answer = await self._client.request(
            "list",
            type_.path(namespace or None),
            kind=type_.kind,
            query={"limit": "1", "fieldSelector": NOTHING},
            attempts=1,
        )
        version = int(answer["metadata"]["resourceVersion"])
        if version < since:
            self.history.went_back(type_.kind, version)
        return version < since

    def touch(self, type_: ResourceType, namespace: str) -> None:
        """The watch of a kind has just connected or said something."""
        self._alive[type_.kind, namespace] = time.monotonic()

    def age(self) -> float:
        """Seconds since the most silent watch was last seen alive."""
        now = time.monotonic()
        return max((now - at for at in self._alive.values()), default=0.0)

    def missing(self) -> list[str]:
        """Kinds that are not listed yet."""
        wanted = {(type_.kind, space) for type_, space in self.dimensions.values()}
        return sorted({kind for kind, _ in wanted - self._seeded})
