"""A long run: millions of requests with sampling on, its rate changed and models loaded and unloaded meanwhile; prints JSON.

Every answer is checked by the load generator, every sampled value by the consumer here (which deletes segments as the
agent does), and at the end the tap's books must balance: sampled = read + dropped. The server's memory and the tap's disk
are bounded: memory by what it was after the first fifth of the run and a quarter of that, disk by the tap's own limit.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.bench.serving.load import doubling, exact_lines, finish, network, start, write_plan
from tests.serving.tapped import Tapped, wait_for
from tests.serving.triton import build_backend

from tidemill_agent.tap import read_batches, segments

COLUMNS = 16
# The mean is 10 %.
RATES = (0.1, 0.02, 0.18, 0.1, 0.0, 0.2)
MEMORY_GROWTH = 1.25
MODELS = {"double": 2, "triple": 3, "tenfold": 10}


@dataclass
class Consumer:
    """Reads, checks and deletes segments."""

    server: Tapped
    read: dict[str, int] = field(default_factory=dict)
    wrong: int = 0
    segments: int = 0
    max_disk: int = 0

    def round(self) -> None:
        """All segments that are complete now."""
        self.max_disk = max(self.max_disk, self.server.disk())
        for path in segments(self.server.tap):
            for batch in read_batches(path):
                self.read[batch.model] = self.read.get(batch.model, 0) + len(batch)
                factor = MODELS.get(batch.model)
                if factor is not None:
                    same = batch.outputs["y"] == np.float32(factor) * batch.inputs["x"]
                    self.wrong += int((~same).any(axis=(1, 2)).sum())
            path.unlink()
            self.segments += 1


@dataclass
class Churn:
    """Loads, asks and unloads models, one after the other, and loads a served model again now and then."""

    server: Tapped
    loads: int = 0
    reloads: int = 0
    problems: list[str] = field(default_factory=list)

    def forever(self, stop: threading.Event) -> None:
        """Until told to stop; problems are kept for the summary."""
        model = network((64, 256, 64, 1), 5)
        body = {"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}]}
        for number in itertools.count():
            if stop.wait(0.2):
                return
            name = f"guest-{number % 40}"
            try:
                self.server.add(name, model)
                self.server.load(name)
                answer = self.server.call("POST", f"v2/models/{name}/infer", body)
                if answer["outputs"][0]["data"] != [0]:
                    raise ValueError(f"wrong answer of {name}: {answer}")
                self.server.unload(name)
                self.loads += 1
                if number % 25 == 24:
                    chosen = list(MODELS)[number // 25 % len(MODELS)]
                    version = 2 + number // 25
                    self.server.add(chosen, doubling(COLUMNS, MODELS[chosen]), version=version)
                    self.server.load(chosen)
                    self.reloads += 1
            except Exception as error:
                self.problems.append(repr(error))


def run(server: Tapped, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The soak on a server that is ready."""
    plan = folder / "plan"
    lines = [
        line
        for seed, (name, factor) in enumerate(MODELS.items())
        for line in exact_lines(name, COLUMNS, factor, 32, seed)
    ]
    write_plan(
        plan, [line for group in zip(*[lines[i::32] for i in range(32)], strict=True) for line in group], COLUMNS
    )
    for name, factor in MODELS.items():
        server.add(name, doubling(COLUMNS, factor), config="max_batch_size: 64")
        server.load(name)
    consumer, churn, stop = Consumer(server), Churn(server), threading.Event()
    thread = threading.Thread(target=churn.forever, args=(stop,))
    thread.start()
    load: subprocess.Popen[str] = start(server, plan, connections=options.connections, requests=options.requests)
    begun = time.monotonic()
    memory: list[int] = []
    changes = 0
    rates = itertools.cycle(RATES)
    next_change = next_sample = begun
    try:
        while load.poll() is None:
            now = time.monotonic()
            if not server.alive():
                raise RuntimeError(f"the server ended after {now - begun:.0f} s:\n{server.log[-2000:]}")
            if now >= next_change:
                server.set_rates(default=next(rates))
                changes, next_change = changes + 1, now + options.change
            if now >= next_sample:
                memory.append(server.rss() >> 20)
                next_sample = now + 5
                print(f"{now - begun:.0f} s: {memory[-1]} MiB, {sum(consumer.read.values())} samples", file=sys.stderr)
            consumer.round()
            time.sleep(0.5)
    finally:
        stop.set()
        thread.join()
        if load.poll() is None:
            load.kill()
    figures = finish(load)
    books = settle(server, consumer)
    warm = memory[len(memory) // 5 :] or memory
    return {
        "load": figures,
        "lost_answers": figures["requests"] - figures["ok"],
        "server_alive": server.alive(),
        "rate_changes": changes,
        "models_loaded_and_unloaded": churn.loads,
        "served_models_loaded_again": churn.reloads,
        "churn_problems": churn.problems[:5],
        "tap": {**books, "wrong_values": consumer.wrong, "segments_read": consumer.segments},
        "balanced": books["sampled"] == books["read"] + books["dropped"],
        "memory_mib": {"after_start": memory[0], "warm": warm[0], "max": max(memory), "last": memory[-1]},
        "disk_max_bytes": consumer.max_disk,
        "disk_limit_bytes": server.stats()["max_bytes"],
    }


def settle(server: Tapped, consumer: Consumer) -> dict[str, int]:
    """Stops sampling, reads the rest, and adds up the counters of loaded and unloaded models."""
    server.set_rates(default=0.0)

    def books() -> dict[str, int]:
        stats = server.stats()
        rows = [stats["unloaded"], *stats["models"].values()]
        return {
            key: sum(row[key] for row in rows) for key in ("seen", "sampled", "written", "dropped", "dropped_queue")
        }

    def complete() -> bool:
        consumer.round()
        now = books()
        parts = list((server.tap / "segments").iterdir())
        rates = [row["rate"] for row in server.stats()["models"].values()]
        return not any(rates) and not parts and now["sampled"] == now["written"] + now["dropped"]

    wait_for("the tap has settled", complete, seconds=30)
    return {**books(), "read": sum(consumer.read.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--change", type=float, default=15.0, help="seconds between changes of the sampling rate")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="tidemill-soak-") as folder,
        Tapped(build_backend(), Path(folder) / "tap", {}) as server,
    ):
        summary = run(server, Path(folder), options)
    print(json.dumps(summary, indent=2))
    failed = (
        summary["lost_answers"]
        or summary["tap"]["wrong_values"]
        or not summary["balanced"]
        or summary["churn_problems"]
        or not summary["server_alive"]
        or summary["memory_mib"]["max"] > MEMORY_GROWTH * summary["memory_mib"]["warm"]
        or summary["disk_max_bytes"] > summary["disk_limit_bytes"]
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
