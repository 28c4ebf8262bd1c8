"""Tidemill's client. It has no watch of its own (kopf watches): here its session reads the lines of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import orjson
from tests.bench.clients.candidates.plain import CONTENT_TYPES, LINE_LIMIT, Plain
from tests.bench.clients.objects import runs_path

from tidemill.kube import client as module
from tidemill.kube.client import Client
from tidemill.kube.config import load


def _codec(name: str) -> Any:
    """Something with the functions of orjson."""
    if name == "msgspec":
        import msgspec

        return SimpleNamespace(
            loads=msgspec.json.decode, dumps=msgspec.json.encode, JSONDecodeError=msgspec.DecodeError
        )
    if name == "json":
        return SimpleNamespace(
            loads=json.loads, dumps=lambda value: json.dumps(value).encode(), JSONDecodeError=json.JSONDecodeError
        )
    return orjson


class Candidate(Plain):
    """Our client, with another codec or number of connections when asked."""

    def __init__(self, *, codec: str = "orjson", connections: int = 16) -> None:
        self._codec = _codec(codec)
        self._connections = connections

    async def open(self) -> None:
        module.orjson = self._codec  # type: ignore[attr-defined]
        self._client = await Client(load(), connections=self._connections).__aenter__()

    async def close(self) -> None:
        await self._client.__aexit__(None, None, None)

    async def send(self, verb: Any, path: str, query: Mapping[str, str], body: Any = None) -> Any:
        content_type = CONTENT_TYPES.get(verb, "")
        return await self._client.request(
            verb, path, kind="bench", query=query, body=body, content_type=content_type, timeout=60.0
        )

    async def watch(self, namespace: str, count: int) -> int:
        session, connection = self._client._session, self._client.connection
        assert session is not None
        seen = 0
        url = f"{connection.server}{runs_path(namespace)}?watch=true"
        async with session.get(url, read_bufsize=LINE_LIMIT) as response:
            async for line in response.content:
                if self._codec.loads(line)["object"]["metadata"]["name"]:
                    seen += 1
                if seen == count:
                    response.close()
                    return seen
        return seen
