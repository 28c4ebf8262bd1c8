"""An operator process: started, asked, stopped, killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.e2e.apiserver import eventually
from tests.serving.triton import cache

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("TIDEMILL_BENCH_PYTHON", sys.executable)
"""The interpreter of the real operator: in benchmarks one with its own libraries alone (hack/bench)."""
WRITES = ("create", "apply", "patch", "delete")
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ([-+.eE\d]+)$", re.MULTILINE)


class Operator:
    """An operator as a process of its own: `tests.glue.tiny`, or another module that takes the operator's flags."""

    def __init__(self, *flags: str, log: Path, kubeconfig: str | None = None, module: str = "tests.glue.tiny") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.log = log
        # Compiled modules as in the image, whatever this environment says: else every start compiles them anew.
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}", "PYTHONDONTWRITEBYTECODE": ""}
        environment.setdefault("PYTHONPYCACHEPREFIX", str(cache() / "pyc"))
        if kubeconfig:
            environment["KUBECONFIG"] = kubeconfig
        command = [
            PYTHON if module == "tidemill.runtime" else sys.executable,
            "-m",
            module,
            "--http-port",
            str(self.port),
            "--http-address",
            "127.0.0.1",
        ]
        with log.open("w") as out:
            self.process = subprocess.Popen([*command, *flags], cwd=ROOT, env=environment, stdout=out, stderr=out)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels; 0 when there are none or nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, OSError):
            return 0.0
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(value)
            for found, has, value in _SAMPLE.findall(text)
            if found == name and all(pair in has for pair in wanted)
        )

    def calls(self, *verbs: str) -> float:
        """Requests to the API server with one of these verbs, without those for the lease."""
        return sum(
            self.metric("tidemill_api_requests_total", verb=verb)
            - self.metric("tidemill_api_requests_total", verb=verb, kind="Lease")
            for verb in verbs
        )

    def ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def through_first_pass(self) -> None:
        """Wait until everything was looked at once."""
        eventually(
            f"first pass ({self.log})",
            lambda: self.alive() and self.metric("tidemill_first_pass_seconds") > 0,
            seconds=90,
        )

    def is_leader(self) -> bool:
        """Whether it holds the lease."""
        return self.metric("tidemill_leader") == 1

    def alive(self) -> bool:
        """Fails with the log when the process has ended."""
        assert self.process.poll() is None, f"the operator ended:\n{self.log.read_text()[-3000:]}"
        return True

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(timeout=30)
