"""Does a noisy namespace delay a quiet one? The real operator on a real API server; prints JSON.

    hack/bench scale.fairness [--objects 5000] [--rate 150] [--seconds 60] [--out FILE]

Both namespaces hold suspended Datasets, whose every change of spec is one reconcile and one status write. The quiet one's
are changed twice a second: first with nothing else going on, then while the noisy one's are changed at a rate, then while
all of them are changed at once. For comparison (`unwatched`), the same rate of writes to ConfigMaps, with which the operator
has nothing to do: what that delays is the API server's and the machine's share.

A quiet change's latency is from the answer to the change until a watch shows the status (`specToStatus`), and until the
API server received the operator's write (`untilWrite`, from its audit log); `change` is what the API server itself took to
answer, which says how busy the machine is apart from the operator.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.scale.figures import spread
from tests.bench.scale.load import create
from tests.bench.scale.machine import describe
from tests.bench.scale.noise import change
from tests.bench.scale.stage import Stage, Step, say, staged
from tests.bench.scale.tracker import Raw
from tests.e2e.apiserver import ROOT
from tests.property import manifests

QUIET, NOISY = "quiet", "noisy"
QUIET_OBJECTS = 20
QUIET_RATE = 2.0
LATEST = 120.0
"""Seconds after the last change within which everything must have been answered."""


@dataclass(slots=True)
class _Change:
    name: str
    generation: int
    sent: float
    answered: float
    answered_wall: float
    status_at: float | None = None


class Quiet:
    """Changes the quiet namespace's objects in turn, and hears of their statuses."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._count = 0
        self._changes: list[_Change] = []
        self._seen: dict[str, list[tuple[int, float]]] = {}
        """The observed generations of each object, with the time."""

    async def run(self, over: asyncio.Event) -> dict[str, Any]:
        """Go on until `over` is set; the latencies."""
        self._changes.clear()
        mark = self._stage.audit.mark()
        self._stage.tracker.listeners.append(self._hear)
        began, number = time.monotonic(), 0
        tasks: list[asyncio.Task[None]] = []
        while not over.is_set():
            tasks.append(asyncio.create_task(self._change()))
            number += 1
            await asyncio.sleep(max(0.0, began + number / QUIET_RATE - time.monotonic()))
        await asyncio.gather(*tasks)
        end = time.monotonic() + LATEST
        while self._unanswered() and time.monotonic() < end:
            await asyncio.sleep(0.1)
        self._stage.tracker.listeners.remove(self._hear)
        return {
            "changes": len(self._changes),
            "unanswered": self._unanswered(),
            "change": spread([c.answered - c.sent for c in self._changes]),
            "untilWrite": spread(self._until_write(mark)),
            "specToStatus": spread([max(0.0, c.status_at - c.answered) for c in self._changes if c.status_at]),
        }

    async def _change(self) -> None:
        self._count += 1
        name, sent = f"{QUIET}-{self._count % QUIET_OBJECTS}", time.monotonic()
        generation = await change(self._stage.client, QUIET, name, self._count)
        made = _Change(name, generation, sent, time.monotonic(), time.time())
        self._changes.append(made)

    def _hear(self, obj: Raw, now: float) -> None:
        meta = obj["metadata"]
        if obj["kind"] == "Dataset" and meta["namespace"] == QUIET:
            observed = int((obj.get("status") or {}).get("observedGeneration") or 0)
            self._seen.setdefault(meta["name"], []).append((observed, now))

    def _unanswered(self) -> int:
        for one in self._changes:
            if one.status_at is None:
                found = (at for seen, at in self._seen.get(one.name, ()) if seen >= one.generation)
                one.status_at = next(found, None)
        return sum(one.status_at is None for one in self._changes)

    def _until_write(self, mark: int) -> list[float]:
        """For each change, when the first status write of its object after it was received."""
        writes: dict[str, list[float]] = {}
        for request in self._stage.requests(mark):
            if request.resource.endswith("/status") and request.name.startswith(QUIET):
                writes.setdefault(request.name, []).append(request.received)
        # The write may be received before the answer to the change has arrived: such a change was not delayed at all.
        earliest = {id(c): c.answered_wall - (c.answered - c.sent) for c in self._changes}
        waits = []
        for one in self._changes:
            found = [at for at in writes.get(one.name, ()) if at >= earliest[id(one)]]
            if found:
                waits.append(max(0.0, min(found) - one.answered_wall))
        return waits


