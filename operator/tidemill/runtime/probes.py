"""/healthz, /readyz and /metrics on one port."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from tidemill.runtime.settings import SettingsError

Check = Callable[[], str | None]
"""None when all is well, else what is wrong."""


class Probes:
    """A small HTTP server."""

    def __init__(
        self, *, registry: CollectorRegistry, healthy: Check, ready: Check, address: str, port: int, name: str = ""
    ) -> None:
        """`name` is added to what /readyz answers."""
        self._registry = registry
        self._healthy = healthy
        self._ready = ready
        self._name = name
        self._address = address
        self._port = port
        self._runner: web.AppRunner | None = None
        self.bound_port = 0
        """The port that is listened on, once started."""

    async def start(self) -> None:
        """Listen. Raises SettingsError when the address is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._address, self._port).start()
        except OSError as error:
            where = f"{self._address}:{self._port}"
            raise SettingsError(
                f"httpPort: nothing can listen on {where}: {error.strerror}: choose another port or httpAddress",
                key="httpPort",
            ) from error
        self.bound_port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close; once is enough."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self._healthy())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self._ready(), self._name)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(wrong: str | None, name: str = "") -> web.Response:
    text = wrong or "ok"
    return web.Response(text=f"{text}, {name}" if name else text, status=503 if wrong else 200)
