"""A real Ray cluster on this machine: a head with a client server and one CPU, and another node with one CPU."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .lab import cache_folder, die_with_parent, free_ports

TOKEN = "a-token-of-more-than-sixteen"
_STORE = 100_000_000
"""Bytes of each node's object store."""
_TRIES = 5


@dataclass
class Nodes:
    """A running cluster."""

    address: str
    """Of its client server."""
    head: int
    """Port that nodes join at."""
    folder: Path
    stack: ExitStack = field(repr=False)
    worker: subprocess.Popen[bytes] | None = None

    def lose_worker(self) -> None:
        """As when its machine loses power."""
        assert self.worker is not None
        _end(self.worker)
        self.worker = None

    def start_worker(self) -> None:
        """One more node."""
        options = [f"--address=127.0.0.1:{self.head}", "--num-cpus=1"]
        self.worker = _started(self.stack, self.folder / "worker.log", options)


@contextmanager
def start_ray() -> Iterator[Nodes]:
    """A cluster on free ports; gone when the block ends."""
    # its sockets lie here: a path of pytest's would be too long for them
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    head, client = free_ports(2)
    try:
        with ExitStack() as stack:
            options = ["--head", f"--port={head}", f"--ray-client-server-port={client}", "--num-cpus=1", "--no-monitor"]
            options += ["--include-dashboard=false", f"--temp-dir={folder}"]
            _started(stack, folder / "head.log", options)
            nodes = Nodes(f"ray://127.0.0.1:{client}", head, folder, stack)
            nodes.start_worker()
            yield nodes
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(stack: ExitStack, log: Path, options: list[str]) -> subprocess.Popen[bytes]:
    """A node that has started. Ray gives its parts fifteen seconds to find each other: too few on a busy machine, at times."""
    for _ in range(_TRIES):
        process = stack.enter_context(_node(log, options))
        if _until("Ray runtime started", log, process):
            return process
        _end(process)
    raise AssertionError(log.read_text()[-2000:])


@contextmanager
def _node(log: Path, options: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"]
    command += [f"--object-store-memory={_STORE}", "--disable-usage-stats", *options]
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONPYCACHEPREFIX": str(cache_folder() / "pyc"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
    }
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # a node is eight processes, each of which would compile Ray anew
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=variables, stdout=output, stderr=output, start_new_session=True, preexec_fn=die_with_parent
        )
    try:
        yield process
    finally:
        _end(process)


def _until(words: str, log: Path, process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has said so before it ended."""
    while words not in log.read_text():
        if process.poll() is not None:
            return False
        time.sleep(0.2)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started: they are one group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
