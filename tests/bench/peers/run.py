"""Tidemill and its peers, each on a fresh control plane of its own: N objects created, changed, a restart, idle minutes.

One JSON line for each contender goes to FOLDER/peers.jsonl, the tables of all lines there to standard output. `hack/bench
peers.table FOLDER/peers.jsonl --write` puts them into docs/performance.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.peers.loads import LOADS
from tests.bench.peers.say import end_once, fail, say
from tests.bench.peers.sources import MODULES, cache, program
from tests.bench.peers.table import read, tables

TIDEMILL = "tidemill"
CONTENDERS = [*(name for name in MODULES if name in LOADS), TIDEMILL]
STOP_SECONDS = 180


def expand(names: str) -> list[str]:
    """The loads of a comma-separated list of contenders; `tidemill` stands for all of its loads."""
    found: list[str] = []
    for name in names.split(","):
        wanted = [load for load in LOADS if load == name or (name == TIDEMILL and load.startswith(f"{TIDEMILL}-"))]
        if not wanted:
            fail(f"--contenders: no contender {name!r}: there are {', '.join(CONTENDERS)}")
        found += wanted
    return list(dict.fromkeys(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contenders", default=",".join(CONTENDERS), help="default: %(default)s")
    parser.add_argument("--count", type=int, default=1000, help="objects each (default: %(default)s)")
    parser.add_argument("--idle", type=float, default=180, help="idle seconds at the end (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder for lines and logs (default: a new one in the cache)")
    parser.add_argument("--overlap", action="store_true", help="begin with the next contender while one only idles")
    given = parser.parse_args()
    given.out = given.out or cache() / time.strftime("run-%Y%m%d-%H%M%S")
    if not 1 <= given.count <= 99_999:
        fail(f"--count: must be 1 to 99999, not {given.count}")
    wanted = expand(given.contenders)
    end_once()
    given.out.mkdir(parents=True, exist_ok=True)
    if any((given.out / name).exists() for name in wanted):
        fail(f"--out: {given.out} holds an earlier run of these contenders: name another folder, or remove it")
    for peer in dict.fromkeys(name for load in wanted for name in LOADS[load].controllers if name in MODULES):
        program(peer)
    say(f"lines and logs go to {given.out}")
    failed = [name for name, status in _measure(wanted, given) if status]
    if (lines := given.out / "peers.jsonl").exists():
        print(tables(read(lines)))
    if failed:
        fail(f"not measured: {', '.join(failed)}")


def _measure(wanted: list[str], given: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Each contender is a process of its own, so that whatever happens to one the others are measured."""
    running: dict[str, subprocess.Popen[str]] = {}
    try:
        for name in wanted:
            command = [sys.executable, "-m", "tests.bench.peers.contender", name, "--out", str(given.out)]
            command += ["--count", str(given.count), "--idle", str(given.idle)]
            process = running[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            if not (given.overlap and process.stdout.readline() == "idle\n"):
                process.wait()
        for name, process in running.items():
            yield name, process.wait()
    finally:
        for process in running.values():
            if process.poll() is None:
                process.terminate()  # it ends its cluster
        for name, process in running.items():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                say(f"{name} does not end")


if __name__ == "__main__":
    main()
