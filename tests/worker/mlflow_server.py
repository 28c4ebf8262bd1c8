"""A real MLflow tracking server that asks for a password, from a virtual environment of its own (requirements/mlflow.txt)."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .lab import die_with_parent, free_ports

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD = "admin", "a-password-of-16"
_AUTH = """
[mlflow]
default_permission = MANAGE
database_uri = sqlite:///{folder}/auth.db
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@dataclass
class Mlflow:
    """A running server, and what it says of runs."""

    uri: str
    process: subprocess.Popen[bytes]

    def ask(self, path: str, document: dict[str, Any] | None = None, **query: Any) -> dict[str, Any]:
        """One call of the REST API: POST with a document, GET without."""
        url = f"{self.uri}/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, data=None if document is None else json.dumps(document).encode())
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """All runs of an experiment."""
        found = self.ask("experiments/get-by-name", experiment_name=experiment)["experiment"]["experiment_id"]
        runs: list[dict[str, Any]] = self.ask("runs/search", {"experiment_ids": [found]}).get("runs", [])
        return runs

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Every point that was logged, in the order of steps."""
        found = self.ask("metrics/get-history", run_id=run_id, metric_key=metric).get("metrics", [])
        return sorted((int(point.get("step", 0)), float(point["value"])) for point in found)

    def freeze(self) -> None:
        """Stop answering, as a machine does whose disk hangs."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Answer again."""
        os.killpg(self.process.pid, signal.SIGCONT)


@contextmanager
def start_mlflow(folder: Path) -> Iterator[Mlflow]:
    """A server with an empty database on a free port; gone when the block ends."""
    python = subprocess.run(
        [ROOT / "hack/venv", "mlflow-venv", "requirements/mlflow.txt"], stdout=subprocess.PIPE, check=True, text=True
    ).stdout.strip()
    (folder / "auth.ini").write_text(_AUTH.format(folder=folder, user=USER, password=PASSWORD))
    (port,) = free_ports(1)
    command = [
        python, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", "--app-name=basic-auth",
        f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts",
    ]  # fmt: skip
    variables = {
        **os.environ,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "tests",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "mlflow.log").open("wb") as output:
        process = subprocess.Popen(
            command, env=variables, cwd=folder, stdout=output, stderr=output, start_new_session=True,
            preexec_fn=die_with_parent,
        )  # fmt: skip
    running = Mlflow(f"http://127.0.0.1:{port}", process)
    try:
        deadline = time.monotonic() + 600
        while True:
            assert process.poll() is None, (folder / "mlflow.log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "mlflow.log").read_text()[-2000:]
            with suppress(urllib.error.URLError, OSError):
                running.ask("experiments/get-by-name", experiment_name="Default")
                break
            time.sleep(0.2)
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
