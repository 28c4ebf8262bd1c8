"""One measurement's stage: a fresh cluster with a simulator, a tracker, a client, and the operator on it; and what a step
of the measurement cost everybody."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.peers.audit import Log, Request
from tests.bench.scale.cluster import USER, BenchCluster, fresh
from tests.bench.scale.operator_process import OperatorProcess, cpu_seconds
from tests.bench.scale.tracker import Tracker
from tests.e2e.apiserver import ROOT

from tidemill.kube.client import Client
from tidemill.kube.resources import CHILDREN, OURS

_WRITES = frozenset({"create", "update", "patch", "delete"})
_BEGAN = time.monotonic()


def say(text: str) -> None:
    """A progress line with the seconds since the program began."""
    print(f"scale: [{time.monotonic() - _BEGAN:6.1f} s] {text}", file=sys.stderr, flush=True)


@dataclass
class Stage:
    """Everybody who takes part."""

    bench: BenchCluster
    client: Client
    tracker: Tracker
    audit: Log
    simulator: subprocess.Popen[str]
    operators: list[OperatorProcess] = field(default_factory=list)

    @property
    def operator(self) -> OperatorProcess:
        """The operator that was started last."""
        return self.operators[-1]

    def start(self, name: str, *flags: str) -> OperatorProcess:
        """Start an operator; it ends with the stage."""
        self.operators.append(self.bench.operator(name, *flags))
        return self.operators[-1]

    def requests(self, mark: int) -> list[Request]:
        """The operator's own requests since a mark, apart from watches and those for the lease."""
        return [
            r for r in self.audit.since(mark) if r.user == USER and r.verb != "watch" and "leases" not in r.resource
        ]

    def writes(self, mark: int) -> dict[str, int]:
        """What the operator has written since a mark, by call."""
        return dict(Counter(r.call for r in self.requests(mark) if r.verb in _WRITES))


@asynccontextmanager
async def staged(name: str, folder: Path) -> AsyncIterator[Stage]:
    """A stage with no operator yet."""
    with fresh(name, folder) as bench:
        command = [sys.executable, "-m", "tests.bench.scale.simulator", "--kubeconfig", str(bench.admin)]
        with (folder / "simulator.log").open("w") as log:
            simulator = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert simulator.stdout is not None
            if simulator.stdout.readline().strip() != "ready":
                raise RuntimeError(f"the simulator did not start:\n{(folder / 'simulator.log').read_text()[-2000:]}")
            async with Client(bench.connection, user_agent="bench", connections=64) as client:
                more = (OURS["ModelPlacement"], CHILDREN["Job"], CHILDREN["StatefulSet"])
                async with Tracker(client, more=more) as tracker:
                    stage = Stage(bench, client, tracker, bench.audit(), simulator)
                    try:
                        yield stage
                    finally:
                        for operator in stage.operators:
                            operator.kill()
                        stage.audit.close()
        finally:
            simulator.terminate()
            simulator.wait(timeout=30)


class Step:
    """What happens between `begin` and `end`, and what it costs."""

    def __init__(self, stage: Stage, mark: int, **before: Any) -> None:
        self._stage = stage
        self.mark = mark
        self._before = before
        self.began = time.monotonic()

    @classmethod
    async def begin(cls, stage: Stage) -> Step:
        """Begin to count."""
        cost = await asyncio.to_thread(stage.operator.cost)
        usage, simulator = stage.bench.usage(), cpu_seconds(stage.simulator.pid)
        return cls(stage, stage.audit.mark(), cost=cost, usage=usage, simulator=simulator)

    async def end(self, objects: int) -> dict[str, Any]:
        """The figures, in all and by object."""
        stage, seconds = self._stage, time.monotonic() - self.began
        before, after = self._before["cost"], await asyncio.to_thread(stage.operator.cost)
        added = after.reading.since(before.reading)
        name = "tidemill_api_requests_total"
        calls = {v: n - added.total(name, verb=v, kind="Lease") for v, n in added.by(name, "verb").items()}
        requests = stage.requests(self.mark)
        usage = {
            program: round(used["cpu"] - self._before["usage"][program]["cpu"], 2)
            for program, used in stage.bench.usage().items()
        }
        simulator = cpu_seconds(stage.simulator.pid) - self._before["simulator"]
        cpu, reconciles = after.cpu - before.cpu, added.by("tidemill_reconciles_total", "kind")
        return {
            "seconds": round(seconds, 2),
            "objects": objects,
            "operatorCpuSeconds": round(cpu, 2),
            "cpuMsPerObject": round(cpu * 1000 / objects, 2),
            "reconcilesPerObject": round(sum(reconciles.values()) / objects, 2),
            "reconciles": {kind: round(count) for kind, count in sorted(reconciles.items()) if count},
            "failedReconciles": {o: round(n) for o, n in _outcomes(added.by("tidemill_reconciles_total", "outcome"))},
            "apiCallsPerObject": round(sum(calls.values()) / objects, 2),
            "apiCalls": {verb: round(count) for verb, count in sorted(calls.items()) if count},
            "leaseCalls": round(added.total(name, kind="Lease")),
            "auditedCalls": dict(Counter(r.verb for r in requests)),
            "auditedByCall": dict(Counter(r.call for r in requests).most_common()),
            "auditedCallsPerObject": round(len(requests) / objects, 2),
            "othersCpuSeconds": {**usage, "simulator": round(simulator, 2)},
            "memory": stage.operator.memory(),
        }


def rate(count: int, seconds: float) -> float:
    """So many a second."""
    return round(count / seconds, 1) if seconds > 0 else 0.0


def created(requests: Iterable[Request], resource: str) -> list[float]:
    """When objects of a resource were made, in the API server's own time, sorted."""
    return sorted(r.answered for r in requests if r.verb == "create" and r.resource == resource and r.code == 201)


def _outcomes(counts: dict[str, float]) -> list[tuple[str, float]]:
    return sorted((outcome, count) for outcome, count in counts.items() if count and outcome != "ok")
