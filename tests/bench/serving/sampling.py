"""Requests a second with sampling off and at 10 %, on one server, in alternating slices; prints JSON.

Two equal models differ in their sampling rate alone, and the load changes from one to the other every half second, so that
what else the machine does hits both alike. A round is a number of such slices of each; the ratio that counts is the median
over the rounds. The server's processor time for a request is measured beside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

from tests.bench.serving.load import doubling, exact_lines, finish, start, write_plan
from tests.serving.tapped import Tapped, wait_for
from tests.serving.triton import build_backend


def processor_seconds(server: Tapped) -> float:
    """User and system time of the server so far."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(server: Tapped, plan: Path, options: argparse.Namespace) -> dict[str, float]:
    """One slice."""
    before = processor_seconds(server)
    figures = finish(start(server, plan, connections=options.connections, seconds=options.seconds))
    if figures["ok"] != figures["requests"]:
        raise RuntimeError(f"wrong answers: {figures}")
    return {**figures, "cpu": processor_seconds(server) - before}


def compare(server: Tapped, plans: dict[str, Path], options: argparse.Namespace, number: int) -> dict[str, float]:
    """One round."""
    order = ["off", "on"] if number % 2 == 0 else ["on", "off"]
    sums = {name: {"requests": 0.0, "seconds": 0.0, "cpu": 0.0} for name in order}
    for _ in range(options.slices):
        for name in order:
            found = run(server, plans[name], options)
            for key in sums[name]:
                sums[name][key] += found[key]
    rates = {name: item["requests"] / item["seconds"] for name, item in sums.items()}
    cost = {name: 1e6 * item["cpu"] / item["requests"] for name, item in sums.items()}
    return {
        "off": round(rates["off"], 1),
        "on": round(rates["on"], 1),
        "ratio": round(rates["on"] / rates["off"], 4),
        "cpu_us_off": round(cost["off"], 2),
        "cpu_us_on": round(cost["on"], 2),
        "cpu_ratio": round(cost["off"] / cost["on"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=10, help="of each kind in a round")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a slice")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.1)
    options = parser.parse_args()
    columns = 16
    temporary = tempfile.TemporaryDirectory(prefix="tidemill-bench-")
    with temporary as folder, Tapped(build_backend(), Path(folder) / "tap", {}) as server:
        server.set_rates(models={"on": options.rate})
        plans = {}
        for name in ("off", "on"):
            server.add(name, doubling(columns, 2), config="max_batch_size: 64")
            server.load(name)
            plans[name] = Path(folder) / name
            write_plan(plans[name], exact_lines(name, columns, 2, 64, 1), columns)
            run(server, plans[name], options)
        wait_for("the rate is followed", lambda: abs(server.counters("on")["rate"] - options.rate) < 1e-6)
        rounds = [compare(server, plans, options, number) for number in range(options.rounds)]
        counters = server.settled("on", 0)
    medians = {f"median_{key}": statistics.median(item[key] for item in rounds) for key in ("ratio", "cpu_ratio")}
    kept = ("seen", "sampled", "written", "dropped")
    print(json.dumps({"rounds": rounds, **medians, "tap": {key: counters[key] for key in kept}}, indent=2))


if __name__ == "__main__":
    main()
