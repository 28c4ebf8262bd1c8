"""The agent as a whole: its parts, how they are wired, and how it ends."""

from __future__ import annotations

import asyncio
import time

import aiohttp
from prometheus_client import generate_latest

from tidemill.kube.client import Client
from tidemill_agent.artifacts import ArtifactCache
from tidemill_agent.consumer import Consumer
from tidemill_agent.control import Control, DroppedSamples
from tidemill_agent.counters import Counters
from tidemill_agent.endpoints import application, serve
from tidemill_agent.environment import Environment
from tidemill_agent.inferencelog import InferenceLog
from tidemill_agent.journal import Journal
from tidemill_agent.loader import Loader
from tidemill_agent.monitor import Monitor
from tidemill_agent.placements import Placements
from tidemill_agent.reconciler import Reconciler
from tidemill_agent.repository import CACHE, Repository
from tidemill_agent.sampling import Sampling
from tidemill_agent.selfmetrics import registry
from tidemill_agent.status import Publisher
from tidemill_agent.store import Store
from tidemill_agent.trace import MINIMUM_VERSION, Trace
from tidemill_agent.trace_spool import TraceSpool
from tidemill_agent.triton import Triton

STALE_SECONDS = 120.0
"""A loop that has not come round for so long is stuck."""


class Agent:
    """One agent, for one pod."""

    def __init__(
        self,
        environment: Environment,
        client: Client,
        session: aiohttp.ClientSession,
        *,
        minimum_for_trace: tuple[int, ...] = MINIMUM_VERSION,
    ) -> None:
        env = environment
        self._environment = env
        self._started = time.monotonic()
        triton, store = Triton(session, env.triton_url), Store(endpoint=env.endpoint, region=env.region)
        self._counters = Counters(env.namespace)
        self._dropped = DroppedSamples(env.namespace, env.tap_dir)
        journal = Journal(env.tap_dir)
        self._log = InferenceLog(
            bucket=env.bucket,
            namespace=env.namespace,
            pod=env.pod,
            pod_uid=env.pod_uid,
            flush_rows=env.flush_rows,
            flush_seconds=env.flush_seconds,
            buffer_bytes=env.buffer_bytes,
            journal=journal,
        )
        cache = ArtifactCache(env.models_dir / CACHE, store)
        repository = Repository(env.models_dir)
        loader = Loader(triton, repository, cache, self._counters)
        self.placements = Placements(client, namespace=env.namespace, pod=env.pod, changed=self._changed)
        self.publisher = Publisher(client, self.placements, namespace=env.namespace, pod_uid=env.pod_uid)
        self.reconciler = Reconciler(
            placements=self.placements, loader=loader, publisher=self.publisher, settled=self._settled
        )
        trace = Trace(triton, env.tap_dir, minimum=minimum_for_trace)
        self.monitor = Monitor(
            triton=triton,
            placements=self.placements,
            reconciler=self.reconciler,
            loader=loader,
            repository=repository,
            cache=cache,
            pod_uid=env.pod_uid,
            tap_available=lambda: self._dropped.available,
            trace=trace,
        )
        spool = TraceSpool(env.tap_dir, env.tap_max_bytes, batched=trace.batched, dropped=self._dropped.add)
        consumer = Consumer(env.tap_dir, self._counters, self._log, spool, journal)
        self.sampling = Sampling(consumer=consumer, inference_log=self._log, store=store)
        self._control = Control(env.tap_dir)
        self._registry = registry(self.reconciler, self.monitor, self.publisher, self._log)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then store what waits. A part that fails ends the process: the kubelet restarts it."""
        app = application(metrics=self.metrics, healthy=self.unhealthy, ready=self.unready)
        runner = await serve(app, self._environment.port)
        try:
            async with asyncio.TaskGroup() as group:
                parts = [
                    group.create_task(part)
                    for part in (
                        self.placements.run(),
                        self.publisher.run(),
                        self.reconciler.run(),
                        self.monitor.run(),
                        self.sampling.read(lambda: self.monitor.ready),
                        self.sampling.store_due(),
                    )
                ]
                await stop.wait()
                for part in parts:
                    part.cancel()
            await self.sampling.finish()
        finally:
            await runner.cleanup()

    def _changed(self, deployment: str) -> None:
        self.reconciler.enqueue(deployment)

    def _settled(self) -> None:
        """After each pass: what is held now is sampled as its placement says."""
        self.monitor.settled()
        held = self.reconciler.held
        percents = {p.resource.spec.deployment: p.resource.spec.sampling_percent for p in self.placements.all()}
        self._control.write({name: percent for name, percent in percents.items() if name in held})
        self._dropped.retain(percents)

    def unhealthy(self) -> str:
        """What is stuck."""
        stale = time.monotonic() - max(self.sampling.read_at, self._started) > STALE_SECONDS
        return "the tap's segments are no longer read" if stale else ""

    def unready(self) -> str:
        """What keeps requests away."""
        if not self.placements.synced.is_set():
            return "the placements are not listed yet"
        return "" if self.monitor.ready else "Triton does not answer, or its models are not loaded yet"

    def metrics(self) -> str:
        """Everything for Prometheus."""
        self._counters.forget(time.monotonic())
        return self._counters.render() + self._dropped.render() + generate_latest(self._registry).decode()
