"""The resync: a metadata-only LIST of every kind now and then finds what the watches missed. Normally that is nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from tidemill.kube.client import Client
from tidemill.kube.errors import ApiError, ConnectionFailed
from tidemill.kube.lists import pages
from tidemill.kube.resources import ResourceType
from tidemill.runtime.indices import Indices
from tidemill.runtime.intake import Intake
from tidemill.runtime.metrics import Metrics
from tidemill.runtime.seed import Seeder, selector

PAGE = 250
"""Small pages, and a rest after each: a change does not wait for the comparison of tens of thousands of objects."""
REST = 2.0
"""So many times as long as it took to get and compare a page: a third of one core at most, here and on the API server."""
LONGEST_REST = 1.0
GRACE_SECONDS = 3.0
"""A difference is only one when the watch has not brought it by then."""
AFTER_A_CUT_SECONDS = 30.0
"""A watch that was cut may go on in another history, of an etcd that was restored and has already passed where we were."""
_log = logging.getLogger("tidemill.resync")


class Resync:
    """Compares the indices with the API server."""

    def __init__(
        self,
        client: Client,
        *,
        indices: Indices,
        intake: Intake,
        seeder: Seeder,
        metrics: Metrics,
        interval: float,
        full_pass: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._indices = indices
        self._intake = intake
        self._seeder = seeder
        self._metrics = metrics
        self._interval = interval
        self._full_pass = full_pass
        self._sleep = sleep
        self._last = time.monotonic()

    def age(self) -> float:
        """Seconds since the last complete comparison."""
        return time.monotonic() - self._last

    async def run(self) -> None:
        """Compare until cancelled."""
        await self._seeder.synced.wait()
        self._last = passed = time.monotonic()
        while True:
            await self._pause()
            try:
                await self.compare()
            except (ApiError, ConnectionFailed) as error:
                _log.warning("resync failed, tried again in %.0f s: %s", self._interval, error)
            if time.monotonic() - passed >= self._full_pass:
                passed = time.monotonic()
                if self._intake.active:
                    _log.info("full pass over %d resources", self._intake.enqueue_all())

    async def _pause(self) -> None:
        """Wait for the interval, or until the watches that were cut have had time to connect again."""
        cut = self._seeder.cut
        try:
            async with asyncio.timeout(self._interval):
                await cut.wait()
        except TimeoutError:
            return
        await self._sleep(min(self._interval, AFTER_A_CUT_SECONDS))
        cut.clear()

    async def compare(self) -> int:
        """One comparison; how many objects were wrong."""
        fixed = 0
        for type_, namespace in self._seeder.dimensions.values():
            fixed += await self._compare(type_, namespace)
        self._last = time.monotonic()
        return fixed

    async def _compare(self, type_: ResourceType, namespace: str) -> int:
        suspects = await self._differences(type_, namespace)
        if suspects is None:
            self._fixed(type_, "history", namespace, "")
            await self._seeder.seed(type_, namespace)
            return 1
        if not suspects:
            return 0
        await self._sleep(GRACE_SECONDS)
        fixed = 0
        for (space, name), (uid, version) in suspects.items():
            entry = self._indices.entry(type_.kind, space, name)
            if version is None:  # a ghost, unless it has moved on meanwhile
                if entry is not None and entry.uid == uid:
                    fixed += await self._refresh(type_, space, name)
            elif entry is None or entry.version < version:
                fixed += await self._refresh(type_, space, name)
        return fixed

    async def _differences(
        self, type_: ResourceType, namespace: str
    ) -> dict[tuple[str, str], tuple[str, int | None]] | None:
        """What the server has and the cache has not or in an older version, and what only the cache has (no version).

        None when the server's history went back: then versions tell nothing.
        """
        suspects: dict[tuple[str, str], tuple[str, int | None]] = {}
        listed: set[str] = set()
        at, newest = 0, self._indices.newest(type_.kind)
        shard = self._intake.shard
        chosen, fields = selector(type_.kind), shard.field_selector()
        found = pages(
            self._client, type_, namespace=namespace or None, selector=chosen, fields=fields, metadata_only=True,
            limit=PAGE,
        )  # fmt: skip
        began = time.monotonic()
        async for items, version in found:
            at = version
            if self._seeder.history.contradicted(type_.kind, items, at, newest=newest):
                self._seeder.history.went_back(type_.kind, at)
                return None
            for item in items:
                meta = item["metadata"]
                if not shard.admits(meta.get("namespace", "")):
                    continue
                listed.add(meta["uid"])
                key = meta.get("namespace", ""), meta["name"]
                entry = self._indices.entry(type_.kind, *key)
                if entry is None or entry.version < int(meta["resourceVersion"]):
                    suspects[key] = meta["uid"], int(meta["resourceVersion"])
            await asyncio.sleep(min(LONGEST_REST, REST * (time.monotonic() - began)))
            began = time.monotonic()
        for entry in self._indices.all(type_.kind, namespace or None):
            if entry.uid not in listed and entry.version <= at:
                suspects.setdefault((entry.namespace, entry.name), (entry.uid, None))
        return suspects

    async def _refresh(self, type_: ResourceType, namespace: str, name: str) -> int:
        """Read one object and believe the answer."""
        known = self._indices.get(type_.kind, namespace, name)
        try:
            raw = await self._client.request("get", type_.path(namespace, name), kind=type_.kind)
        except ApiError as error:
            if not error.not_found:
                raise
            raw = None
        if known is not None and (raw is None or raw["metadata"]["uid"] != known["metadata"]["uid"]):
            self._fixed(type_, "ghost", namespace, name)
            self._intake.deleted(known)
        if raw is None:
            return int(known is not None)
        if self._intake.observed(raw):
            self._fixed(type_, "missed", namespace, name)
            return 1
        return 0

    def _fixed(self, type_: ResourceType, fix: str, namespace: str, name: str) -> None:
        self._metrics.resync_fixes.labels(type_.kind, fix).inc()
        _log.warning("%s %s %s/%s: repaired", fix, type_.kind, namespace, name)
