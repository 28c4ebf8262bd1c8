"""kopf as what it is to the operator: a stream of watch events, each given to one handler.

With `initial_streaming` the stored objects come as events of the watch itself, as with the other clients.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
import kopf
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


class Candidate:
    """One kopf operator with one `on.event` handler."""

    async def open(self) -> None:
        logging.disable(logging.WARNING)
        self._connection = load()

    async def close(self) -> None:
        """It ends with the watch."""

    async def watch(self, namespace: str, count: int) -> int:
        registry = kopf.OperatorRegistry()
        stop = asyncio.Event()
        seen = 0

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            connector = aiohttp.TCPConnector(limit=0, ssl=self._connection.tls or False)
            session = aiohttp.ClientSession(connector=connector)
            return kopf.AiohttpSession(server=self._connection.server, aiohttp_session=session)

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
        async def observed(event: Any, **_: Any) -> None:
            nonlocal seen
            seen += bool(event["object"]["metadata"]["name"])
            if seen == count:
                stop.set()

        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.peering.standalone = True
        settings.scanning.disabled = True
        settings.watching.initial_streaming = True
        settings.persistence.diffbase_storage = _Nothing()
        running = asyncio.create_task(
            kopf.operator(registry=registry, settings=settings, standalone=True, namespaces=[namespace], stop_flag=stop)
        )
        await stop.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return seen
