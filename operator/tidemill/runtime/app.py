"""The application: builds the parts, starts them in order, and stops them in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from tidemill.contract.results import Progress
from tidemill.kube.client import Client
from tidemill.kube.config import Connection
from tidemill.kube.events import EventRecorder
from tidemill.kube.ratelimit import RateLimiter
from tidemill.kube.resources import WATCHABLE
from tidemill.reconcile.observed import DriftReading
from tidemill.runtime.discovery import KindsChanged, changed, require_namespaces, wait_for_kinds
from tidemill.runtime.drift_scores import DriftScores
from tidemill.runtime.driver import Driver, Reconciler
from tidemill.runtime.gauges import register_gauges
from tidemill.runtime.indices import Indices
from tidemill.runtime.informer import WATCH_SECONDS, Informer
from tidemill.runtime.intake import Intake
from tidemill.runtime.lease import Elector
from tidemill.runtime.metrics import Metrics
from tidemill.runtime.postman import Postman
from tidemill.runtime.probes import Probes
from tidemill.runtime.progress import ProgressPoller
from tidemill.runtime.prometheus import Prometheus
from tidemill.runtime.queue import WorkQueue
from tidemill.runtime.resync import Resync
from tidemill.runtime.rivals import Rivals
from tidemill.runtime.seed import Seeder
from tidemill.runtime.settings import Settings
from tidemill.runtime.shards import Shard

STALE_WATCH_SECONDS = 2.5 * WATCH_SECONDS
STALE_RESYNC_INTERVALS = 4.0
_log = logging.getLogger("tidemill.app")


class App:
    """One operator process. `run` ends when `stop` is set."""

    def __init__(
        self, settings: Settings, *, reconcilers: Mapping[str, Reconciler], connection: Connection, identity: str = ""
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.indices = Indices()
        self.queue = WorkQueue(workers=settings.workers)
        self.shard = shard = Shard(settings.shard.index, settings.shard.count)
        self.intake = Intake(self.indices, self.queue, frozenset(reconcilers), shard=shard)
        self.stop = asyncio.Event()
        self.identity = identity or f"{os.environ.get('HOSTNAME', 'tidemill')}-{uuid.uuid4().hex[:8]}"
        self._connection = connection
        self._reconcilers = reconcilers
        self._prometheus = Prometheus(settings.prometheus) if settings.prometheus.url else None
        self._lease_client = Client(connection, connections=2, hook=self.metrics.api_call)
        lease, where = settings.lease, settings.lease.namespace or connection.namespace
        self.elector = Elector(
            self._lease_client,
            lease.model_copy(update={"name": shard.lease_name(lease.name)}),
            namespace=where,
            identity=self.identity,
            on_change=self._lead,
            rivals=Rivals(self._lease_client, lease, namespace=where, shard=shard).held,
        )
        self._client = Client(
            connection,
            connections=settings.workers + 8,  # lists, the resync and events must not wait for busy workers
            hook=self.metrics.api_call,
            guard=self.elector.guard,
            limiter=RateLimiter.of(settings.client.qps, settings.client.burst, waited=self.metrics.throttle.observe),
        )
        self.seeder: Seeder | None = None
        self._resync: Resync | None = None
        self.first_pass: float | None = None
        """Seconds from the start to the end of the first pass over everything, once it is over."""
        self._started = time.monotonic()
        self.probes = Probes(
            registry=self.metrics.registry,
            healthy=self._wrong,
            ready=self._not_ready,
            name=str(shard),
            address=settings.http_address,
            port=settings.http_port,
        )
        self._postman = Postman(EventRecorder(self._client, instance=self.identity), self.metrics)
        self._progress = ProgressPoller(
            self.indices, settings.progress, changed=self.intake.trigger, active=self._is_active
        )
        self._drift = DriftScores(
            self.indices,
            self._prometheus,
            namespaces=settings.watch.namespaces,
            enqueue=self.queue.add,
            active=self._is_active,
            metrics=self.metrics,
        )
        self.indices.measurements = self
        register_gauges(
            self.metrics,
            queue=self.queue,
            indices=self.indices,
            shard=shard,
            leading=lambda: self.elector.is_leader,
            synced=lambda: self._not_ready() is None,
            watch_age=lambda: self.seeder.age() if self.seeder else 0.0,
            resync_age=lambda: self._resync.age() if self._resync else 0.0,
            first_pass=lambda: self.first_pass or 0.0,
            lease=shard.lease_name(lease.name),
            lease_transitions=lambda: self.elector.transitions,
        )

    # Measurements

    def progress(self, namespace: str, pod: str) -> Progress | None:
        """What the task in a running pod said last."""
        return self._progress.get(namespace, pod)

    def drift(self, namespace: str, policy: str) -> DriftReading | None:
        """The newest scores for a DriftPolicy."""
        return self._drift.reading(namespace, policy)

    def take_signals(self) -> None:
        """Let SIGTERM and SIGINT set `stop`. Not in other threads than the main one: there signals are not ours."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop.set)

    async def run(self) -> None:
        """Run until `stop` is set or a part fails for good."""
        self.take_signals()
        await self.probes.start()
        try:
            async with self._client, self._lease_client:
                await self._run()
        finally:
            await self.probes.stop()

    async def _run(self) -> None:
        types = await self._unless_stopped(wait_for_kinds(self._lease_client, WATCHABLE.values()))
        if types is None:
            return
        namespaces = self.settings.watch.namespaces
        await require_namespaces(self._lease_client, self.settings)
        seeder = self.seeder = Seeder(self._client, self.indices, self.intake, types, namespaces)
        self._resync = Resync(
            self._client,
            indices=self.indices,
            intake=self.intake,
            seeder=seeder,
            metrics=self.metrics,
            interval=self.settings.watch.resync_interval,
            full_pass=self.settings.watch.full_pass_interval,
        )
        informer = Informer(
            self._connection,
            types=types,
            namespaces=namespaces,
            seeder=seeder,
            intake=self.intake,
            metrics=self.metrics,
            spawned=self.take_signals,
        )
        driver = Driver(
            self._client,
            indices=self.indices,
            intake=self.intake,
            queue=self.queue,
            reconcilers=self._reconcilers,
            settings=self.settings.for_builders(),
            serves=frozenset(type_.kind for type_ in types),
            postman=self._postman,
            metrics=self.metrics,
        )
        workers = [asyncio.create_task(driver.work(), name=f"worker-{n}") for n in range(self.settings.workers)]
        background = [
            asyncio.create_task(part, name=name)
            for name, part in (
                ("lease", self.elector.run()),
                ("start", self._start(seeder)),
                ("kinds", changed(self._lease_client, WATCHABLE.values(), types)),
                ("resync", self._resync.run()),
                ("progress", self._progress.run()),
                ("drift", self._drift.run()),
                ("events", self._postman.run()),
            )
        ]
        # kopf takes every task that was made after its start for its own: it starts last and ends last.
        stop_watching = asyncio.Event()
        watching = asyncio.create_task(informer.run(stop_watching), name="informer")
        stopping = asyncio.create_task(self.stop.wait(), name="stop")
        try:
            await self._until_stopped([*workers, *background, watching], stopping)
        finally:
            await self._shut_down(workers, background, stop_watching, watching)
            stopping.cancel()

    async def _until_stopped(self, parts: Iterable[asyncio.Task[None]], stopping: asyncio.Task[Any]) -> None:
        """Wait for `stop`. A part that fails ends the process: a half-dead operator is worse than a restarted one."""
        pending: set[asyncio.Task[Any]] = {*parts, stopping}
        while not stopping.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled() and (error := task.exception()) is not None:
                    if not isinstance(error, KindsChanged):
                        _log.error("%s failed", task.get_name(), exc_info=error)
                    raise error

    async def _shut_down(
        self,
        workers: list[asyncio.Task[None]],
        background: list[asyncio.Task[None]],
        stop_watching: asyncio.Event,
        watching: asyncio.Task[None],
    ) -> None:
        """Finish what runs, give back the lease, then stop watching."""
        self.queue.close()
        _, late = await asyncio.wait(workers, timeout=self.settings.shutdown_seconds)
        if late:
            _log.warning("%d reconciles did not end in time", len(late))
        await self._postman.flush(1.0)
        self.intake.active = False
        for task in (*late, *background):
            task.cancel()
        await asyncio.wait(
            background, timeout=2.0
        )  # the elector among them: it would take back at once what is given back now
        await self.elector.release()
        await self.probes.stop()  # kopf would wait for its open connections
        stop_watching.set()
        await asyncio.wait([watching], timeout=8.0)
        watching.cancel()
        await asyncio.gather(*workers, *background, watching, return_exceptions=True)
        _log.info("stopped")

    async def _start(self, seeder: Seeder) -> None:
        """Wait for all lists, then begin."""
        await seeder.synced.wait()
        _log.info("synced in %.1f s: %d objects", time.monotonic() - self._started, sum(self.indices.count().values()))
        gc.collect()
        gc.freeze()  # what was loaded stays: the collector need not look at it again
        self._activate()
        while not self.intake.active or len(self.queue) or self.queue.running:
            await asyncio.sleep(0.05)
        self.first_pass = time.monotonic() - self._started
        _log.info("first pass over in %.1f s: %.0f writes", self.first_pass, self.metrics.total(self.metrics.writes))

    def _lead(self, leading: bool) -> None:
        if leading:
            self._activate()
        else:
            self.intake.active = False
            self.queue.clear()

    def _activate(self) -> None:
        """Begin to reconcile: once all kinds are listed and the lease is held."""
        if self.elector.is_leader and self.seeder is not None and self.seeder.synced.is_set():
            self.intake.active = True
            self.intake.enqueue_all()

    def _is_active(self) -> bool:
        return self.intake.active and self.elector.is_leader

    async def _unless_stopped(self, work: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self.stop.wait())
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait([task])
        return None

    def _not_ready(self) -> str | None:
        if self.seeder is None:
            return "waiting for the CRDs"
        if not self.seeder.synced.is_set():
            return f"not listed yet: {', '.join(self.seeder.missing())}"
        return None

    def _wrong(self) -> str | None:
        if self.seeder is None or not self.seeder.synced.is_set():
            return None  # a slow start is the readiness probe's business
        if (age := self.seeder.age()) > STALE_WATCH_SECONDS:
            return f"a watch was silent for {age:.0f} s"
        limit = STALE_RESYNC_INTERVALS * self.settings.watch.resync_interval
        if self._resync is not None and (age := self._resync.age()) > limit:
            return f"no resync for {age:.0f} s"
        return None