async def _noise(stage: Stage, *flags: str) -> dict[str, Any]:
    """Run the noise in a process of its own, to its end."""
    command = [sys.executable, "-m", "tests.bench.scale.noise", "--kubeconfig", str(stage.bench.admin)]
    process = await asyncio.create_subprocess_exec(
        *command, "--namespace", NOISY, *flags, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the noise failed, see above")
    found: dict[str, Any] = json.loads(out)
    return found


async def _drained(stage: Stage, seconds: float) -> None:
    """Wait until no resource waits for a worker."""
    end = time.monotonic() + seconds
    while await asyncio.to_thread(lambda: stage.operator.metric("tidemill_queue_depth")) > 0:
        if time.monotonic() > end:
            raise TimeoutError(f"the queue is not empty after {seconds:.0f} s")
        await asyncio.sleep(1)


async def phase(stage: Stage, quiet: Quiet, name: str, *, noise: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """The quiet namespace's latencies while the noise goes on (or for so many seconds without any)."""
    say(name)
    over, step = asyncio.Event(), await Step.begin(stage)
    measuring = asyncio.create_task(quiet.run(over))
    result: dict[str, Any] = {}
    try:
        if noise:
            result["noise"] = await _noise(stage, *noise)
            await _drained(stage, 600)
        else:
            await asyncio.sleep(seconds)
    finally:
        over.set()
    result |= await measuring
    changes = result["changes"] + result.get("noise", {}).get("changes", 0)
    await stage.tracker.until_quiet()
    cost = await step.end(changes)
    kept = ("seconds", "operatorCpuSeconds", "reconcilesPerObject", "apiCallsPerObject", "othersCpuSeconds")
    say(f"{name}: {result['specToStatus']}")
    return {**result, **{key: cost[key] for key in kept}}


async def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All phases."""
    async with staged(given.cluster, folder) as stage:
        stage.bench.make_namespaces(QUIET, NOISY)
        stage.start("operator")
        await asyncio.to_thread(stage.operator.until_first_pass)
        say(f"{given.objects} noisy objects")
        await create(stage.client, (_dataset(QUIET, n) for n in range(QUIET_OBJECTS)))
        await create(stage.client, (_dataset(NOISY, n) for n in range(given.objects)))
        await _drained(stage, 600)
        await stage.tracker.until_quiet()
        quiet = Quiet(stage)
        objects = ("--objects", str(given.objects))
        steady = (*objects, "--rate", str(given.rate), "--seconds", str(given.seconds))
        phases = {
            "idle": await phase(stage, quiet, "nothing else", noise=(), seconds=given.seconds),
            "unwatched": await phase(
                stage, quiet, f"{given.rate:g} unwatched changes/s beside", noise=(*steady, "--unwatched"), seconds=0
            ),
            "steady": await phase(stage, quiet, f"{given.rate:g} changes/s beside", noise=steady, seconds=0),
            "burst": await phase(stage, quiet, f"{given.objects} changes at once beside", noise=objects, seconds=0),
        }
        return {
            "machine": describe(),
            "objects": given.objects,
            "ratios": {name: _ratios(phases[name], phases["idle"]) for name in ("unwatched", "steady", "burst")},
            **phases,
        }


def _ratios(noisy: dict[str, Any], idle: dict[str, Any]) -> dict[str, float]:
    """p50 and p99 of each latency, as multiples of those without noise."""
    return {
        f"{what}P{p}": round(noisy[what][f"p{p}Ms"] / max(1.0, idle[what][f"p{p}Ms"]), 2)
        for what in ("change", "untilWrite", "specToStatus")
        for p in (50, 99)
    }


def _dataset(namespace: str, number: int) -> Raw:
    made = manifests.dataset(f"{namespace}-{number}", suspend=True)
    return {**made, "metadata": {**made["metadata"], "namespace": namespace}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=5000, help="of the noisy namespace (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=150.0, help="noisy changes a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the first two phases (default: %(default)s)")
    parser.add_argument("--cluster", default="fairness", help="name of the cluster (default: %(default)s)")
    parser.add_argument("--logs", type=Path, help="folder for logs and settings (default: a new one)")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the cluster and the processes end with the bench
    folder = given.logs or Path(tempfile.mkdtemp(prefix="tidemill-fairness-"))
    text = json.dumps(asyncio.run(measure(given, folder.resolve())), indent=1)
    if given.out:
        given.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
