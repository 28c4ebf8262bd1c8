"""kopf as what it is to the operator: a stream of watch events, each given to one handler.

With `initial_streaming` the stored objects come as events of the watch itself, as with the other clients. `tapped` reads
the events from the response before kopf sees them, and leaves bookmarks to kopf: it connects, follows and reconnects, but
has no event to queue, to make a task for, and to call a handler with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import kopf
import orjson
from tests.bench.clients.objects import GROUP, PLURAL, VERSION

from tidemill.kube.config import load


class _Nothing(kopf.DiffBaseStorage):
    """As in the operator: kopf remembers nothing of an object."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:  # noqa: ARG002
        return {}

    def fetch(self, *, body: Any) -> None:  # noqa: ARG002
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Nothing is kept."""


class _Tap:
    """Stands for a watch response's content: events go to `take`, and each chunk of them becomes a bookmark for kopf."""

    def __init__(self, content: aiohttp.StreamReader, take: Callable[[Any], None]) -> None:
        self._content = content
        self._take = take

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """What kopf reads: whole lines, without the events."""
        rest = b""
        async for chunk in self._content.iter_chunked(size):
            *lines, rest = (rest + chunk).split(b"\n")
            version = ""
            for line in lines:
                event = orjson.loads(line)
                if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                    self._take(event)
                    version = event["object"]["metadata"]["resourceVersion"]
                else:
                    version = ""
                    yield line + b"\n"
            if version:
                bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}
                yield orjson.dumps(bookmark) + b"\n"


class Candidate:
    """One kopf operator with one `on.event` handler."""

    def __init__(self, *, tapped: bool = False) -> None:
        self._tapped = tapped

    async def open(self) -> None:
        logging.disable(logging.WARNING)
        self._connection = load()

    async def close(self) -> None:
        """It ends with the watch."""

    async def watch(self, namespace: str, count: int) -> int:
        registry = kopf.OperatorRegistry()
        stop = asyncio.Event()
        seen = 0

        def take(event: Any) -> None:
            nonlocal seen
            seen += bool(event["object"]["metadata"]["name"])
            if seen == count:
                stop.set()

        async def tap(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            response = await handler(request)
            if "watch" in request.url.query and response.status == 200:
                response.content = _Tap(response.content, take)  # type: ignore[assignment]
            return response

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            connector = aiohttp.TCPConnector(limit=0, ssl=self._connection.tls or False)
            session = aiohttp.ClientSession(connector=connector, middlewares=(tap,) if self._tapped else ())
            return kopf.AiohttpSession(server=self._connection.server, aiohttp_session=session)

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
        async def observed(event: Any, **_: Any) -> None:
            take(event)

        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.peering.standalone = True
        settings.scanning.disabled = True
        settings.queueing.idle_timeout = 0.5
        settings.watching.initial_streaming = True
        settings.persistence.diffbase_storage = _Nothing()
        running = asyncio.create_task(
            kopf.operator(registry=registry, settings=settings, standalone=True, namespaces=[namespace], stop_flag=stop)
        )
        await stop.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return seen
