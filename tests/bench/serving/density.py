"""Many models in one server: loads a second, memory a model, latency over all of them, memory after unloading; prints JSON."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tests.bench.serving.load import Line, finish, network, start, write_plan
from tests.serving.triton import Triton, build_backend

WIDTHS = (20, 256, 256, 1)


def timed(action: Any, names: list[str], threads: int) -> dict[str, float]:
    """Runs the action for all names, so many at once."""
    begun = time.monotonic()

    def one(name: str) -> float:
        since = time.monotonic()
        action(name)
        return time.monotonic() - since

    with ThreadPoolExecutor(threads) as pool:
        each = list(pool.map(one, names))
    seconds = time.monotonic() - begun
    p50, p99 = (round(1000 * float(value), 2) for value in np.percentile(each, [50, 99]))
    return {"seconds": round(seconds, 2), "per_second": round(len(names) / seconds, 1), "p50_ms": p50, "p99_ms": p99}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--loaders", type=int, default=4, help="loads at the same time")
    parser.add_argument("--seconds", type=float, default=10.0, help="of requests, over all models")
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    names = [f"m{number}" for number in range(options.models)]
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder, Triton(build_backend()) as server:
        for number, name in enumerate(names):
            server.add(name, network(WIDTHS, number))
        server.add("first", network(WIDTHS, -1 % 2**31))
        server.load("first")
        empty = server.rss()
        loads = timed(server.load, names, options.loaders)
        full = server.rss()
        plan = Path(folder) / "plan"
        zeros = [0.0] * WIDTHS[0]
        write_plan(plan, [Line(name, zeros, '"data":[0.0]') for name in names], WIDTHS[0])
        figures = finish(start(server, plan, connections=options.connections, seconds=options.seconds))
        threads = len(list(Path(f"/proc/{server.pid}/task").iterdir()))
        served = server.rss()
        unloads = timed(server.unload, names, options.loaders)
        time.sleep(2)
        result = {
            "models": options.models,
            "model_bytes": len(network(WIDTHS, 0)),
            "loads": loads,
            "unloads": unloads,
            "requests": figures,
            "threads": threads,
            "rss_mib": {
                "empty": empty >> 20,
                "loaded": full >> 20,
                "served": served >> 20,
                "unloaded": server.rss() >> 20,
            },
            "mib_per_model": round((served - empty) / options.models / 2**20, 3),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
