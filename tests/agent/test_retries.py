"""Reports that speak of the spec they were made for, and loads that are never given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from tests.agent.conftest import Api
from tests.agent.placing import Placing

from tidemill.api.v1alpha1.modelplacement import ModelPlacementSpec
from tidemill.kube.client import Client
from tidemill.kube.config import from_kubeconfig
from tidemill_agent import reconciler
from tidemill_agent.errors import TritonRefused
from tidemill_agent.loader import Loader
from tidemill_agent.placements import Placements
from tidemill_agent.reconciler import Reconciler
from tidemill_agent.status import Publisher, Report

DIGEST = f"sha256:{'a' * 64}"


class Full:
    """A loader whose server has no memory left."""

    async def load(self, _spec: ModelPlacementSpec) -> str:
        raise TritonRefused("failed to allocate memory.")

    def counted(self, _deployment: str, _version: int | None) -> None:
        return None

    async def prune(self, _digests: set[str]) -> None:
        return None


class Parts:
    """The parts of an agent between the API server and Triton."""

    def __init__(self, client: Client, placing: Placing) -> None:
        self.placements = Placements(client, namespace="ns", pod=placing.pod, changed=lambda _: None)
        self.publisher = Publisher(client, self.placements, namespace="ns", pod_uid="uid")
        self.reconciler = Reconciler(
            placements=self.placements,
            loader=cast(Loader, Full()),
            publisher=self.publisher,
            settled=lambda: None,
        )


def run(double: Api, work: Callable[[Placing, Parts], Awaitable[None]]) -> None:
    """Run work on the parts."""
    connection = from_kubeconfig(double.kubeconfig)
    placing = Placing(connection, "ns", "pool-0")

    async def main() -> None:
        async with Client(connection, user_agent="test") as client, asyncio.timeout(30):
            await work(placing, Parts(client, placing))

    asyncio.run(main())


def test_a_report_speaks_of_the_spec_that_it_was_made_for(double: Api) -> None:
    async def work(placing: Placing, parts: Parts) -> None:
        spec: dict[str, Any] = {"artifactUri": "s3://models/delay", "artifactDigest": DIGEST}
        name = await asyncio.to_thread(placing.create, "delay", version=2, **spec)
        parts.placements.store(await asyncio.to_thread(placing.get, name))
        seen = parts.placements.get(name)
        assert seen is not None
        parts.publisher.publish(seen, Report(state="Failed", message="version 2 is broken"))
        await asyncio.to_thread(placing.change, name, version=3, **spec)
        parts.placements.store(await asyncio.to_thread(placing.get, name))
        await parts.publisher.flush()
        item = await asyncio.to_thread(placing.get, name)
        assert item["metadata"]["generation"] == 2
        assert (item["status"]["observedGeneration"], item["status"]["message"]) == (1, "version 2 is broken")
        assert item["status"]["conditions"][0]["observedGeneration"] == 1

    run(double, work)


def test_a_report_of_a_placement_that_was_made_anew_is_dropped(double: Api) -> None:
    async def work(placing: Placing, parts: Parts) -> None:
        spec: dict[str, Any] = {"artifactUri": "s3://models/delay", "artifactDigest": DIGEST}
        name = await asyncio.to_thread(placing.create, "delay", version=2, **spec)
        parts.placements.store(await asyncio.to_thread(placing.get, name))
        seen = parts.placements.get(name)
        assert seen is not None
        parts.publisher.publish(seen, Report(state="Failed", message="version 2 is broken"))
        await asyncio.to_thread(placing.delete, name)
        await asyncio.to_thread(placing.create, "delay", version=3, **spec)
        parts.placements.store(await asyncio.to_thread(placing.get, name))
        await parts.publisher.flush()
        assert await asyncio.to_thread(placing.status, name) == {}

    run(double, work)


def test_a_refused_load_is_never_given_up(double: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "LOAD_ERROR_BACKOFF", 0.01)
    monkeypatch.setattr(reconciler, "MAX_BACKOFF", 0.02)

    async def work(placing: Placing, parts: Parts) -> None:
        spec: dict[str, Any] = {"artifactUri": "s3://models/delay", "artifactDigest": DIGEST}
        name = await asyncio.to_thread(placing.create, "delay", version=1, **spec)
        parts.placements.store(await asyncio.to_thread(placing.get, name))
        parts.reconciler.open.set()
        parts.reconciler.enqueue("delay")
        running = [asyncio.ensure_future(part) for part in (parts.reconciler.run(), parts.publisher.run())]
        status: dict[str, Any] = {}
        while status.get("attempts", 0) < 8:
            status = await asyncio.to_thread(placing.status, name)
        for part in running:
            part.cancel()
        assert status["state"] == "Failed"
        assert status["message"] == "failed to allocate memory; tried again every 0 s"

    run(double, work)
