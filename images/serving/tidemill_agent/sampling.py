"""The two loops behind sampling: reading the tap, and storing the inference log. A slow store never stops the reading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tidemill_agent import log
from tidemill_agent.consumer import Consumer
from tidemill_agent.errors import AgentError
from tidemill_agent.inferencelog import MEDIA_TYPE, File, InferenceLog
from tidemill_agent.store import Store

READ_SECONDS = 0.5
STORE_SECONDS = 1.0
MAX_BACKOFF = 30.0
FINISH_SECONDS = 20.0
"""The pod's grace period leaves this much for the last rows."""


class Sampling:
    """Reads, counts, stores."""

    def __init__(self, *, consumer: Consumer, inference_log: InferenceLog, store: Store) -> None:
        self._consumer, self._log, self._store = consumer, inference_log, store
        self.read_at = 0.0
        """Monotonic time at which the tap was last read."""

    async def read(self, ready: Callable[[], bool]) -> None:
        """Count new samples, for ever; from when it is known what is loaded, for before that there are no bins."""
        while not ready():
            self.read_at = time.monotonic()
            await asyncio.sleep(READ_SECONDS)
        while True:
            more = await asyncio.to_thread(self._consumer.poll, time.time())
            self.read_at = time.monotonic()
            await asyncio.sleep(0 if more else READ_SECONDS)

    async def store_due(self) -> None:
        """Store what is due, for ever; ever more slowly while the store is down."""
        failures = 0
        while True:
            failed = await self._store_files(self._log.take(time.time()))
            failures = failures + 1 if failed else 0
            await asyncio.sleep(min(STORE_SECONDS * 2**failures, MAX_BACKOFF))

    async def finish(self) -> None:
        """Read what Triton left, store everything: the process ends."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                while await asyncio.to_thread(self._consumer.poll, time.time()):
                    pass
                await self._store_files(self._log.take(time.time(), everything=True))
        except TimeoutError:
            log.warn("rows of the inference log are left unstored", bytes=self._log.bytes)

    async def _store_files(self, files: list[File]) -> bool:
        """Store files one after the other; the first failure puts back the rest. Says whether there was one."""
        for index, file in enumerate(files):
            try:
                await asyncio.to_thread(self._put, file)
            except (AgentError, OSError) as error:
                log.warn("the inference log cannot be stored now", uri=file.uri, reason=str(error))
                for waiting in files[index:]:
                    self._log.failed(waiting)
                return True
            self._log.stored(file)
        return False

    def _put(self, file: File) -> None:
        self._log.storing(file)
        self._store.put(file.uri, file.encode(), media_type=MEDIA_TYPE)
