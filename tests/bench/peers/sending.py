"""The load generator: many requests with a bound on how many are in flight, or at a fixed rate."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.bench.peers.bed import Manifest

from tidemill.kube.config import from_kubeconfig

CREATE, MERGE = ("POST", "application/json"), ("PATCH", "application/merge-patch+json")
TIMEOUT = aiohttp.ClientTimeout(total=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request."""

    how: tuple[str, str]
    """Method and content type."""
    path: str
    body: Manifest


def send(calls: Sequence[Call], kubeconfig: Path, *, in_flight: int = 16, rate: float | None = None) -> Counter[str]:
    """Send all of them, as fast as they are answered or so many a second; what was refused, by message."""
    return asyncio.run(_send(calls, kubeconfig, in_flight, rate))


async def _send(calls: Sequence[Call], kubeconfig: Path, in_flight: int, rate: float | None) -> Counter[str]:
    connection, refused = from_kubeconfig(kubeconfig), Counter[str]()
    slots = asyncio.Semaphore(in_flight)
    connector = aiohttp.TCPConnector(ssl=connection.tls or True, limit=in_flight)
    async with aiohttp.ClientSession(base_url=connection.server, connector=connector, timeout=TIMEOUT) as session:

        async def one(call: Call) -> None:
            method, content = call.how
            data, headers = json.dumps(call.body), {"Content-Type": content}
            async with slots, session.request(method, call.path, data=data, headers=headers) as answer:
                text = await answer.text()
                if answer.status >= 300:
                    refused[f"{answer.status} {text[:400]}"] += 1

        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(one(call))
                if rate:
                    await asyncio.sleep(1 / rate)
    return refused
