"""What the placements ask for against what Triton has loaded, deployment by deployment, until they agree.

Level-triggered: a pass looks at what is wanted and held now, whatever woke it. A deployment is handled by one pass at a
time, several deployments at once. A failed version is tried again, ever more slowly, or at once when the spec changes.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.modelplacement import ModelPlacementSpec, ServedVersion
from tidemill_agent import log
from tidemill_agent.errors import AgentError, LoadError, TritonUnavailable
from tidemill_agent.loader import Loader
from tidemill_agent.placements import Placement, Placements
from tidemill_agent.status import NoSampling, Publisher, Report

LOADS_AT_ONCE = 4
QUIET_SECONDS = 0.5
"""A load that is over by then is reported once, as loaded, not twice."""
MAX_BACKOFF = 300.0
LOAD_ERROR_BACKOFF, OTHER_BACKOFF = 30.0, 5.0
TRITON_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A version that the server answers with."""

    served: ServedVersion
    sampled: bool
    """Whether the backend that runs it may have a tap."""
    counted: bool
    """Whether its values are counted: not yet when an earlier process of this pod loaded it."""

    @property
    def key(self) -> tuple[int, str]:
        """What tells versions apart: a number, and the artifact, which may be another variant of the same number."""
        return self.served.version, self.served.digest


@dataclass(slots=True)
class Failure:
    """The last attempt to load a version."""

    key: tuple[int, str]
    message: str
    attempts: int
    retry_at: float


