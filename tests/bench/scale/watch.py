"""A watch of the bench's own: LIST, then events for ever; independent of kopf and of the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson

from tidemill.kube.client import Client
from tidemill.kube.lists import pages
from tidemill.kube.resources import ResourceType

Raw = dict[str, Any]
OnEvent = Callable[[str, Raw], None]
"""Called with ADDED, MODIFIED or DELETED and the object."""
_LINE_LIMIT = 1 << 21


async def follow(
    client: Client, type_: ResourceType, on_event: OnEvent, *, listed: asyncio.Event, selector: str | None = None
) -> None:
    """Call `on_event` for every object that there is, set `listed`, and go on with every change until cancelled."""
    while True:
        version = 0
        async for items, at in pages(client, type_, selector=selector):
            version = at
            for item in items:
                on_event("ADDED", item)
        listed.set()
        await _stream(client, type_, on_event, selector, version)


async def _stream(client: Client, type_: ResourceType, on_event: OnEvent, selector: str | None, version: int) -> None:
    """Events from a version on, over as many connections as it takes, until that version is too old."""
    connection = client.connection
    headers = {"Authorization": f"Bearer {connection.token.get()}"} if connection.token else {}
    tls = connection.tls if connection.tls is not None else False
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls), headers=headers, read_bufsize=_LINE_LIMIT
    ) as session:
        at = str(version)
        while True:
            query = {"watch": "1", "resourceVersion": at, "allowWatchBookmarks": "true"}
            if selector:
                query["labelSelector"] = selector
            try:
                async with session.get(
                    f"{connection.server}{type_.path()}", params=query, timeout=aiohttp.ClientTimeout(total=None)
                ) as answer:
                    if answer.status == 429 or answer.status >= 500:
                        await asyncio.sleep(0.5)  # its watch cache is being filled, for instance
                        continue
                    answer.raise_for_status()
                    async for line in answer.content:
                        event = orjson.loads(line)
                        if event["type"] == "ERROR":
                            return  # 410: the version is too old, list again
                        at = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            on_event(event["type"], event["object"])
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                await asyncio.sleep(0.5)  # the API server is not there for a moment
