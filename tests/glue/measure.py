"""Measures the engine: N TrainingRuns at once → N suspended Jobs, then idle, then a restart. Prints one JSON object.

`KUBECONFIG=… python -m tests.glue.measure --count 1000 [--operator tests.glue.tiny]` on a cluster with the CRDs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from tidemill.kube.client import Client
from tidemill.kube.config import load as load_connection
from tidemill.kube.lists import pages
from tidemill.kube.resources import CHILDREN, NAMESPACE, OURS

PORT = 18099
TICKS = os.sysconf("SC_CLK_TCK")


class Operator:
    """An operator process with its own figures."""

    def __init__(self, module: str) -> None:
        self.log = Path(tempfile.mkstemp(prefix="tidemill-measure-", suffix=".log")[1])
        command = [sys.executable, "-m", module, "--http-port", str(PORT), "--log-level", "warning"]
        self.started = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*command, "--lease-enabled", "false"], stdout=log, stderr=log)

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss(self, field: str = "VmRSS") -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{field}:\s+(\d+) kB", text)
        return round(int(found[1]) / 1024, 1) if found else 0.0

    def stop(self) -> float:
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        return round(time.monotonic() - started, 2)


async def scrape(session: aiohttp.ClientSession) -> dict[str, float]:
    """Sums of the operator's metrics by name, and API calls by verb."""
    result: dict[str, float] = {}
    try:
        async with session.get(f"http://127.0.0.1:{PORT}/metrics") as response:
            text = await response.text()
    except aiohttp.ClientError:
        return {}
    for line in text.splitlines():
        if found := re.match(r"(\w+)(?:\{(.*)\})? ([-+.eE\d]+)$", line):
            name, labels, value = found[1], found[2] or "", float(found[3])
            result[name] = result.get(name, 0.0) + value
            if name == "tidemill_api_requests_total" and (verb := re.search(r'verb="(\w+)"', labels)):
                result[f"calls_{verb[1]}"] = result.get(f"calls_{verb[1]}", 0.0) + value
    return result


async def until(
    session: aiohttp.ClientSession, operator: Operator, condition: Any, seconds: float, *, pause: float = 0.1
) -> dict[str, float]:
    """Wait until the metrics fulfil a condition. Every question costs the operator some CPU, so ask seldom under load."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if operator.process.poll() is not None:
            raise RuntimeError(f"the operator ended: {operator.log.read_text()[-2000:]}")
        found = await scrape(session)
        if found and condition(found):
            return found
        await asyncio.sleep(pause)
    raise TimeoutError(f"not in {seconds} s: {await scrape(session)}")


def run(namespace: str, index: int) -> dict[str, Any]:
    """One TrainingRun."""
    return {
        "apiVersion": "tidemill.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": f"run-{index:05d}", "namespace": namespace},
        "spec": {
            "dataset": {"name": "flights"},
            "model": {"name": f"model-{index}"},
            "trainer": {"tabularRegression": {"target": "delay"}},
            "suspend": True,
        },
    }


async def measure(count: int, module: str, spaces: int, idle: float) -> dict[str, Any]:
    """All figures."""
    names = [f"measure-{n}" for n in range(spaces)]
    result: dict[str, Any] = {"objects": count, "namespaces": spaces, "operator": module}
    runs, jobs = OURS["TrainingRun"], CHILDREN["Job"]
    async with Client(load_connection(), connections=16) as client, aiohttp.ClientSession() as session:
        for name in names:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await client.request("create", NAMESPACE.path(), kind="Namespace", body=body)
        operator = Operator(module)
        before = await until(session, operator, lambda m: m.get("tidemill_first_pass_seconds", 0) > 0, 60)
        result["rss_before_mb"] = operator.rss()
        cpu, started = operator.cpu(), time.monotonic()
        slots = asyncio.Semaphore(16)

        async def create(index: int) -> None:
            async with slots:
                space = names[index % spaces]
                await client.request("create", runs.path(space), kind="TrainingRun", body=run(space, index))

        creating = asyncio.gather(*(create(index) for index in range(count)))

        def created(m: dict[str, float]) -> float:
            return m.get("calls_create", 0) - before.get("calls_create", 0)

        await until(session, operator, lambda m: created(m) >= count, 600, pause=0.5)
        result["jobs_seconds"] = round(time.monotonic() - started, 2)
        result["jobs_per_second"] = round(count / result["jobs_seconds"], 1)
        await creating
        quiet, last = 0, -1.0
        while quiet < 4:  # four seconds without a call
            now = (await scrape(session)).get("tidemill_api_requests_total", 0.0)
            quiet, last = (quiet + 1, last) if now == last else (0, now)
            await asyncio.sleep(1)
        after = await scrape(session)
        result["settled_seconds"] = round(time.monotonic() - started - 4, 2)
        result["cpu_ms_per_object"] = round((operator.cpu() - cpu) * 1000 / count, 2)
        for verb in ("create", "apply", "patch", "get", "update"):
            calls = after.get(f"calls_{verb}", 0) - before.get(f"calls_{verb}", 0)
            if calls:
                result[f"{verb}_per_object"] = round(calls / count, 3)
        result["reconciles_per_object"] = round(
            (after["tidemill_reconciles_total"] - before.get("tidemill_reconciles_total", 0)) / count, 2
        )
        result["rss_after_mb"], result["rss_peak_mb"] = operator.rss(), operator.rss("VmHWM")
        idle_from = await scrape(session)
        await asyncio.sleep(idle)
        idle_to = await scrape(session)
        result["idle_seconds"] = idle
        result["idle_calls"] = idle_to["tidemill_api_requests_total"] - idle_from["tidemill_api_requests_total"]
        result["stop_seconds"] = operator.stop()
        operator = Operator(module)
        again = await until(session, operator, lambda m: m.get("tidemill_first_pass_seconds", 0) > 0, 120)
        result["restart_first_pass_seconds"] = round(time.monotonic() - operator.started, 2)
        result["restart_writes"] = sum(again.get(f"calls_{verb}", 0) for verb in ("create", "apply", "patch", "delete"))
        result["restart_rss_mb"], result["restart_rss_peak_mb"] = operator.rss(), operator.rss("VmHWM")
        operator.stop()
        made = sum(
            [len(items) async for items, _ in pages(client, jobs, selector="tidemill.dev/trainingrun", limit=1000)]
        )
        result["jobs"] = made
        for name in names:
            await client.request("delete", NAMESPACE.path(None, name), kind="Namespace")
    return result


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=1000)
    arguments.add_argument("--namespaces", type=int, default=8)
    arguments.add_argument("--idle", type=float, default=10)
    arguments.add_argument("--operator", default="tests.glue.tiny", help="module that runs the operator")
    given = arguments.parse_args()
    print(json.dumps(asyncio.run(measure(given.count, given.operator, given.namespaces, given.idle)), indent=2))
