"""Operators of different shard counts on one API server: never two counts lead, and one of them always will."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from tests.unit.kube.server import failure, scripted

from tidemill.kube.client import Client
from tidemill.runtime.lease import Elector
from tidemill.runtime.rivals import Rivals
from tidemill.runtime.settings import LeaseSettings
from tidemill.runtime.shards import Shard

QUICK = LeaseSettings(name="op", retry_period=0.3, renew_deadline=2, duration=3)


class Server:
    """Leases with optimistic concurrency; every LIST sees every write that was answered before it."""

    def __init__(self) -> None:
        self.leases: dict[str, dict[str, Any]] = {}
        self.version = 0

    def __call__(self, request: web.Request, _: int) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if request.method == "GET" and name == "leases":
            return web.json_response({"items": list(self.leases.values())})
        if request.method == "GET":
            return web.json_response(self.leases[name]) if name in self.leases else failure(404, "NotFound")
        body = orjson.loads(request._read_bytes or b"")
        name, known = body["metadata"]["name"], self.leases.get(body["metadata"]["name"])
        if known is not None and body["metadata"].get("resourceVersion") != known["metadata"]["resourceVersion"]:
            return failure(409, "Conflict")
        self.put(name, body["spec"])
        return web.json_response(self.leases[name])

    def put(self, name: str, spec: dict[str, Any]) -> None:
        """Write a Lease."""
        self.version += 1
        self.leases[name] = {"metadata": {"name": name, "resourceVersion": str(self.version)}, "spec": spec}


class Electors:
    """Several electors and who of them leads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.electors: dict[str, tuple[int, Elector]] = {}

    def start(self, index: int, count: int) -> None:
        shard, identity = Shard(index, count), f"{index}-of-{count}"
        own = QUICK.model_copy(update={"name": shard.lease_name(QUICK.name)})
        rivals = Rivals(self._client, QUICK, namespace="ns", shard=shard)
        elector = Elector(
            self._client, own, namespace="ns", identity=identity, on_change=lambda _: None, rivals=rivals.held
        )
        self.electors[identity] = count, elector
        self.tasks[identity] = asyncio.create_task(elector.run())

    def kill(self, identity: str) -> None:
        """As SIGKILL: the Lease stays."""
        self.tasks.pop(identity).cancel()
        del self.electors[identity]

    async def stop(self, identity: str) -> None:
        """As SIGTERM: the Lease is given back."""
        elector = self.electors[identity][1]
        self.kill(identity)
        await elector.release()

    def leaders(self) -> set[str]:
        """Who leads; fails when two counts do."""
        leading = {identity: count for identity, (count, elector) in self.electors.items() if elector.is_leader}
        assert len(set(leading.values())) <= 1, leading
        return set(leading)

    async def until(self, leaders: set[str], *, seconds: float = 15) -> None:
        """Wait for these leaders, and watch for two counts meanwhile."""
        async with asyncio.timeout(seconds):
            while self.leaders() != leaders:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def playing(server: Server) -> AsyncIterator[Electors]:
    async with scripted(server) as (client, _):
        electors = Electors(client)
        try:
            yield electors
        finally:
            for task in electors.tasks.values():
                task.cancel()
            await asyncio.gather(*electors.tasks.values(), return_exceptions=True)


def test_who_comes_later_waits_says_so_and_takes_over(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with playing(Server()) as electors:
            for index in range(2):
                electors.start(index, 2)
            await electors.until({"0-of-2", "1-of-2"})
            for index in range(3):
                electors.start(index, 3)
            await asyncio.sleep(1)  # several attempts
            assert electors.leaders() == {"0-of-2", "1-of-2"}
            await electors.stop("0-of-2")
            await asyncio.sleep(1)
            assert electors.leaders() == {"1-of-2"}, "as long as one is left nobody of the others may lead"
            await electors.stop("1-of-2")
            await electors.until({"0-of-3", "1-of-3", "2-of-3"})

    caplog.set_level(logging.WARNING, logger="tidemill.rivals")
    asyncio.run(run())
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("shard 2 of 3")]
    assert said[0].startswith(
        "shard 2 of 3 waits: an operator of another number of shards still leads: op-0-of-2 (held"
    )
    assert len(said) <= 3, "once for each change, not for each attempt"


def test_a_killed_rival_counts_as_gone_after_its_leases_duration() -> None:
    async def run() -> None:
        async with playing(Server()) as electors:
            electors.start(0, 1)
            await electors.until({"0-of-1"})
            electors.kill("0-of-1")
            started = asyncio.get_running_loop().time()
            electors.start(0, 2)
            await electors.until({"0-of-2"})
            assert asyncio.get_running_loop().time() - started >= QUICK.duration

    asyncio.run(run())


def test_of_two_counts_at_once_exactly_one_leads() -> None:
    async def run() -> None:
        for _ in range(5):
            async with playing(Server()) as electors:
                for index in range(3):
                    electors.start(index, 3)
                    if index < 2:
                        electors.start(index, 2)
                async with asyncio.timeout(20):
                    while len(electors.leaders()) < 2:
                        await asyncio.sleep(0.002)

    asyncio.run(run())


def test_who_slept_looks_for_rivals_before_it_leads_again() -> None:
    """Its own Lease was not touched by anybody: renewing it would succeed."""

    async def run() -> None:
        server = Server()
        async with playing(server) as electors:
            electors.start(0, 2)
            await electors.until({"0-of-2"})
            elector = electors.electors["0-of-2"][1]
            elector._renewed -= 10 * QUICK.duration  # as after a suspended machine
            server.put("op-1-of-3", {"holderIdentity": "somebody", "leaseDurationSeconds": 3})
            async with asyncio.timeout(1.5):
                while elector._leading:
                    await asyncio.sleep(0.005)
            assert not elector.is_leader
            await electors.until({"0-of-2"})  # the other never renews

    asyncio.run(run())


def test_leases_of_others_are_no_rivals() -> None:
    async def run() -> None:
        server = Server()
        for name in ("other-0-of-3", "op-1-of-2", "op-x"):
            server.put(name, {"holderIdentity": "somebody", "leaseDurationSeconds": 3600})
        server.put("op-0-of-3", {"leaseDurationSeconds": 1})  # given back
        async with playing(server) as electors:
            electors.start(0, 2)
            await electors.until({"0-of-2"}, seconds=2.5)

    asyncio.run(run())
