"""The driver: reconciles one resource and carries out the plan. Children, patches, deletes, status, events, requeue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tidemill.build.settings import BuildSettings
from tidemill.contract.reasons import Reason
from tidemill.kube import apply
from tidemill.kube.client import Client
from tidemill.kube.errors import ApiError, NotLeader
from tidemill.kube.status import clean, merge_patch, write_status
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Event, Key, Plan
from tidemill.runtime.faults import Fault, classify, status_with
from tidemill.runtime.indices import Indices
from tidemill.runtime.intake import OWN_WRITE_DELAY, Intake
from tidemill.runtime.logs import of
from tidemill.runtime.metrics import Metrics
from tidemill.runtime.postman import Postman
from tidemill.runtime.queue import WorkQueue
from tidemill.runtime.unknown import UnknownFields

Reconciler = Callable[[Object, Observed, Context], Plan]
REPORT_AFTER = 2
"""So many failures in a row are taken for a hiccup; then the condition says what is wrong."""
SOONEST_SECONDS = 0.5
"""A plan cannot ask to be made again at once: that would be a hot loop."""
_log = logging.getLogger("tidemill.driver")


class Driver:
    """Takes keys from the queue until it is closed; run as many `work` at once as there shall be workers."""

    def __init__(
        self,
        client: Client,
        *,
        indices: Indices,
        intake: Intake,
        queue: WorkQueue,
        reconcilers: Mapping[str, Reconciler],
        settings: BuildSettings,
        serves: frozenset[str] = frozenset(),
        postman: Postman,
        metrics: Metrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._indices = indices
        self._intake = intake
        self._queue = queue
        self._reconcilers = reconcilers
        self._settings = settings
        self._serves = serves
        self._postman = postman
        self._metrics = metrics
        self._now = now
        self._refused: dict[str, dict[str, Any]] = {}
        self._unknown = UnknownFields()

    async def work(self) -> None:
        """Reconcile key after key."""
        while (key := await self._queue.take()) is not None:
            started = time.perf_counter()
            outcome, failed, after = "ok", False, None
            try:
                after = await self._reconcile(key)
            except NotLeader:
                outcome = "not_leader"
            except Exception as error:  # whatever a reconcile throws is one object's failure, not the process's
                outcome = await self._failed(key, error)
                failed = outcome != "invalid"
            finally:
                self._queue.done(key, failed=failed)
            if after is not None:
                self._queue.add_after(key, max(after, SOONEST_SECONDS))
            self._metrics.reconciles.labels(key.kind, outcome).inc()
            self._metrics.seconds.labels(key.kind).observe(time.perf_counter() - started)
            await asyncio.sleep(0)  # a pass that writes nothing never waits: hundreds of them would hold up all else

    async def _reconcile(self, key: Key) -> float | None:
        obj = self._indices.get(key.kind, key.namespace, key.name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            # The garbage collector removes children. Nothing is made for an object that is on its way out.
            self._queue.forget(key)
            if obj is None:
                self._refused.pop(str(key), None)
                self._unknown.forget(key)
            return None
        if said := self._unknown.news(key, obj):
            _log.warning("%s: %s", key, said, extra=of(key))
            self._postman.post(obj, Event(reason=Reason.UNKNOWN_FIELDS.value, message=said, type="Warning"))
        context = Context(now=self._now(), settings=self._settings, serves=self._serves)
        plan = self._reconcilers[key.kind](obj, self._indices, context)
        made = [await self._ensure(child, obj, key) for child in plan.children]
        for patch in plan.patches:
            answer = await apply.apply_patch(self._client, patch)
            self._metrics.writes.labels(patch.key.kind, "patched").inc()
            self._intake.observed(answer, writer=key)
        for victim in plan.deletes:
            await self._delete(victim, key)
        if "created" in made and not (obj.get("status") or {}).get("observedGeneration"):
            # Of what is new the children come first: its status is told by the next look, with what became of them.
            self._queue.add_after(key, OWN_WRITE_DELAY)
            return plan.requeue_after
        if plan.status is not None:
            await self._write_status(key, obj, plan.status)
        for event in plan.events:
            self._postman.post(obj, event)
        return plan.requeue_after

    async def _ensure(self, child: Child, obj: Object, key: Key) -> str:
        """Bring a child about; what that took: `none`, `created` or `applied`."""
        where = child.key
        entry = self._indices.entry(where.kind, where.namespace, where.name)
        applied = await apply.ensure(
            self._client,
            child,
            owner=obj,
            existing=entry.obj if entry else None,
            edited=entry.edited if entry else False,
            posted=entry.posted if entry else None,
        )
        if applied.object is not None:
            self._intake.observed(applied.object, writer=key)
        if applied.action != "none":
            self._metrics.writes.labels(where.kind, applied.action).inc()
            _log.info("%s %s", applied.action, where, extra=of(key))
            if applied.action == "applied":
                # An edit that left nothing of ours changed would show as one for ever: it is settled now.
                settled = self._indices.entry(where.kind, where.namespace, where.name)
                if settled is not None:
                    settled.edited = False
        return applied.action

    async def _delete(self, victim: Key, key: Key) -> None:
        existing = self._indices.get(victim.kind, victim.namespace, victim.name)
        if existing is None or existing["metadata"].get("deletionTimestamp"):
            return
        answer = await apply.delete(self._client, victim, existing)
        if answer is not None and answer.get("kind") == existing["kind"]:
            self._intake.observed(answer, writer=key)  # it stays a while: a finalizer or a grace period
        else:
            self._intake.deleted(existing, writer=key)
        self._metrics.writes.labels(victim.kind, "deleted").inc()
        _log.info("deleted %s", victim, extra=of(key))

    async def _write_status(self, key: Key, obj: Object, wanted: Mapping[str, Any]) -> None:
        """Write what differs, unless the API server has not kept the same before."""
        desired = clean(wanted)
        patch = merge_patch(obj.get("status") or {}, desired)
        if not patch or self._refused.get(str(key)) == patch:
            return
        answer = await write_status(self._client, obj, patch)
        self._metrics.writes.labels(key.kind, "status").inc()
        left = merge_patch(answer.get("status") or {}, desired)
        if left:
            # The API server keeps less than was sent, most likely because the CRD is older than the operator. Sending
            # it again and again would be a hot loop.
            self._refused[str(key)] = left
            _log.warning("the API server does not keep status fields %s: update the CRDs", sorted(left), extra=of(key))
        else:
            self._refused.pop(str(key), None)
        self._intake.observed(answer, writer=key)

    async def _failed(self, key: Key, error: Exception) -> str:
        """Log and report a failure; what to count it as."""
        obj = self._indices.get(key.kind, key.namespace, key.name)
        fault = classify(error, obj)
        self._metrics.errors.labels(key.kind, fault.reason).inc()
        level = logging.INFO if fault.expected else logging.WARNING if not fault.traceback else logging.ERROR
        _log.log(
            level, "%s: %s", fault.reason, fault.message, extra=of(key), exc_info=error if fault.traceback else None
        )
        failures = self._queue.failures(key) + 1
        if obj is not None and not fault.expected and (fault.terminal or failures >= REPORT_AFTER):
            await self._report(key, obj, fault)
        return "invalid" if fault.terminal else "stale" if fault.reason == "Stale" else "error"

    async def _report(self, key: Key, obj: Object, fault: Fault) -> None:
        self._postman.post(obj, Event(reason=fault.reason, message=fault.message, type="Warning"))
        try:
            await self._write_status(key, obj, status_with(obj, fault, now=self._now()))
        except (ApiError, NotLeader, OSError) as error:
            _log.info("the condition could not be written: %s", error, extra=of(key))
        except Exception as error:
            _log.warning("the condition could not be written: %s", error, extra=of(key))
