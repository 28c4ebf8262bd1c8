"""The ModelPlacements of this pod, kept up to date by list and watch.

The list is paged; the watch goes on from the list's resourceVersion and from bookmarks. When the server says that a
version is too old (410), or sends something unreadable, everything is listed again; what a list no longer holds is gone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from pydantic import ValidationError
from yarl import URL

from tidemill.api.v1alpha1.modelplacement import ModelPlacement
from tidemill.contract.names import LABEL_POD, label_value
from tidemill.kube.client import Client
from tidemill.kube.errors import ApiError, ConnectionFailed
from tidemill.kube.lists import pages
from tidemill.kube.resources import OURS
from tidemill_agent import log

TYPE = OURS["ModelPlacement"]
WATCH_SECONDS = 240
SILENCE_SECONDS = WATCH_SECONDS + 30
"""A watch that is silent for longer than it may live is dead: the connection broke without a word."""
MAX_BACKOFF = 30.0


class WatchExpired(Exception):
    """The resourceVersion is too old, or the stream broke the protocol: list again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A placement as it was last seen."""

    resource: ModelPlacement
    status: dict[str, Any]
    """The status as the API server holds it."""
    seen_at: float
    """Monotonic time at which this generation was first seen."""

    @property
    def name(self) -> str:
        """The object's name."""
        return self.resource.metadata.name


class Placements:
    """The cache. `changed(deployment)` is called for each placement that is new, different or gone."""

    def __init__(self, client: Client, *, namespace: str, pod: str, changed: Callable[[str], None]) -> None:
        self._client, self._namespace, self._changed = client, namespace, changed
        self._selector = f"{LABEL_POD}={label_value(pod)}"
        self._by_name: dict[str, Placement] = {}
        self._version: str | None = None
        """The resourceVersion that the watch goes on from; None: everything must be listed."""
        self.synced = asyncio.Event()
        """Set after the first complete list."""

    def of(self, deployment: str) -> list[Placement]:
        """The deployment's placements on this pod: one, or for moments two when a track changes."""
        return [p for p in self._by_name.values() if p.resource.spec.deployment == deployment]

    def all(self) -> list[Placement]:
        """Every placement of this pod."""
        return list(self._by_name.values())

    def get(self, name: str) -> Placement | None:
        """A placement by name."""
        return self._by_name.get(name)

    async def run(self) -> None:
        """List and watch for ever."""
        failures = 0
        while True:
            started = time.monotonic()
            try:
                if self._version is None:
                    await self._list()
                async for line in self._watch():
                    self._version = self._event(line)
                    failures = 0
            except WatchExpired as expired:
                log.info("placements are listed again", reason=str(expired))
                self._version = None
            except (ApiError, ConnectionFailed, aiohttp.ClientError, TimeoutError, OSError) as error:
                failures += 1
                log.warn("placements cannot be watched now", reason=str(error) or type(error).__name__)
            # A server that ends watches at once must not be asked without a pause.
            pause = min(2.0**failures, MAX_BACKOFF) if failures or time.monotonic() - started < 1 else 0
            await asyncio.sleep(pause * (0.5 + random.random() / 2))

    async def _list(self) -> None:
        found: dict[str, dict[str, Any]] = {}
        version = 0
        try:
            async for items, at in pages(self._client, TYPE, namespace=self._namespace, selector=self._selector):
                found |= {item["metadata"]["name"]: item for item in items}
                version = at
        except ApiError as error:
            if error.expired:
                raise WatchExpired("the list's continue token expired") from error
            raise
        for gone in set(self._by_name) - set(found):
            self._remove(gone)
        for item in found.values():
            self.store(item)
        self._version = str(version)
        self.synced.set()

    async def _watch(self) -> AsyncIterator[bytes]:
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "labelSelector": self._selector,
            "resourceVersion": self._version or "",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        connection = self._client.connection
        headers = {"Accept": "application/json"}
        if connection.token is not None:
            headers["Authorization"] = f"Bearer {connection.token.get()}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_SECONDS)
        tls = connection.tls if connection.tls is not None else False
        url = URL(f"{connection.server}{TYPE.path(self._namespace)}").with_query(query)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers=headers, ssl=tls) as response,
        ):
            if response.status == 410:
                raise WatchExpired(f"resourceVersion {self._version} is too old")
            response.raise_for_status()
            async for line in _lines(response):
                yield line

    def _event(self, line: bytes) -> str:
        try:
            event = orjson.loads(line)
            kind, item = event["type"], event["object"]
            if kind == "ERROR":
                raise WatchExpired(f"the watch ended: {item.get('code')} {item.get('message')}")
            version: str = item["metadata"]["resourceVersion"]
            if kind in ("ADDED", "MODIFIED"):
                self.store(item)
            elif kind == "DELETED":
                self._remove(item["metadata"]["name"])
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise WatchExpired(f"an unreadable event: {error!r}") from error
        return version

    def store(self, item: dict[str, Any]) -> None:
        """Take an object as the API server returned it."""
        name = item["metadata"]["name"]
        try:
            resource = ModelPlacement.model_validate({**item, "status": {}})
        except ValidationError as error:
            # The schema lets none through; one of a later version of the API may come during an upgrade.
            log.warn("a placement is not readable and is left alone", placement=name, reason=str(error))
            return
        known = self._by_name.get(name)
        same = known is not None and known.resource.metadata.uid == resource.metadata.uid
        if known is not None and same and _older(resource, known.resource):
            return  # a watch may lag behind the answer to our own write
        unchanged = known is not None and same and known.resource.spec == resource.spec
        seen_at = known.seen_at if known is not None and unchanged else time.monotonic()
        self._by_name[name] = Placement(resource=resource, status=item.get("status") or {}, seen_at=seen_at)
        if known is None or not unchanged or known.status != (item.get("status") or {}):
            self._changed(resource.spec.deployment)

    def _remove(self, name: str) -> None:
        gone = self._by_name.pop(name, None)
        if gone is not None:
            self._changed(gone.resource.spec.deployment)


def _older(new: ModelPlacement, known: ModelPlacement) -> bool:
    a, b = new.metadata.resource_version, known.metadata.resource_version
    return a.isdigit() and b.isdigit() and int(a) < int(b)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
