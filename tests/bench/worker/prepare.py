"""Preparing a dataset that is larger than memory: seconds, peak memory and disk, beside plain DuckDB.

    python -m tests.bench.worker.prepare [--gigabytes 10] [--memory 2Gi] [--folder /tmp] [--store FOLDER] [--cgroup FOLDER]

Generates parquet files of numbers, categories and texts, puts them into a SeaweedFS, and runs one PrepareDataset over them
(filter, derived column, random split, profile) with that memory limit. Beside it one statement of DuckDB alone, with the same
limit and one thread too, reads the local files, filters and writes one file: no download, no NaN check, no order, no split, no
profile, no hashes, no upload. Each runs as a process of its own. `anonymous` is the peak of memory that the kernel cannot take
back (sampled); `resident` also has mapped files and libraries. `--cgroup` names a writable memory cgroup whose limit then
holds the processes as a container's would. `--store`: where the object store keeps its files, perhaps on another disk.
Prints JSON lines; needs about six times `--gigabytes` of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
from tests.worker.lab import ACCESS, OWNER, SECRET, Seaweed, make_lab, start_seaweed

from tidemill.contract.tasks import TASK
from tidemill_worker.context import Context
from tidemill_worker.environment import Environment
from tidemill_worker.progress import Tracker
from tidemill_worker.store import Store
from tidemill_worker.tasks import run

ROWS_A_FILE = 1_000_000
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
WHERE = "n0 > 0.1"
COLUMNS = ", ".join(
    [f"(CASE WHEN random() < 0.02 THEN NULL ELSE random() END) AS n{i}" for i in range(8)]
    + ["CAST(i AS BIGINT) AS id", "TIMESTAMP '2024-01-01' + to_seconds(CAST(i AS BIGINT)) AS at"]
    + ["'c' || CAST(floor(random() * 20) AS INTEGER) AS category", "md5(CAST(random() AS VARCHAR)) AS name"]
)


def size_of(text: str) -> int:
    """Bytes of `256Mi` or `2Gi`."""
    return int(float(text[:-2]) * UNITS[text[-2:]])


def generate(folder: Path, size: int) -> list[Path]:
    """Parquet files that are together at least `size` bytes."""
    connection = duckdb.connect()
    connection.execute("SET threads = 1; SELECT setseed(0.5)")
    files: list[Path] = []
    while sum(f.stat().st_size for f in files) < size:
        path, first = folder / f"{len(files):04d}.parquet", len(files) * ROWS_A_FILE
        rows = f"SELECT {COLUMNS} FROM range({first}, {first + ROWS_A_FILE}) r(i)"
        connection.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
        files.append(path)
    return files


def tidemill(document: dict[str, Any], environment: Environment, endpoint: str) -> None:
    """Run the task in this process, and print what it took."""
    phases: list[tuple[str, float]] = []

    class Timed(Tracker):
        def phase(self, phase: str, fraction: float = 0.0, message: str = "") -> None:
            super().phase(phase, fraction, message)
            phases.append((phase, time.perf_counter()))

    tracker = Timed()
    context = Context(
        environment=environment,
        store=Store.connect(tracker, endpoint=endpoint, credentials=(ACCESS, SECRET)),
        tracker=tracker,
    )
    result: Any = run(TASK.validate_python({"owner": OWNER, **document}), context)
    ends = [*phases[1:], ("", time.perf_counter())]
    took: dict[str, float] = {}
    for (name, begin), (_, end) in zip(phases, ends, strict=True):
        took[name] = round(took.get(name, 0) + end - begin, 1)
    print(json.dumps({"phases": took, "rows": sum(result.rows.values()), "digest": result.artifact.digest}))


def plain(files: str, target: str, spill: str, memory: int) -> None:
    """Read, filter and write by one statement."""
    connection = duckdb.connect()
    limit = int(memory * 0.6) // UNITS["Mi"]
    connection.execute(f"SET threads = 1; SET memory_limit = '{limit}MiB'; SET temp_directory = '{spill}'")
    select = f"SELECT *, n1 * n2 AS product FROM read_parquet('{files}') WHERE {WHERE}"
    connection.execute(f"COPY ({select}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    print(json.dumps({}))


def measured(name: str, arguments: dict[str, Any], scratch: Path, cgroup: Path | None) -> None:
    """Start this module as a process that does one thing, watch its memory and its folder, and print the figures."""

    def join() -> None:
        if cgroup is not None:
            (cgroup / "cgroup.procs").write_text(str(os.getpid()))

    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.worker.prepare", "--child", json.dumps({"what": name, **arguments})],
        stdout=subprocess.PIPE,
        preexec_fn=join,
    )
    peaks = {"anonymous": 0, "disk": 0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
                anonymous = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
                disk = sum(f.stat().st_blocks * 512 for f in scratch.rglob("*") if f.is_file())
            except (OSError, StopIteration):
                continue
            peaks["anonymous"], peaks["disk"] = max(peaks["anonymous"], anonymous << 10), max(peaks["disk"], disk)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        sys.exit(f"{name} ended with {process.returncode}")
    found: dict[str, Any] = {}
    for line in output.splitlines():
        found |= json.loads(line) if line.startswith(b"{") else {}
    figures = {
        f"peak {key} MB": round(value / 1e6) for key, value in {**peaks, "resident": found.pop("resident")}.items()
    }
    print(json.dumps({"what": name, "seconds": round(time.perf_counter() - begin, 1), **figures, **found}), flush=True)


def child(document: dict[str, Any]) -> None:
    """The measured process."""
    what = document.pop("what")
    if what == "tidemill":
        raw = document.pop("environment")
        paths = {key: Path(raw[key]) for key in ("task_file", "work_dir", "secret_dir", "termination_log")}
        known = {f: raw[f] for f in Environment.__dataclass_fields__ if f in raw}
        tidemill(environment=Environment(**{**known, **paths}), **document)
    else:
        plain(**document)
    print(json.dumps({"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}))


def main() -> None:
    """Both ways over the same files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--memory", default="2Gi")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--store", type=Path, default=None)
    parser.add_argument("--cgroup", type=Path, default=None)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    memory = size_of(options.memory)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for part in ("raw", "store", "lab", "spill"):
            (folder / part).mkdir()
        store = options.store or folder / "store"
        files = generate(folder / "raw", int(options.gigabytes * 1e9))
        total = sum(f.stat().st_size for f in files)
        print(json.dumps({"files": len(files), "bytes": total, "rows": len(files) * ROWS_A_FILE, "memory": memory}))
        arguments = {"files": str(folder / "raw/*.parquet"), "target": str(folder / "spill/out.parquet")}
        arguments |= {"spill": str(folder / "spill/duckdb"), "memory": memory}
        measured("duckdb", arguments, folder / "spill", options.cgroup)
        (folder / "spill/out.parquet").unlink()
        with start_seaweed(store, volume_mb=1024) as seaweed:
            prepare(seaweed, files, folder, memory, options.cgroup)


def prepare(seaweed: Seaweed, files: list[Path], folder: Path, memory: int, cgroup: Path | None) -> None:
    """Put the files into the store, and measure the task over them."""
    lab = make_lab(seaweed, folder / "lab")
    for file in files:
        seaweed.client.upload_file(str(file), "tidemill", lab.key(f"{lab.root}/raw/{file.name}"))
        file.unlink()
    steps = [{"filter": {"where": WHERE}}, {"derive": {"column": "product", "expression": "n1 * n2"}}]
    document = {
        "type": "PrepareDataset",
        "root": f"{lab.root}/dataset",
        "inputs": [{"name": "raw", "s3": {"uri": f"{lab.root}/raw/"}}],
        "transform": {"steps": steps},
        "split": {"random": {}},
        "profile": {"target": "n7"},
    }
    environment = replace(lab.environment, memory_bytes=memory)
    raw = {name: getattr(environment, name) for name in Environment.__dataclass_fields__}
    plainly = json.loads(json.dumps(raw, default=str))
    arguments = {"document": document, "environment": plainly, "endpoint": seaweed.endpoint}
    measured("tidemill", arguments, lab.work, cgroup)


if __name__ == "__main__":
    main()
