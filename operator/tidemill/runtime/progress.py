"""How far running tasks are: asked from their pods, each at most every few seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import aiohttp
from pydantic import ValidationError

from tidemill.contract.names import LABEL_JOB, LABEL_TASK, PROGRESS_PORT
from tidemill.contract.results import Progress
from tidemill.reconcile.observed import Object
from tidemill.runtime.indices import Indices
from tidemill.runtime.settings import ProgressSettings

TICK = 1.0
_LIMIT = 16 * 1024
_log = logging.getLogger("tidemill.progress")


class ProgressPoller:
    """Asks and remembers."""

    def __init__(
        self,
        indices: Indices,
        settings: ProgressSettings,
        *,
        changed: Callable[[Object], None],
        active: Callable[[], bool],
        port: int = PROGRESS_PORT,
    ) -> None:
        self._indices = indices
        self._settings = settings
        self._changed = changed
        self._active = active
        self._port = port
        self._known: dict[tuple[str, str], Progress] = {}
        self._due: dict[str, float] = {}
        self._slots = asyncio.Semaphore(settings.concurrency)

    def get(self, namespace: str, pod: str) -> Progress | None:
        """What the task said last, None when it has said nothing or its pod runs no more."""
        return self._known.get((namespace, pod))

    async def run(self) -> None:
        """Ask until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(force_close=True)) as session:
            while True:
                await asyncio.sleep(TICK)
                if self._active():
                    await self.poll(session)

    async def poll(self, session: aiohttp.ClientSession) -> None:
        """Ask all pods whose turn it is."""
        now = time.monotonic()
        pods = (entry.obj for entry in self._indices.all("Pod") if entry.state == "Running")
        running = [pod for pod in pods if _runs_task(pod)]
        uids = {pod["metadata"]["uid"] for pod in running}
        names = {(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in running}
        self._due = {uid: at for uid, at in self._due.items() if uid in uids}
        self._known = {name: value for name, value in self._known.items() if name in names}
        turn = [pod for pod in running if self._due.get(pod["metadata"]["uid"], 0.0) <= now]
        for pod in turn:
            self._due[pod["metadata"]["uid"]] = now + self._settings.interval
        await asyncio.gather(*(self._ask(session, pod) for pod in turn))

    async def _ask(self, session: aiohttp.ClientSession, pod: Object) -> None:
        meta, address = pod["metadata"], pod["status"]["podIP"]
        host = f"[{address}]" if ":" in address else address
        async with self._slots:
            try:
                async with session.get(f"http://{host}:{self._port}/progress") as response:
                    if response.status != 200:
                        return
                    said = Progress.model_validate_json(await response.content.read(_LIMIT))
            except (aiohttp.ClientError, OSError, TimeoutError, ValidationError) as error:
                # A task that has not opened its port yet, or has just ended: the next turn or its result will tell.
                _log.debug("no progress from %s/%s: %s", meta["namespace"], meta["name"], error)
                return
        name = meta["namespace"], meta["name"]
        if self._known.get(name) != said:
            self._known[name] = said
            self._changed(pod)


def _runs_task(pod: Object) -> bool:
    labels = pod["metadata"].get("labels") or {}
    status = pod.get("status") or {}
    return (
        LABEL_TASK in labels
        and LABEL_JOB in labels
        and bool(status.get("podIP"))
        and "deletionTimestamp" not in pod["metadata"]
    )