class Reconciler:
    """Keeps the server at what the placements say."""

    def __init__(
        self, *, placements: Placements, loader: Loader, publisher: Publisher, settled: Callable[[], None]
    ) -> None:
        self._placements, self._loader, self._publisher = placements, loader, publisher
        self._settled = settled
        self.held: dict[str, Held] = {}
        self.own_tap: bool | None = None
        """Whether the server's onnxruntime backend has a tap; None while that is not known yet."""
        self.no_trace: NoSampling | None = None
        """Why this server's models without a tap cannot be traced either."""
        self.loads = 0
        self.load_failures = 0
        self._failures: dict[str, Failure] = {}
        self._queue: OrderedDict[str, None] = OrderedDict()
        self._active: set[str] = set()
        self._wake = asyncio.Event()
        self.open = asyncio.Event()
        """Set while it is known what Triton holds: before that, everything would seem to be missing."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def enqueue(self, deployment: str) -> None:
        """Look at a deployment soon."""
        self._queue[deployment] = None
        self._wake.set()

    def enqueue_all(self, *, forget_failures: bool = False) -> None:
        """Look at every deployment soon."""
        if forget_failures:
            self._failures.clear()
        for deployment in {*self.held, *(p.resource.spec.deployment for p in self._placements.all())}:
            self.enqueue(deployment)

    def active(self, deployment: str) -> bool:
        """Whether a pass over the deployment runs now: what it does to the server is not over."""
        return deployment in self._active

    def busy(self, deployment: str) -> bool:
        """Whether a pass over the deployment runs or waits."""
        return deployment in self._active or deployment in self._queue

    def traced(self, held: Held) -> bool:
        """Whether only Triton's trace can sample a model."""
        return not held.sampled or self.own_tap is False

    async def run(self) -> None:
        """Work through the queue for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self.open.wait()
                self._wake.clear()
                for deployment in [d for d in self._queue if d not in self._active]:
                    if len(self._active) >= LOADS_AT_ONCE:
                        break
                    del self._queue[deployment]
                    self._active.add(deployment)
                    group.create_task(self._pass(deployment))
                await self._wake.wait()

    async def _pass(self, deployment: str) -> None:
        try:
            await self._reconcile(deployment)
        except TritonUnavailable as error:
            log.info("Triton does not answer", deployment=deployment, reason=str(error))
            self._retry_after(deployment, TRITON_SECONDS)
        except Exception as error:  # a defect must not end the agent: the old version serves on
            log.error("a pass failed unexpectedly", deployment=deployment)
            self._retry_after(deployment, MAX_BACKOFF)
            for placement in self._placements.of(deployment):
                self._report(placement, Report(state="Failed", message=f"internal error of the agent: {error!r}"))
        finally:
            self._active.discard(deployment)
            self._wake.set()
            self._settled()

    async def _reconcile(self, deployment: str) -> None:
        found = sorted(self._placements.of(deployment), key=lambda p: (p.resource.spec.track != "stable", p.name))
        if not found:
            await self._remove(deployment)
            return
        wanted, *others = found
        for other in others:
            self._report(
                other,
                Report(
                    state="Failed",
                    message=f"this pod already serves {deployment} for placement {wanted.name}; one name has one version",
                ),
            )
        spec = wanted.resource.spec
        key = spec.version, spec.artifact_digest
        held = self.held.get(deployment)
        if held is not None and held.key == key:
            self._failures.pop(deployment, None)
            await self._adopt(deployment, wanted, held)
            return
        failure = self._failures.get(deployment)
        if failure is not None and failure.key != key:
            failure = self._failures.pop(deployment) and None
        if failure is not None and failure.retry_at > time.monotonic():
            self._report_failure(wanted, failure)
            return
        await self._load(wanted, failure)

    async def _adopt(self, deployment: str, placement: Placement, held: Held) -> None:
        if not held.counted:
            try:
                await self._loader.adopt(placement.resource.spec)
            except (AgentError, OSError) as error:
                log.warn("a loaded version cannot be counted yet", deployment=deployment, reason=str(error))
                self._retry_after(deployment, OTHER_BACKOFF)
            else:
                held = self.held[deployment] = replace(held, counted=True)
                await self._tidy(deployment)
        self._report(placement, Report(state="Loaded", serving=held.served))

    async def _load(self, placement: Placement, failure: Failure | None) -> None:
        spec = placement.resource.spec
        deployment, key = spec.deployment, (spec.version, spec.artifact_digest)
        if failure is None:
            message = f"loading version {spec.version} ({spec.model_version})"
            self._report(placement, Report(state="Loading", message=message), delay=QUIET_SECONDS)
        self.loads += 1
        try:
            backend = await self._loader.load(spec)
        except TritonUnavailable:
            self._report(placement, Report(state="Loading", message="waiting for Triton to answer"), delay=5.0)
            raise
        except (AgentError, OSError) as error:
            self.load_failures += 1
            attempts = (failure.attempts if failure else 0) + 1
            # Never given up: an artifact does not change, but Triton refuses it for lack of memory too.
            base = LOAD_ERROR_BACKOFF if isinstance(error, LoadError) else OTHER_BACKOFF
            delay = min(base * 2 ** min(attempts - 1, 10), MAX_BACKOFF)
            message = (
                f"{str(error).rstrip('.')}; tried again every {delay:.0f} s" if delay == MAX_BACKOFF else str(error)
            )
            failure = self._failures[deployment] = Failure(key, message, attempts, time.monotonic() + delay)
            self._retry_after(deployment, delay)
            log.warn("a version cannot be loaded", deployment=deployment, version=spec.version, reason=str(error))
            self._report_failure(placement, failure)
        else:
            self._failures.pop(deployment, None)
            served = self._served(spec, placement.seen_at)
            self.held[deployment] = Held(served=served, sampled=backend == "onnxruntime", counted=True)
            log.info("a version serves", deployment=deployment, version=spec.version, seconds=served.load_seconds)
            self._report(placement, Report(state="Loaded", serving=served))
        await self._tidy(deployment)

    def _served(self, spec: ModelPlacementSpec, since: float) -> ServedVersion:
        return ServedVersion(
            model_version=spec.model_version,
            version=spec.version,
            digest=spec.artifact_digest,
            variant=spec.variant,
            loaded_at=format_time(datetime.now(UTC)),
            load_seconds=round(time.monotonic() - since, 3),
        )

    async def _remove(self, deployment: str) -> None:
        self._failures.pop(deployment, None)
        if self.held.pop(deployment, None) is not None:
            await self._loader.unload(deployment)
            log.info("a model is unloaded", deployment=deployment)
            await self._tidy(deployment)

    async def _tidy(self, deployment: str) -> None:
        held = self.held.get(deployment)
        self._loader.counted(deployment, held.served.version if held else None)
        wanted = {p.resource.spec.artifact_digest for p in self._placements.all()}
        await self._loader.prune(wanted | {h.served.digest for h in self.held.values()})

    def _report_failure(self, placement: Placement, failure: Failure) -> None:
        self._report(placement, Report(state="Failed", message=failure.message, attempts=failure.attempts))

    def _report(self, placement: Placement, report: Report, *, delay: float = 0.0) -> None:
        """Add what is the same for all reports: what answers requests now, and whether it is sampled."""
        held = self.held.get(placement.resource.spec.deployment)
        if report.serving is None and held is not None:
            report = replace(report, serving=held.served)
        if placement.resource.spec.sampling_percent > 0 and held is not None:
            report = replace(report, no_sampling=self.no_trace if self.traced(held) else None)
        self._publisher.publish(placement, report, delay=delay)

    def _retry_after(self, deployment: str, seconds: float) -> None:
        former = self._timers.pop(deployment, None)
        if former is not None:
            former.cancel()
        self._timers[deployment] = asyncio.get_running_loop().call_later(seconds, self.enqueue, deployment)
