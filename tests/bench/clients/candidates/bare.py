"""Sockets of the event loop and httptools, with no client library: how little a call can cost in Python.

No redirects, no proxies, no retries, no limits: a measure, not a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import httptools
import orjson
from tests.bench.clients.candidates.plain import CONTENT_TYPES, METHODS, Plain
from tests.bench.clients.objects import runs_path

from tidemill.kube.config import load

CONNECTIONS = 16


class _Wire(asyncio.Protocol):
    """One connection: a request at a time; `on_chunk` gets a body's parts instead of the waiting request."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.on_chunk: Callable[[bytes], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error or ConnectionResetError("the API server closed the connection"))

    def on_body(self, data: bytes) -> None:
        (self.on_chunk or self._body.append)(data)

    def on_message_complete(self) -> None:
        body, self._body = b"".join(self._body), []
        if self.answer is not None and not self.answer.done():
            self.answer.set_result((self._parser.get_status_code(), body))
        self._parser = httptools.HttpResponseParser(self)

    def ask(self, head: bytes, data: bytes) -> asyncio.Future[tuple[int, bytes]]:
        assert self._transport is not None
        self.answer = asyncio.get_running_loop().create_future()
        self._transport.write(head + data)
        return self.answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Candidate(Plain):
    """A fixed number of connections."""

    async def open(self) -> None:
        connection = load()
        where = urlsplit(connection.server)
        self._host = where.netloc
        loop = asyncio.get_running_loop()
        self._free: asyncio.Queue[_Wire] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            _, wire = await loop.create_connection(_Wire, where.hostname, where.port, ssl=connection.tls)
            self._free.put_nowait(wire)

    async def close(self) -> None:
        while not self._free.empty():
            self._free.get_nowait().close()

    def _head(self, method: str, path: str, content_type: str, length: int) -> bytes:
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: application/json\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        ).encode()

    async def send(self, verb: str, path: str, query: Mapping[str, str], body: Any = None) -> Any:
        data = b"" if body is None else orjson.dumps(body)
        target = f"{path}?{urlencode(query)}" if query else path
        head = self._head(METHODS[verb], target, CONTENT_TYPES.get(verb, "application/json"), len(data))
        wire = await self._free.get()
        try:
            status, raw = await wire.ask(head, data)
        finally:
            self._free.put_nowait(wire)
        if status >= 400:
            raise RuntimeError(f"{verb} {path}: {status} {raw[:200]!r}")
        return orjson.loads(raw)

    async def watch(self, namespace: str, count: int) -> int:
        wire = await self._free.get()
        seen, rest = 0, b""
        enough = asyncio.Event()

        def chunk(data: bytes) -> None:
            nonlocal seen, rest
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                seen += bool(orjson.loads(line)["object"]["metadata"]["name"])
            if seen >= count:
                enough.set()

        wire.on_chunk = chunk
        answer = wire.ask(self._head("GET", f"{runs_path(namespace)}?watch=true", "application/json", 0), b"")
        await enough.wait()
        answer.cancel()
        wire.close()
        return seen
