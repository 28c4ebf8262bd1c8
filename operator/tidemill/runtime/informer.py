"""kopf as informer: watches, reconnects, bookmarks and 410s are its work. Events are taken in as they arrive (stream.py)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterable
from typing import Any, cast

import aiohttp
import kopf

from tidemill.kube.config import Connection
from tidemill.kube.errors import ApiError, ConnectionFailed
from tidemill.kube.resources import ResourceType
from tidemill.runtime.history import Dimension
from tidemill.runtime.intake import Intake
from tidemill.runtime.metrics import Metrics
from tidemill.runtime.optional import OptionalKinds
from tidemill.runtime.seed import NOTHING, Seeder, selector
from tidemill.runtime.stream import EventStream, Observe

WATCH_SECONDS = 240
"""A watch is opened anew so often: a silent one is never older than this and kopf's inactivity limit together."""
_TOO_OLD = "1"
"""A watch from this resourceVersion is answered by 410, and kopf lists again."""
_log = logging.getLogger("tidemill.informer")


class Informer:
    """One kopf operator, started again when it fails."""

    def __init__(
        self,
        connection: Connection,
        *,
        types: Iterable[ResourceType],
        optional: OptionalKinds,
        namespaces: Collection[str],
        seeder: Seeder,
        intake: Intake,
        metrics: Metrics,
        spawned: Callable[[], None],
    ) -> None:
        """`spawned` is called each time kopf has started, and with that has taken the process's signals."""
        self._connection = connection
        self._types = self._watched = tuple(types)
        self._optional = optional
        self._namespaces = tuple(namespaces)
        self._seeder = seeder
        self._intake = intake
        self._metrics = metrics
        self._spawned = spawned
        self._connected: dict[Dimension, float] = {}
        """When the watches connected that began with a list."""
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    def stop(self) -> None:
        """Watch no more."""
        self._stopping.set()
        self._ended.set()

    def renew(self) -> None:
        """Begin anew with the kinds that are served by now: all are listed again, as after a failure."""
        self._ended.set()

    async def run(self) -> None:
        """Watch until `stop`. A failure of kopf (RBAC taken away, a broken stream) is logged and retried."""
        failures = 0
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            try:
                self._watched = (*self._types, *await self._optional.look())
                self._seeder.watch(self._watched)
                if self._stopping.is_set():
                    return
                self._ended = asyncio.Event()
                others = asyncio.all_tasks()
                tasks = await kopf.spawn_tasks(
                    registry=self._registry(),
                    settings=self._settings(),
                    standalone=True,
                    clusterwide=not self._namespaces,
                    namespaces=self._namespaces,
                    stop_flag=self._ended,
                )
                self._spawned()
                await kopf.run_tasks(tasks, ignored=others)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # kopf's own failures have no common type, and none may end the process
                failures = 0 if asyncio.get_running_loop().time() - started > 120 else failures + 1
                delay = min(30.0, 2.0**failures) * (0.5 + random.random() / 2)
                _log.error("watching failed, begins again in %.1f s: %s", delay, error, exc_info=failures == 1)
                try:
                    async with asyncio.timeout(delay):
                        await self._stopping.wait()
                except TimeoutError:
                    continue

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.posting.level = logging.WARNING
        settings.peering.standalone = True
        settings.scanning.disabled = True  # kinds are known at the start; CRDs need not be readable
        settings.process.ultimate_exiting_timeout = None
        settings.watching.server_timeout = WATCH_SECONDS
        settings.watching.connect_timeout = 10.0
        settings.networking.request_timeout = (
            900.0  # a LIST waits for its turn, see seed.py; our pages have their own limit
        )
        settings.networking.connect_timeout = 10.0
        settings.networking.error_backoffs = (0.5, 1, 2, 3, 5, 8)
        for type_ in self._watched:
            if chosen := selector(type_.kind):
                settings.watching.label_selectors[type_.group, type_.version, type_.plural] = chosen
        return settings

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for type_ in self._watched:
            self._register(registry, type_)
        return registry

    def _register(self, registry: kopf.OperatorRegistry, type_: ResourceType) -> None:
        async def watched(event: Any, **_: Any) -> None:
            raise AssertionError(
                f"kopf was given a {event['type']} event of {type_.kind}: stream.py is there to take it"
            )

        # kopf watches what has a handler.
        kopf.on.event(type_.group, type_.version, type_.plural, id=f"watch-{type_.plural}", registry=registry)(watched)

    def _observe(self, type_: ResourceType) -> Observe:
        """What takes in the events of a kind."""
        news, known, foreign = (self._metrics.watch_events.labels(type_.kind, n) for n in ("yes", "no", "foreign"))
        intake = self._intake

        def observe(change: str, raw: dict[str, Any]) -> None:
            if not intake.shard.admits(raw["metadata"].get("namespace", "")):
                foreign.inc()
                return
            changed = intake.deleted(raw) if change == "DELETED" else intake.observed(raw)
            (news if changed else known).inc()

        return observe

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        """A session of ours: tokens stay fresh, and LISTs are ours (see seed.py)."""
        tls = self._connection.tls
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls if tls is not None else False),
            headers={"User-Agent": "tidemill-watch", "Accept-Encoding": "identity"},
            middlewares=(self._middleware,),
        )
        return kopf.AiohttpSession(server=self._connection.server, aiohttp_session=session)

    async def _middleware(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._connection.token is not None:
            request.headers["Authorization"] = f"Bearer {self._connection.token.get()}"
        dimension = self._seeder.dimensions.get(request.url.path) if request.method == "GET" else None
        if dimension is None:
            return await handler(request)
        type_, namespace = dimension
        if "watch" in request.url.query:
            return await self._watch(type_, namespace, request, handler)
        # kopf lists before it watches. An empty page first: its resourceVersion is where the watch begins. Then our own
        # list, which is newer; events in between arrive twice and the second time is no news.
        self._connected.pop((type_.kind, namespace), None)
        request.url = request.url.update_query(fieldSelector=NOTHING, limit="1")
        response = await handler(request)
        self._notice(type_, response.status)
        if response.status == 200:
            try:
                await self._seeder.seed(type_, namespace)
                self._seeder.history.watched_anew((type_.kind, namespace))
            except (ApiError, ConnectionFailed) as error:
                response.close()
                raise aiohttp.ClientConnectionError(str(error)) from error  # kopf lists again after a pause
        return response

    async def _watch(
        self, type_: ResourceType, namespace: str, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if fields := self._intake.shard.field_selector():  # opened anew every few minutes: so it learns
            request.url = request.url.update_query(fieldSelector=fields)
        if await self._is_deaf(type_, namespace, int(request.url.query.get("resourceVersion", 0))):
            request.url = request.url.update_query(resourceVersion=_TOO_OLD)
        started = asyncio.get_running_loop().time()
        response = await handler(request)
        self._notice(type_, response.status)
        if response.status == 200:
            self._seeder.touch(type_, namespace)
            self._connected[type_.kind, namespace] = started
            response.content = cast(aiohttp.StreamReader, EventStream(response.content, self._observe(type_)))
        return response

    def _notice(self, type_: ResourceType, status: int) -> None:
        """An optional kind whose API is gone: kopf would ask for it for ever."""
        if status == 404 and type_ not in self._types:
            self._optional.gone(type_)
            self.renew()

    async def _is_deaf(self, type_: ResourceType, namespace: str, since: int) -> bool:
        dimension = type_.kind, namespace
        if self._seeder.history.is_behind(dimension):
            return True
        watched = asyncio.get_running_loop().time() - self._connected.get(dimension, float("-inf"))
        if watched > WATCH_SECONDS - 1:
            return False  # it has just been listed, or its time was over
        # A watch that was cut before its time: perhaps by a server that comes back with an older etcd.
        self._seeder.cut.set()
        try:
            return await self._seeder.is_behind(type_, namespace, since)
        except (ApiError, ConnectionFailed) as error:
            self._notice(type_, error.status if isinstance(error, ApiError) else 0)
            raise aiohttp.ClientConnectionError(str(error)) from error  # kopf tries again after a pause
