"""Leader election on a scripted Lease: who may write, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from tests.unit.kube.server import failure, scripted

from tidemill.kube.errors import NotLeader
from tidemill.runtime.lease import Elector
from tidemill.runtime.settings import LeaseSettings

SETTINGS = LeaseSettings(retry_period=0.1, renew_deadline=5, duration=10)


class Server:
    """One Lease with optimistic concurrency."""

    def __init__(self, holder: str = "") -> None:
        self.spec: dict[str, Any] | None = {"holderIdentity": holder, "leaseDurationSeconds": 10} if holder else None
        self.version = 1
        self.down = False

    def __call__(self, request: web.Request, _: int) -> web.StreamResponse | None:
        if self.down:
            return failure(500, "InternalError")
        if request.method == "GET":
            return self.answer() if self.spec is not None else failure(404, "NotFound")
        body = orjson.loads(request._read_bytes or b"")
        if request.method == "PUT" and body["metadata"]["resourceVersion"] != str(self.version):
            return failure(409, "Conflict")
        self.spec, self.version = body["spec"], self.version + 1
        return self.answer()

    def answer(self) -> web.Response:
        meta = {"name": "tidemill-operator", "namespace": "ns", "resourceVersion": str(self.version)}
        return web.json_response({"metadata": meta, "spec": self.spec})


Script = Callable[[Elector, Server, "Clock", list[bool]], Any]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def play(server: Server, script: Script) -> None:
    async def run() -> None:
        clock, changes = Clock(), list[bool]()
        async with scripted(server) as (client, _):
            elector = Elector(client, SETTINGS, namespace="ns", identity="me", on_change=changes.append, clock=clock)
            task = asyncio.create_task(elector.run())
            try:
                await asyncio.wait_for(script(elector, server, clock, changes), 20)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


async def until(check: Callable[[], object]) -> None:
    while not check():
        await asyncio.sleep(0.01)


def test_a_free_lease_is_taken_and_given_back() -> None:
    async def script(elector: Elector, server: Server, _: Clock, changes: list[bool]) -> None:
        await until(lambda: elector.is_leader)
        assert server.spec is not None
        assert server.spec["holderIdentity"] == "me"
        allowed = elector.guard()
        assert allowed is not None
        assert allowed <= SETTINGS.duration
        await elector.release()
        assert "holderIdentity" not in server.spec
        with pytest.raises(NotLeader):
            elector.guard()
        assert changes[:2] == [True, False]

    play(Server(), script)


def test_a_lease_is_given_back_though_the_answer_to_the_last_renewal_never_came() -> None:
    async def script(elector: Elector, server: Server, _: Clock, __: list[bool]) -> None:
        await until(lambda: elector.is_leader)
        server.version += 1
        await elector.release()
        assert server.spec is not None
        assert "holderIdentity" not in server.spec

    play(Server(), script)


def test_a_silent_holder_is_replaced_after_the_duration_and_not_before() -> None:
    async def script(elector: Elector, server: Server, clock: Clock, _: list[bool]) -> None:
        clock.now += SETTINGS.duration - 1
        await asyncio.sleep(0.3)
        assert not elector.is_leader
        clock.now += SETTINGS.duration
        await until(lambda: elector.is_leader)
        assert server.spec is not None
        assert server.spec["leaseTransitions"] == 1

    play(Server(holder="other"), script)


def test_who_cannot_renew_may_not_write() -> None:
    async def script(elector: Elector, server: Server, clock: Clock, changes: list[bool]) -> None:
        await until(lambda: elector.is_leader)
        server.down = True
        await asyncio.sleep(0.2)
        assert elector.is_leader
        clock.now += SETTINGS.renew_deadline + 0.1
        with pytest.raises(NotLeader):
            elector.guard()
        await until(lambda: changes == [True, False])
        server.down = False
        await until(lambda: elector.is_leader)

    play(Server(), script)


def test_who_renews_too_late_begins_again() -> None:
    """Reconciles that met NotLeader meanwhile were dropped: only beginning again brings them back."""

    async def script(elector: Elector, _: Server, clock: Clock, changes: list[bool]) -> None:
        await until(lambda: elector.is_leader)
        clock.now += SETTINGS.renew_deadline + 0.1
        with pytest.raises(NotLeader):
            elector.guard()
        await until(lambda: elector.is_leader)
        assert changes == [True, False, True]

    play(Server(), script)
