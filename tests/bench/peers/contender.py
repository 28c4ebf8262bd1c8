"""Measures one contender on a fresh control plane; one JSON line is appended to FOLDER/peers.jsonl.

Called by `tests.bench.peers.run`. Prints `idle` when nothing but the idle minutes is left.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.peers import figures
from tests.bench.peers.audit import Request
from tests.bench.peers.bed import SERVICE_ACCOUNTS, Bed, apply, bed
from tests.bench.peers.controllers import CONTROLLERS, Installed, install
from tests.bench.peers.loads import LOADS, Load
from tests.bench.peers.process import Process, Usage, usage
from tests.bench.peers.say import end_once, fail, name, say
from tests.bench.peers.sending import CREATE, MERGE, Call, send
from tests.bench.scale.machine import describe
from tests.e2e.apiserver import kubectl

WARM_UP = 3
CHANGES = 100
CHANGES_PER_SECOND = 10
QUIET_SECONDS = 8
LOAD_SECONDS = 1800
CHANGE_SECONDS = 600
FIRST_PASS_SECONDS = 600


@dataclass(kw_only=True)
class Run:
    """The measurement of one load."""

    load: Load
    count: int
    bed: Bed
    loader: Path
    installed: dict[str, Installed]
    processes: dict[str, Process]
    token: str
    result: dict[str, Any]
    unsettled: list[str] = field(default_factory=list)

    @property
    def users(self) -> list[str]:
        """The controllers, for the API server."""
        return [CONTROLLERS[name].user for name in self.load.controllers]

    def create(self) -> None:
        """All objects at once, until nothing is written any more."""
        mark, before = self.bed.log.mark(), self._usages()
        self._send([self._creation("o", index) for index in range(self.count)], "create")
        self._settle("create", LOAD_SECONDS)
        after, requests = self._usages(), self.bed.log.since(mark)
        self.result["create"] = figures.loaded(
            requests, child=self.load.child, status=self.load.status, users=self.users
        )
        self.result["calls"] = self._calls(requests)
        self.result["cpu_s"] = {name: round(after[name].cpu - before[name].cpu, 2) for name in after}
        self.result["rss_mb"] = {
            name: {"before": before[name].rss, "after": after[name].rss, "max": after[name].peak} for name in after
        }

    def change(self) -> None:
        """Patches at a steady rate, spread over the objects."""
        mark, changes = self.bed.log.mark(), min(CHANGES, self.count)
        step = self.count // changes
        calls = [
            Call(how=MERGE, path=self.load.path(index, f"o-{index:05d}"), body=self.load.change)
            for index in range(0, changes * step, step)
        ]
        self._send(calls, "change", in_flight=50, rate=CHANGES_PER_SECOND)
        self._settle("change", CHANGE_SECONDS)
        requests = self.bed.log.since(mark)
        self.result["change"] = figures.changed(requests, child=self.load.child, status=self.load.status)

    def restart(self) -> None:
        """Stop the last controller and start it anew, until it has looked at everything once."""
        which = self.load.controllers[-1]
        self.processes[which].stop()
        mark = self.bed.log.mark()
        process = self.processes[which] = self.installed[which].start()
        ready = process.ready()
        passed = self._first_pass(process)
        self._settle("restart", 120, quiet=4)
        calls = figures.calls(self.bed.log.since(mark), CONTROLLERS[which].user)
        now = usage(process.pid)
        self.result["restart"] = {
            "controller": which,
            "ready_s": ready,
            "first_pass_s": passed,
            "calls": dict(calls.most_common()),
            "writes": figures.writes(calls),
            "rss_mb": {"after": now.rss, "max": now.peak},
            "cpu_s": now.cpu,
        }

    def idle(self, seconds: float) -> None:
        """Nothing is changed."""
        self._settle("before the idle minutes", 120, quiet=15)
        mark, before = self.bed.log.mark(), self._usages()
        time.sleep(seconds)
        after, requests = self._usages(), self.bed.log.since(mark)
        self.result["idle"] = {
            "seconds": seconds,
            "writes": {name: figures.writes(calls) for name, calls in self._calls_by_name(requests).items()},
            "calls": self._calls(requests),
            "cpu_s": {name: round(after[name].cpu - before[name].cpu, 2) for name in after},
            "rss_mb": {name: after[name].rss for name in self.load.controllers},
        }

    def stop(self) -> None:
        """All controllers."""
        for process in self.processes.values():
            process.stop()

    def warm_up(self) -> None:
        """The first objects take longer: connections, caches, discovery."""
        self._send([self._creation("w", index) for index in range(WARM_UP)], "warm-up")
        self._settle("warm-up", 60, quiet=4)

    def _creation(self, prefix: str, index: int) -> Call:
        body = self.load.manifest(f"{prefix}-{index:05d}", self.load.namespace(index))
        return Call(how=CREATE, path=self.load.path(index), body=body)

    def _send(self, calls: list[Call], what: str, *, in_flight: int = 16, rate: float | None = None) -> None:
        refused = send(calls, self.loader, in_flight=in_flight, rate=rate)
        if refused.total() == len(calls):
            fail(f"{what}: every request was refused: {refused.most_common(1)}")
        if refused:
            say(f"{what}: refused {refused.most_common(3)}")
            self.result.setdefault("refused", {})[what] = refused.total()

    def _settle(self, what: str, limit: float, *, quiet: float = QUIET_SECONDS) -> None:
        """Until nobody has written anything but events and leases for a while."""
        begun = time.time()
        while time.time() - max(begun, self.bed.log.last_work()) < quiet:
            if time.time() - begun > limit:
                say(f"{what}: still writing after {limit:.0f} s")
                self.unsettled.append(what)
                return
            for process in self.processes.values():
                process.alive()
            time.sleep(0.5)
        say(f"{what}: settled")

    def _first_pass(self, process: Process) -> float | None:
        controller = self.installed[process.name].controller
        while time.time() - process.started < FIRST_PASS_SECONDS:
            process.alive()
            if controller.passed(process.metrics(self.token), self.count):
                return round(time.time() - process.started, 2)
            time.sleep(0.1)
        self.unsettled.append("first pass")
        return None

    def _usages(self) -> dict[str, Usage]:
        pids = {name: process.pid for name, process in self.processes.items()} | self.bed.system_pids()
        return {name: usage(pid) for name, pid in pids.items()}

    def _calls_by_name(self, requests: list[Request]) -> dict[str, Any]:
        return {n: figures.calls(requests, CONTROLLERS[n].user) for n in self.load.controllers}

    def _calls(self, requests: list[Request]) -> dict[str, dict[str, int]]:
        return {name: dict(calls.most_common()) for name, calls in self._calls_by_name(requests).items()}


def measure(which: str, *, count: int, idle: float, out: Path) -> dict[str, Any]:
    """All figures of a contender."""
    load, begun = LOADS[which], time.monotonic()
    result: dict[str, Any] = {"contender": which, "what": load.what, "objects": count, "machine": describe()}
    with ExitStack() as stack:
        place = stack.enter_context(bed(which, out / which))
        loader = place.identity(figures.LOADER)
        apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in load.namespaces])
        result["versions"] = _versions(load)
        run = Run(
            load=load, count=count, bed=place, loader=loader, installed={}, processes={}, token=_token(), result=result
        )
        stack.callback(run.stop)
        for controller in load.controllers:
            run.installed[controller] = install(CONTROLLERS[controller], place, SERVICE_ACCOUNTS)
            run.processes[controller] = run.installed[controller].start()
            say(f"{controller} is ready after {run.processes[controller].ready()} s")
        load.prepare(load.namespaces)
        run.warm_up()
        run.create()
        run.change()
        run.restart()
        result["loadAfter"] = [round(load, 2) for load in os.getloadavg()]
        print("idle", flush=True)
        run.idle(idle)
        result["unsettled"] = run.unsettled
    result["seconds"] = round(time.monotonic() - begun)
    return result


def _versions(load: Load) -> dict[str, str]:
    server = json.loads(kubectl("get", "--raw", "/version"))["gitVersion"].removeprefix("v")
    return {"kubernetes": server} | {name: CONTROLLERS[name].version for name in load.controllers}


def _token() -> str:
    """For those metrics that want to be asked by somebody."""
    kubectl("create", "serviceaccount", "metrics")
    kubectl(
        "create", "clusterrolebinding", "metrics", "--clusterrole=cluster-admin", "--serviceaccount=default:metrics"
    )
    return kubectl("create", "token", "metrics", "--duration=12h").strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=LOADS)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--idle", type=float, required=True, help="seconds")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    name(given.contender)
    end_once()
    line = json.dumps(measure(given.contender, count=given.count, idle=given.idle, out=given.out.resolve()))
    file = os.open(given.out / "peers.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, f"{line}\n".encode())  # at once: contenders may overlap
    os.close(file)
    say("written")


if __name__ == "__main__":
    main()
