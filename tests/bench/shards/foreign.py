"""What an event of another shard costs an operator: CPU, when the API server sends it and when it leaves it out.

`KUBECONFIG=… python -m tests.bench.shards.foreign [--events 5000]` on a cluster with the CRDs; one JSON object.
A standby of shard 0 of 2 watches while objects of its own and of foreign namespaces change: it reconciles nothing, so
its CPU is that of taking in. The foreign namespaces are new to it at first, then it is started again and knows them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.e2e.apiserver import eventually
from tests.glue.objects import run
from tests.glue.process import Operator

from tidemill.kube.client import Client
from tidemill.kube.config import load as load_connection
from tidemill.kube.resources import NAMESPACE, OURS
from tidemill.runtime.shards import shard_of

TICKS = os.sysconf("SC_CLK_TCK")
RUNS = OURS["TrainingRun"]
EACH = 50
"""Objects of a namespace; the events are changes of their labels."""


def cpu(operator: Operator) -> float:
    """CPU seconds of the process so far."""
    fields = Path(f"/proc/{operator.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def standby(where: str) -> Operator:
    """Shard 0 of 2; the Lease is held by nobody who works, so it does not reconcile."""
    flags = ("--shard-count", "2", "--shard-index", "0", "--lease-namespace", where, "--log-level", "warning")
    log = Path(tempfile.mkstemp(prefix="tidemill-foreign-", suffix=".log")[1])
    operator = Operator(*flags, log=log)
    eventually("synced", lambda: operator.alive() and operator.ready())
    return operator


def events(operator: Operator, *news: str) -> float:
    """Events of TrainingRuns that the watch brought."""
    return sum(operator.metric("tidemill_watch_events_total", kind="TrainingRun", news=n) for n in news)


async def change(client: Client, spaces: list[str], count: int, marker: str) -> None:
    """`count` changes, sixteen at a time."""
    slots = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        async with slots:
            path = RUNS.path(spaces[number % len(spaces)], f"r{number // len(spaces) % EACH}")
            body = {"metadata": {"labels": {"change": f"{marker}-{number}"}}}
            await client.request(
                "patch", path, kind="TrainingRun", body=body, content_type="application/merge-patch+json"
            )

    await asyncio.gather(*(one(number) for number in range(count)))


async def costs(client: Client, operator: Operator, spaces: list[str], count: int, marker: str, news: str) -> float:
    """CPU microseconds for each change in these namespaces, without what the process costs anyway."""
    began, idle = cpu(operator), 5.0
    await asyncio.sleep(idle)
    rest = (cpu(operator) - began) / idle
    seen, began, started = events(operator, news), cpu(operator), time.monotonic()
    await change(client, spaces, count, marker)
    sent = marker != "left-out"
    while sent and events(operator, news) < seen + count:
        await asyncio.sleep(0.5)
    used = cpu(operator) - began - rest * (time.monotonic() - started)
    if not sent and events(operator, news) != seen:
        raise RuntimeError("events came that the API server should have left out")
    return round(used / count * 1e6, 1)


async def measure(count: int) -> dict[str, Any]:
    """All figures."""
    names = [f"foreign-{n}" for n in range(40)]
    ours = [n for n in names if shard_of(n, 2) == 0][:8]
    theirs = [n for n in names if shard_of(n, 2) == 1][:8]
    where = "foreign-lease"
    async with Client(load_connection(), connections=16) as client:
        try:
            for name in (where, *ours, *theirs):
                body: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                await client.request("create", NAMESPACE.path(), kind="Namespace", body=body)
            holder = {"holderIdentity": "the bench", "leaseDurationSeconds": 86400}
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": "tidemill-operator-0-of-2", "namespace": where},
                "spec": holder,
            }
            path = f"/apis/coordination.k8s.io/v1/namespaces/{where}/leases"
            await client.request("create", path, kind="Lease", body=body)
            result: dict[str, Any] = {"events": count}
            operator = await asyncio.to_thread(standby, where)
            for name in (*ours, *theirs):
                for number in range(EACH):
                    body = run(f"r{number}", name)
                    await client.request("create", RUNS.path(name), kind="TrainingRun", body=body)
            while events(operator, "yes", "foreign") < (len(ours) + len(theirs)) * EACH:
                await asyncio.sleep(0.5)
            result["own_us"] = await costs(client, operator, ours, count, "own", "yes")
            result["foreign_us"] = await costs(client, operator, theirs, count, "foreign", "foreign")
            operator.kill()
            operator = await asyncio.to_thread(standby, where)
            result["left_out_us"] = await costs(client, operator, theirs, count, "left-out", "foreign")
            operator.kill()
        finally:
            for name in (where, *ours, *theirs):
                await client.request("delete", NAMESPACE.path(None, name), kind="Namespace")
    return result


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=5000)
    print(json.dumps(asyncio.run(measure(arguments.parse_args().events)), indent=2))
