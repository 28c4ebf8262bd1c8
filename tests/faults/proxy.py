"""A reverse proxy between an operator and the API server that loses, delays and refuses what it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web

from tidemill.kube.config import load as load_connection

HOP_BY_HOP = frozenset({"transfer-encoding", "connection", "keep-alive", "content-length"})


@dataclass(slots=True)
class Request:
    """What the operator asks."""

    method: str
    path: str
    watch: bool
    body: bytes = field(repr=False)

    @property
    def writes(self) -> bool:
        """Whether it would change something."""
        return self.method != "GET"

    @property
    def lease(self) -> bool:
        """Whether it is about leadership."""
        return "/leases" in self.path


Fault = Callable[[Request], Awaitable[web.StreamResponse | None]]
"""Called before each request is passed on: an answer in its place, None to let it through, or ConnectionResetError."""


class Proxy:
    """Listens on this machine for as long as its context lasts; `kubeconfig` leads through it."""

    def __init__(self, folder: Path, *, name: str = "proxy") -> None:
        self.kubeconfig = folder / name
        self.fault: Fault | None = None
        self.counts: Counter[str] = Counter()
        self._watches: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=30)

    @property
    def watches(self) -> int:
        """How many watches are connected."""
        return len(self._watches)

    def cut_watches(self) -> int:
        """End every watch in the middle; how many there were."""

        async def cut() -> int:
            found = list(self._watches)
            for task in found:
                task.cancel()
            return len(found)

        return asyncio.run_coroutine_threadsafe(cut(), self._loop).result(30)

    def release(self, event: asyncio.Event) -> None:
        """Set an event that a fault waits for."""
        self._loop.call_soon_threadsafe(event.set)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _serve(self) -> None:
        self._connection = load_connection(os.environ["KUBECONFIG"])
        connector = aiohttp.TCPConnector(ssl=self._connection.tls or False, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=1 << 24)
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._write_kubeconfig(runner.addresses[0][1])
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    def _write_kubeconfig(self, port: int) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "clusters": [{"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "proxy", "user": {}}],
        }
        self.kubeconfig.write_text(json.dumps(config))

    async def _handle(self, asked: web.Request) -> web.StreamResponse:
        request = Request(asked.method, asked.path, "watch" in asked.query, await asked.read())
        try:
            answer = await self.fault(request) if self.fault is not None else None
        except ConnectionResetError:
            if asked.transport is not None:
                asked.transport.abort()
            return web.Response()
        if answer is not None:
            return answer
        headers = {k: v for k, v in asked.headers.items() if k.lower() not in HOP_BY_HOP | {"host"}}
        async with self._session.request(
            request.method,
            f"{self._connection.server}{asked.raw_path}",
            headers=headers,
            data=request.body or None,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as given:
            kept = {k: v for k, v in given.headers.items() if k.lower() not in HOP_BY_HOP}
            if not request.watch:
                body = await given.read()
                return web.Response(status=given.status, headers=kept, body=body)
            stream = web.StreamResponse(status=given.status, headers=kept)
            await stream.prepare(asked)
            copying = asyncio.ensure_future(_copy(given, stream))
            self._watches.add(copying)
            try:
                await asyncio.wait([copying])
            finally:
                self._watches.discard(copying)
                copying.cancel()
            if asked.transport is not None:
                asked.transport.close()  # in the middle of a chunk, as a cut connection is
            return stream


async def _copy(answer: aiohttp.ClientResponse, stream: web.StreamResponse) -> None:
    try:
        async for chunk in answer.content.iter_any():
            await stream.write(chunk)
    except (aiohttp.ClientError, ConnectionError):
        return  # one of both sides has gone


def status(code: int, reason: str, *, retry_after: int | None = None) -> web.Response:
    """The API server's own way of refusing."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "code": code,
        "message": reason,
    }
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response(body, status=code, headers=headers)


def gone() -> web.Response:
    """A watch whose resourceVersion is too old: 200, and an ERROR event."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": "Expired",
        "code": 410,
        "message": "too old",
    }
    return web.Response(text=json.dumps({"type": "ERROR", "object": body}) + "\n", content_type="application/json")
