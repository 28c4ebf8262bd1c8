"""Sends events beside the reconciles: a bounded queue and one sender, so that no reconcile waits for an event."""

from __future__ import annotations

import asyncio
import logging

from tidemill.kube.errors import ApiError, ConnectionFailed, NotLeader
from tidemill.kube.events import EventRecorder
from tidemill.reconcile.observed import Object
from tidemill.reconcile.plan import Event
from tidemill.runtime.metrics import Metrics

_LIMIT = 1000
_log = logging.getLogger("tidemill.events")


class Postman:
    """Events wait here until they are sent. When there are too many, new ones are dropped and counted."""

    def __init__(self, recorder: EventRecorder, metrics: Metrics) -> None:
        self._recorder = recorder
        self._metrics = metrics
        self._queue: asyncio.Queue[tuple[Object, Event]] = asyncio.Queue(_LIMIT)

    def post(self, obj: Object, event: Event) -> None:
        """Send soon."""
        try:
            self._queue.put_nowait((obj, event))
        except asyncio.QueueFull:
            self._metrics.events_dropped.inc()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            obj, event = await self._queue.get()
            try:
                await self._recorder.send(obj, event)
            except (ApiError, ConnectionFailed, NotLeader) as error:
                self._metrics.events_dropped.inc()
                _log.info("event %s of %s not sent: %s", event.reason, obj["metadata"]["name"], error)
            finally:
                self._queue.task_done()

    async def flush(self, seconds: float) -> None:
        """Wait until all are sent, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            _log.info("%d events were not sent before the end", self._queue.qsize())
