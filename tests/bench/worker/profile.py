"""Seconds and peak memory of a profile of 1,000,000 rows of 20 columns, beside the profiler that most people know.

    python -m tests.bench.worker.profile [--rows 1000000] [--ydata-python PYTHON]

All see the same parquet file in the same run, each in a process of its own, with one thread each. What is timed begins when
the rows are loaded (into DuckDB, into pandas) and ends when the page is written. ydata-profiling, which is called
fg-data-profiling since 4.19, needs older libraries: its interpreter is named. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.contract.profiling import ProfileOptions
from tidemill.contract.split import RandomSplit, Split
from tidemill_worker.data import engine
from tidemill_worker.data.split import split
from tidemill_worker.profile import files, pictures
from tidemill_worker.profile.build import build

TARGET, TIME = "y", "time"
PEER_SECONDS = 600
MIB = 1 << 20


def table(rows: int) -> pa.Table:
    """Twenty columns: normal, skewed and whole numbers, categories, identifiers, a flag, a time and a target."""
    rng = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {}
    for i in range(4):
        missing = rng.random(rows) < 0.02
        columns[f"normal{i}"] = pa.array(rng.normal(size=rows), mask=missing)
        columns[f"skewed{i}"] = pa.array(rng.lognormal(size=rows), mask=missing)
        columns[f"whole{i}"] = pa.array(rng.integers(0, 10 ** (i + 1), rows), mask=rng.random(rows) < 0.02)
    for categories in (3, 20, 1_000, 50_000):
        codes = rng.integers(0, categories, rows)
        columns[f"text{categories}"] = pa.array([f"value {c}" for c in codes.tolist()])
    columns["id"] = pa.array([f"id-{i:08}" for i in range(rows)])
    columns["flag"] = pa.array(rng.random(rows) < 0.3)
    columns[TIME] = pa.array((1_600_000_000_000_000 + rng.integers(0, 10**13, rows)).astype("datetime64[us]"))
    linear = np.nan_to_num(columns["normal0"].to_numpy(zero_copy_only=False))
    columns[TARGET] = pa.array(linear + rng.normal(size=rows))
    return pa.table(columns)


def peak_since_now() -> None:
    """Forget the peak of resident memory so far (proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def memory() -> dict[str, int]:
    """Resident memory of this process and its peak, MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"rss_mib": int(lines["VmRSS"].split()[0]) >> 10, "peak_mib": int(lines["VmHWM"].split()[0]) >> 10}


def ours(path: Path) -> dict[str, Any]:
    """Tidemill's profile, page and pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        connection = engine.connect(folder / "spill", 4 << 30)
        connection.execute(f"CREATE TABLE raw AS FROM read_parquet({engine.literal(str(path))})")
        rows = split(connection, "raw", "rows", Split(random=RandomSplit()))
        connection.execute("DROP TABLE raw")
        types = {n: t for n, t in engine.columns(connection, "rows").items() if not n.startswith("_tidemill_")}
        peak_since_now()
        before, found = memory()["rss_mib"], {}
        options = ProfileOptions(target=TARGET, time_column=TIME, pictures=False)
        wall, cpu = time.perf_counter(), time.process_time()
        profile = build(connection, "rows", types, rows, options)
        found["profile"] = _since(wall, cpu)
        wall, cpu = time.perf_counter(), time.process_time()
        files.write(profile, options, folder)
        found["page"] = _since(wall, cpu)
        found["memory"] = {"before_mib": before, "peak_mib": memory()["peak_mib"]}
        from tidemill_worker.profile import png

        drawn = pictures.pictures(profile).all()
        wall, cpu = time.perf_counter(), time.process_time()
        for picture in drawn:
            png.write(picture, folder / files.PICTURES)
        found["pictures"] = {"number": len(drawn), **_since(wall, cpu)}
        sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
        sizes[files.PICTURES] = sum(path.stat().st_size for path in (folder / files.PICTURES).iterdir())
        return {**found, "bytes": sizes, "alerts": len(profile.alerts)}


def _since(wall: float, cpu: float) -> dict[str, float]:
    return {"wall": round(time.perf_counter() - wall, 2), "cpu": round(time.process_time() - cpu, 2)}


def process(command: list[str], seconds: float | None = None) -> dict[str, Any]:
    """The JSON that a command prints last; or that it did not end in time."""
    variables = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=variables)
    except subprocess.TimeoutExpired:
        return {"stopped_after": seconds}
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--ydata-python", help="an interpreter that has fg-data-profiling (or ydata-profiling) and pyarrow"
    )
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only is not None:
        print(json.dumps(ours(arguments.only)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "rows.parquet"
        rows = table(arguments.rows)
        pq.write_table(rows, path)
        result: dict[str, Any] = {"rows": rows.num_rows, "columns": rows.num_columns, "cpus": os.cpu_count()}
        result["load_before"] = round(os.getloadavg()[0], 1)
        result["tidemill"] = process([sys.executable, "-m", "tests.bench.worker.profile", "--only", str(path)])
        if arguments.ydata_python:
            script = str(Path(__file__).with_name("ydata_report.py"))
            for how in ("minimal", "full"):
                command = [arguments.ydata_python, script, str(path), how]
                result[f"ydata_{how}"] = process(command, PEER_SECONDS)
        result["load_after"] = round(os.getloadavg()[0], 1)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
