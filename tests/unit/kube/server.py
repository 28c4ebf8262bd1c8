"""A scripted HTTP server on loopback, for tests of the client's behaviour under faults."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from tidemill.kube.client import Client, Guard
from tidemill.kube.config import Connection, StaticToken
from tidemill.kube.ratelimit import RateLimiter

Answer = Callable[[web.Request, int], web.StreamResponse | None]
"""Answers the n-th request (from 1); None breaks the connection."""


@contextlib.asynccontextmanager
async def scripted(
    answer: Answer,
    *,
    attempts: int = 4,
    guard: Guard | None = None,
    limiter: RateLimiter | None = None,
    timeout: float = 2.0,
) -> AsyncIterator[tuple[Client, list[web.Request]]]:
    """A client of such a server, and the requests that arrived."""
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        seen.append(request)
        result = answer(request, len(seen))
        if result is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return result

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    connection = Connection(
        server=f"http://127.0.0.1:{runner.addresses[0][1]}", tls=None, token=StaticToken("secret"), namespace="default"
    )
    try:
        client = Client(connection, attempts=attempts, backoff=0.01, guard=guard, limiter=limiter, timeout=timeout)
        async with client:
            yield client, seen
    finally:
        await runner.cleanup()


def failure(status: int, reason: str, message: str = "", **headers: str) -> web.Response:
    """A metav1.Status."""
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}
    return web.json_response(body, status=status, headers=headers)
