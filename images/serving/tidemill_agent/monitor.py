"""Watches Triton: that it is there, that it still has what was loaded, and that failing models really answer.

A restarted Triton is empty, and reports itself ready; a model may fail every request and still be called ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.modelplacement import ServedVersion
from tidemill_agent import log, modelconfig
from tidemill_agent.artifacts import ArtifactCache
from tidemill_agent.errors import AgentError, LoadError, TritonUnavailable
from tidemill_agent.loader import CHECK_SUFFIX, Loader
from tidemill_agent.placements import Placements
from tidemill_agent.probe import probe
from tidemill_agent.reconciler import Held, Reconciler
from tidemill_agent.repository import Repository
from tidemill_agent.trace import Trace, Wanted
from tidemill_agent.triton import IndexEntry, Triton

TICK_SECONDS = 1.0
LOOKS_AT_ONCE = 8
FULL_LOOK_SECONDS = 60.0
FAILURES_SECONDS = 30.0
TAP_SECONDS = 10.0
"""The tap writes its counters within a second of the first load; a server without them by then has none."""


class Monitor:
    """Finds out what Triton holds, and tells the reconciler."""

    def __init__(
        self,
        *,
        triton: Triton,
        placements: Placements,
        reconciler: Reconciler,
        loader: Loader,
        repository: Repository,
        cache: ArtifactCache,
        pod_uid: str,
        tap_available: Callable[[], bool],
        trace: Trace,
    ) -> None:
        self._triton, self._placements, self._reconciler = triton, placements, reconciler
        self._loader, self._repository, self._cache = loader, repository, cache
        self._pod_uid, self._tap_available, self._trace = pod_uid, tap_available, trace
        self._up = False
        self._unsettled: set[str] | None = None
        """Deployments placed here when Triton came up whose first pass is not over; None before that."""
        self._next_look = 0
        self._full_look_at = self._failures_at = 0.0
        self._loaded_since: float | None = None
        self._failures: dict[tuple[str, str], int] = {}
        self.restarts = 0

    @property
    def ready(self) -> bool:
        """Triton answers, and everything that was placed here when it came up was tried."""
        return self._up and self._unsettled is not None and not self._unsettled

    def settled(self) -> None:
        """A pass of the reconciler is over."""
        if self._unsettled:
            self._unsettled = {d for d in self._unsettled if self._reconciler.busy(d)}

    async def run(self) -> None:
        """Look once a second, for ever."""
        await self._placements.synced.wait()
        while True:
            try:
                await self._tick(time.monotonic())
            except TritonUnavailable as error:
                self._down(str(error))
            except AgentError as error:
                log.warn("Triton cannot be inspected now", reason=str(error))
            await asyncio.sleep(TICK_SECONDS)

    def _down(self, reason: str) -> None:
        if self._up:
            log.warn("Triton is not ready", reason=reason)
            self.restarts += 1
        self._up = False
        self._reconciler.open.clear()

    async def _tick(self, now: float) -> None:
        if not await self._triton.live():
            self._down("its health check fails")
            return
        if not self._up or now >= self._full_look_at or not await self._still_loaded():
            await self._look(fresh=not self._up)
            self._full_look_at = now + FULL_LOOK_SECONDS
        if now >= self._failures_at:
            self._failures_at = now + FAILURES_SECONDS
            await self._check_failing()
        self._check_tap(now)
        await self._trace.apply(self._traced(), now)

    async def _still_loaded(self) -> bool:
        held = [(name, h) for name, h in self._reconciler.held.items() if not self._reconciler.active(name)]
        first = self._next_look = self._next_look % len(held) if held else 0
        self._next_look += LOOKS_AT_ONCE
        looks = [self._triton.model_ready(n, h.served.version) for n, h in held[first : first + LOOKS_AT_ONCE]]
        return all(await asyncio.gather(*looks))

    async def _look(self, *, fresh: bool) -> None:
        """Compare Triton's index with what is held; adopt, forget, remove; then let the reconciler look at the rest."""
        held = self._reconciler.held
        before = {name: item for name, item in held.items() if not self._reconciler.active(name)}
        ready = {(e.name, e.version): e for e in await self._triton.index() if e.state == "READY"}
        if fresh:
            await self._trace.inspect()
            await asyncio.to_thread(self._repository.retain, {name for name, _ in ready})
        for name, item in before.items():
            # What a pass has changed meanwhile is newer than the index.
            if (name, str(item.served.version)) not in ready and held.get(name) is item:
                log.warn("a model is no longer loaded", deployment=name, version=item.served.version)
                del held[name]
                self._reconciler.enqueue(name)
        for entry in ready.values():
            if entry.name not in held and not self._reconciler.active(entry.name.removesuffix(CHECK_SUFFIX)):
                await self._found(entry)
        if fresh:
            self._up = True
            self._unsettled = {p.resource.spec.deployment for p in self._placements.all()}
            self._reconciler.enqueue_all(forget_failures=True)
            self._reconciler.open.set()

    async def _found(self, entry: IndexEntry) -> None:
        """A model that this process has not loaded: an earlier one has."""
        if entry.name.endswith(CHECK_SUFFIX):
            await self._loader.unload(entry.name)
            return
        marks = modelconfig.marks_of(await self._triton.config(entry.name, int(entry.version)))
        served = self._served(entry, marks)
        self._reconciler.held[entry.name] = Held(served=served, sampled=marks.backend == "onnxruntime", counted=False)
        self._reconciler.enqueue(entry.name)
        log.info("a loaded model is taken over", deployment=entry.name, version=served.version)

    def _served(self, entry: IndexEntry, marks: modelconfig.Marks) -> ServedVersion:
        for placement in self._placements.of(entry.name):
            serving: Mapping[str, Any] = placement.status.get("serving") or {}
            same = (serving.get("version"), serving.get("digest")) == (int(entry.version), marks.digest)
            if same and placement.status.get("podUid") == self._pod_uid:
                return ServedVersion.model_validate(serving)
        return ServedVersion.model_construct(
            model_version=marks.model_version,
            version=int(entry.version),
            digest=marks.digest,
            variant=marks.variant or "original",
            loaded_at=format_time(datetime.now(UTC)),
            load_seconds=0.0,
        )

    async def _check_failing(self) -> None:
        """One real inference for each model with new failures: clients may be wrong, or the model may be broken."""
        failures = await self._triton.failures()
        for name, held in list(self._reconciler.held.items()):
            key = name, str(held.served.version)
            if failures.get(key, 0) > self._failures.get(key, 0) and not self._reconciler.active(name):
                await self._canary(name, held)
        self._failures = failures

    async def _canary(self, name: str, held: Held) -> None:
        placement = next(iter(self._placements.of(name)), None)
        if placement is None or (placement.resource.spec.artifact_digest != held.served.digest):
            return
        spec = placement.resource.spec
        artifact = await asyncio.to_thread(self._cache.fetch, spec.artifact_uri, spec.artifact_digest)
        try:
            await probe(self._triton, name=name, version=spec.version, signature=artifact.signature)
        except LoadError as error:
            log.warn("a loaded model fails its canary and is loaded anew", deployment=name, reason=str(error))
            if not self._reconciler.active(name):
                del self._reconciler.held[name]
                await self._loader.unload(name)
                self._reconciler.enqueue(name)

    def _check_tap(self, now: float) -> None:
        if self._loaded_since is None and self._reconciler.held:
            self._loaded_since = now
        if self._loaded_since is None or (now - self._loaded_since < TAP_SECONDS and not self._tap_available()):
            return
        found = self._tap_available(), self._trace.problem
        if found != (self._reconciler.own_tap, self._reconciler.no_trace):
            self._reconciler.own_tap, self._reconciler.no_trace = found
            self._reconciler.enqueue_all()

    def _traced(self) -> dict[str, Wanted]:
        """The loaded models that only Triton's trace can sample."""
        found = {}
        for name, held in self._reconciler.held.items():
            placement = next(iter(self._placements.of(name)), None)
            if placement is not None and self._reconciler.traced(held) and not self._reconciler.active(name):
                percent = placement.resource.spec.sampling_percent
                found[name] = Wanted(version=held.served.version, percent=percent)
        return found
