"""HTTP on the agent's port: /metrics, /healthz, /readyz."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

TEXT = "text/plain; version=0.0.4; charset=utf-8"


def application(*, metrics: Callable[[], str], healthy: Callable[[], str], ready: Callable[[], str]) -> web.Application:
    """`healthy` and `ready` say what is wrong, or nothing."""

    async def show_metrics(_: web.Request) -> web.Response:
        text = await asyncio.to_thread(metrics)
        return web.Response(body=text.encode(), headers={"Content-Type": TEXT})

    def answer(problem: str) -> web.Response:
        return web.Response(status=503 if problem else 200, text=f"{problem or 'ok'}\n")

    async def show_healthy(_: web.Request) -> web.Response:
        return answer(healthy())

    async def show_ready(_: web.Request) -> web.Response:
        return answer(ready())

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", show_metrics), web.get("/healthz", show_healthy), web.get("/readyz", show_ready)]
    )
    return app


async def serve(app: web.Application, port: int) -> web.AppRunner:
    """Listen on all addresses; the caller cleans the runner up."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner
