"""Progress: asked over real HTTP, seldom, and told only when it has changed."""

from __future__ import annotations

import asyncio
import time

import aiohttp
from aiohttp import web
from tests.unit.runtime.objects import raw

from tidemill.contract.names import LABEL_JOB, LABEL_TASK
from tidemill.reconcile.observed import Object
from tidemill.runtime.indices import Indices
from tidemill.runtime.progress import ProgressPoller
from tidemill.runtime.settings import ProgressSettings


def pod(name: str, *, phase: str = "Running", address: str = "127.0.0.1", version: int = 1) -> dict[str, object]:
    labels = {LABEL_JOB: "j", LABEL_TASK: "TrainModel"}
    status = {"phase": phase, "podIP": address}
    return raw("Pod", name, api="v1", labels=labels, version=version, spec={}, status=status)


class Task:
    """A running task's /progress."""

    def __init__(self) -> None:
        self.epoch = 1
        self.asked = 0
        self.broken = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.broken:
            return web.Response(text=self.broken)
        said = {"phase": "Training", "fraction": 0.5, "epoch": self.epoch, "updatedAt": "2026-01-01T00:00:00Z"}
        return web.json_response(said)


async def polled(task: Task, rounds: list[str], *pods: dict[str, object]) -> tuple[list[str], ProgressPoller]:
    """Poll once a round; 'wait' lets the interval pass first. Which pods were told of, and the poller."""
    app = web.Application()
    app.router.add_get("/progress", task.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    indices, told = Indices(), list[str]()

    def changed(obj: Object) -> None:
        told.append(obj["metadata"]["name"])

    for one in pods:
        indices.upsert(one)
    poller = ProgressPoller(
        indices,
        ProgressSettings(interval=3, timeout=0.5),
        changed=changed,
        active=lambda: True,
        port=runner.addresses[0][1],
    )
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.5)) as session:
        for what in rounds:
            if what == "wait":
                poller._due = {uid: time.monotonic() - 1 for uid in poller._due}
            if what == "epoch":
                poller._due.clear()
                task.epoch += 1
            if what == "end":
                poller._due.clear()
                indices.upsert(pod("p", phase="Succeeded", version=9))
            await poller.poll(session)
    await runner.cleanup()
    return told, poller


def test_a_pod_is_asked_once_an_interval_and_changes_are_told() -> None:
    task = Task()
    told, poller = asyncio.run(polled(task, ["now", "now", "wait", "epoch"], pod("p")))
    assert task.asked == 3
    assert told == ["p", "p"]
    said = poller.get("ns", "p")
    assert said is not None
    assert (said.epoch, said.fraction) == (2, 0.5)


def test_only_running_tasks_are_asked_and_ended_ones_forgotten() -> None:
    task = Task()
    other = raw("Pod", "other", api="v1", spec={}, status={"phase": "Running", "podIP": "127.0.0.1"})
    told, poller = asyncio.run(polled(task, ["now", "end"], pod("p"), pod("waiting", phase="Pending"), other))
    assert (told, task.asked) == (["p"], 1)
    assert poller.get("ns", "p") is None


def test_nonsense_and_silence_are_no_progress() -> None:
    task = Task()
    task.broken = "<html>"
    told, poller = asyncio.run(polled(task, ["now"], pod("p"), pod("unreachable", address="127.0.0.2")))
    assert told == []
    assert poller.get("ns", "p") is None
