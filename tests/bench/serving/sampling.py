"""Requests a second with sampling off and at 10 %, alternating on one server; prints JSON.

The ratio that counts is the median of the rounds' ratios: each round runs both, one after the other, in changing order.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.serving.load import doubling, exact_lines, finish, start, write_plan
from tests.serving.tapped import Tapped, wait_for
from tests.serving.triton import build_backend


def run(server: Tapped, plan: Path, rate: float, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement at a sampling rate."""
    server.set_rates(models={"m": rate})
    wait_for("the rate is followed", lambda: abs(server.counters("m")["rate"] - rate) < 1e-6)
    figures = finish(start(server, plan, connections=options.connections, seconds=options.seconds))
    if figures["ok"] != figures["requests"]:
        raise RuntimeError(f"wrong answers at rate {rate}: {figures}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.1)
    options = parser.parse_args()
    columns = 16
    with (
        tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder,
        Tapped(build_backend(), Path(folder) / "tap", {}) as server,
    ):
        server.add("m", doubling(columns, 2), config="max_batch_size: 64")
        server.load("m")
        plan = Path(folder) / "plan"
        write_plan(plan, exact_lines("m", columns, 2, 64, 1), columns)
        finish(start(server, plan, connections=options.connections, seconds=1.0))
        wait_for("the model is known to the tap", lambda: server.counters("m")["seen"] > 0)
        rounds = []
        for number in range(options.rounds):
            order = (0.0, options.rate) if number % 2 == 0 else (options.rate, 0.0)
            found = {rate: run(server, plan, rate, options)["per_second"] for rate in order}
            rounds.append(
                {"off": found[0.0], "on": found[options.rate], "ratio": round(found[options.rate] / found[0.0], 4)}
            )
        counters = server.settled("m", 0)
    ratio = statistics.median(item["ratio"] for item in rounds)
    kept = ("seen", "sampled", "written", "dropped")
    print(json.dumps({"rounds": rounds, "median_ratio": ratio, "tap": {key: counters[key] for key in kept}}, indent=2))


if __name__ == "__main__":
    main()
