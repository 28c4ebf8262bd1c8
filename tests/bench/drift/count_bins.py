"""Counting values into a baseline's bins and scoring them by PSI, beside a plain numpy version and Evidently.

    python -m tests.bench.drift.count_bins [--rows 1000000] [--columns 20] [--evidently-python PYTHON]

All ways see the same columns in the same run; counting uses one thread. Beside the wall-clock time stands the processor
time, which other work on the machine changes little. Evidently needs older libraries: its interpreter is
named, and it runs as a process of its own. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidemill.contract.metrics import RATIO_FLOOR
from tidemill_agent.binning import NumericBins

Array = npt.NDArray[Any]
DECILES = np.arange(1, 10) / 10
REPEATS = 5


def columns(rows: int, number: int, dtype: str) -> tuple[list[Array], list[Array]]:
    """Reference and current values; three columns of the current ones have changed."""
    random = np.random.default_rng(7)
    reference = [random.normal(size=rows).astype(dtype) for _ in range(number)]
    current = [random.normal(size=rows).astype(dtype) for _ in range(number)]
    current[0] += np.asarray(0.3, dtype=dtype)
    current[1] *= np.asarray(1.5, dtype=dtype)
    current[2] = random.exponential(size=rows).astype(dtype)
    return reference, current


def psi(expected: Array, counted: Array) -> float:
    """The score that the operator asks Prometheus for."""
    a = np.maximum(expected / expected.sum(), RATIO_FLOOR)
    b = np.maximum(counted / counted.sum(), RATIO_FLOOR)
    return float(np.sum((b - a) * np.log(b / a)))


def tidemill(bins: list[NumericBins], baselines: list[Array], current: list[Array]) -> list[float]:
    """As the agent counts."""
    return [psi(base, b.count(values)[0]) for b, base, values in zip(bins, baselines, current, strict=True)]


def plain(edges: list[Array], baselines: list[Array], current: list[Array]) -> list[float]:
    """One `searchsorted` and one `bincount` a column."""
    return [
        psi(base, np.bincount(np.searchsorted(edge, values, side="right"), minlength=len(edge) + 1))
        for edge, base, values in zip(edges, baselines, current, strict=True)
    ]


def timed(work: Callable[[], list[float]]) -> tuple[dict[str, float], list[float]]:
    """Seconds of several runs: wall-clock time and this process's processor time."""
    walls, processors, scores = [], [], []
    for _ in range(REPEATS):
        wall, processor = time.perf_counter(), time.process_time()
        scores = work()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    found = {
        "best": min(walls),
        "median": sorted(walls)[len(walls) // 2],
        "cpu_median": sorted(processors)[REPEATS // 2],
    }
    return {name: round(seconds, 4) for name, seconds in found.items()}, scores


def measure(rows: int, number: int, evidently: str | None) -> dict[str, Any]:
    """Everything, for both precisions."""
    result: dict[str, Any] = {"rows": rows, "columns": number, "values": rows * number}
    for dtype in ("float32", "float64"):
        reference, current = columns(rows, number, dtype)
        edges = [np.quantile(values, DECILES).astype(dtype) for values in reference]
        bins = [NumericBins(tuple(map(float, edge))) for edge in edges]
        baselines = [b.count(values)[0] for b, values in zip(bins, reference, strict=True)]
        ours, our_scores = timed(partial(tidemill, bins, baselines, current))
        theirs, their_scores = timed(partial(plain, edges, baselines, current))
        if not np.allclose(our_scores, their_scores, rtol=0, atol=1e-12):
            raise AssertionError(f"the scores differ: {our_scores} and {their_scores}")
        result[dtype] = {"tidemill": ours, "numpy_searchsorted": theirs, "psi": [round(s, 5) for s in our_scores[:4]]}
        if evidently and dtype == "float64":
            found = run_evidently(evidently, reference, current)
            result[dtype]["evidently"] = found
            result["times_faster_than_evidently"] = {
                "wall": round(found["seconds"] / ours["median"]),
                "cpu": round(found["cpu_seconds"] / ours["cpu_median"]),
            }
    return result


def run_evidently(python: str, reference: list[Array], current: list[Array]) -> dict[str, Any]:
    """Evidently's PSI of every column, by its own interpreter, on the very same values."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "columns.npz"
        np.savez(path, reference=np.stack(reference), current=np.stack(current))
        script = Path(__file__).with_name("evidently_psi.py")
        done = subprocess.run([python, script, path], capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise RuntimeError(f"Evidently failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--evidently-python", help="an interpreter with requirements/bench.txt installed")
    arguments = parser.parse_args()
    result = measure(arguments.rows, arguments.columns, arguments.evidently_python)
    load = os.getloadavg()[0]
    print(json.dumps({**result, "load_average": round(load, 1), "cpus": os.cpu_count()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
