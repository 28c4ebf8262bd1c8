"""Measures the real operator on a real API server and etcd at several sizes; pods are simulated. Writes JSON.

Each size has two fresh clusters: one on which so many TrainingRuns, then so many Deployments, are submitted at once (not
beyond --burst-limit: that takes long), and one that is filled with a mix of kinds, changed at a steady rate, left alone, and
restarted. One JSON file a size, and summary.json; `python -m tests.bench.scale.report FOLDER` makes the tables and the chart
of docs/performance.md of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.bench.scale.burst import burst
from tests.bench.scale.machine import describe
from tests.bench.scale.mixed import mixed
from tests.bench.scale.stage import say
from tests.bench.scale.summary import summarise
from tests.e2e.apiserver import ROOT

QUICK = {"sizes": "100,300", "churn_seconds": 10.0, "idle_seconds": 10.0}
FULL = {"sizes": "100,1000,5000,10000", "churn_seconds": 120.0, "idle_seconds": 300.0}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="hack/bench scale.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"a test of the bench itself: {QUICK}")
    parser.add_argument("--sizes", help=f"objects, comma-separated (default: {FULL['sizes']})")
    cache = os.environ.get("TIDEMILL_CACHE") or os.environ.get("XDG_CACHE_HOME", f"{Path.home()}/.cache") + "/tidemill"
    folder = Path(cache) / "bench-scale"
    parser.add_argument(
        "--out", type=Path, default=folder, help="folder of results and logs (default: bench-scale in the cache)"
    )
    parser.add_argument("--cluster", default="scale", help="name of the clusters (default: %(default)s)")
    parser.add_argument("--namespaces", type=int, default=8, help="namespaces (default: %(default)s)")
    parser.add_argument(
        "--burst-limit",
        type=int,
        default=1000,
        metavar="COUNT",
        help="greatest size that is also submitted at once on an empty cluster (default: %(default)s)",
    )
    parser.add_argument("--churn-rate", type=float, default=20.0, help="spec changes a second (default: %(default)s)")
    parser.add_argument("--churn-seconds", type=float, help=f"how long (default: {FULL['churn_seconds']:g})")
    parser.add_argument("--idle-seconds", type=float, help=f"how long (default: {FULL['idle_seconds']:g})")
    parser.add_argument(
        "--patience", type=float, default=1800.0, metavar="SECONDS", help="for one step (default: %(default)s)"
    )
    parser.add_argument("--only", choices=("burst", "mixed"), help="one of the two clusters of each size")
    parsed = parser.parse_args(given)
    for name, value in (QUICK if parsed.quick else FULL).items():
        if getattr(parsed, name) is None:
            setattr(parsed, name, value)
    try:
        parsed.sizes = sorted({int(size) for size in parsed.sizes.split(",")})
    except ValueError:
        parser.error(f"--sizes: whole numbers, comma-separated, not {parsed.sizes!r}")
    return parsed


async def measure(size: int, given: argparse.Namespace) -> dict[str, Any]:
    """One size."""
    folder = given.out.resolve() / f"logs-{size}"
    result: dict[str, Any] = {"size": size, "commit": _commit(), "at": _now(), "machine": describe()}
    if given.only != "mixed" and size <= given.burst_limit:
        say(f"size {size}: submitted at once")
        result["burst"] = await burst(
            given.cluster,
            folder / "burst",
            count=size,
            spaces=given.namespaces,
            patience=given.patience,
        )
    if given.only != "burst":
        say(f"size {size}: mixed")
        result["mixed"] = await mixed(
            given.cluster,
            folder / "mixed",
            size=size,
            spaces=given.namespaces,
            churn_rate=given.churn_rate,
            churn_seconds=given.churn_seconds,
            idle_seconds=given.idle_seconds,
            patience=given.patience,
        )
    result["machine"]["loadAfter"] = describe()["loadBefore"]
    return result


def main() -> None:
    """All sizes, one after the other; a size's results are on disk before the next begins."""
    given = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clusters and processes end with the bench
    given.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for size in given.sizes:
        result = asyncio.run(measure(size, given))
        (given.out / f"size-{size}.json").write_text(json.dumps(result, indent=1) + "\n")
    results = [json.loads((given.out / f"size-{size}.json").read_text()) for size in given.sizes]
    summary = {"seconds": round(time.monotonic() - began), **summarise(results)}
    (given.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


def _commit() -> str:
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    main()
