"""A serving pod without a kubelet: a real Triton, the agent as its own process, folders as the emptyDirs are."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.agent.gate import Gate
from tests.agent.placing import Placing, eventually
from tests.serving.triton import ROOT, Triton, TritonError, free_port

from tidemill.contract.names import TRACE_FILE

BUCKET = "tidemill"
START_SECONDS = 180.0
"""A process that imports boto3 and pyarrow takes a second, and many on a busy machine."""


class Pod:
    """Starts with both processes; either can be killed and started again."""

    def __init__(
        self,
        *,
        library: Path,
        folder: Path,
        store: Gate,
        placing: Placing,
        kubeconfig: Path,
        settings: dict[str, str],
        tap: bool = True,
        trace: bool = False,
    ) -> None:
        self.placing, self.store = placing, store
        self.tap = folder / "tap"
        self.tap.mkdir(parents=True, exist_ok=True)
        self._folder, self._kubeconfig, self._settings = folder, kubeconfig, settings
        self.triton = Triton(
            library,
            environment={"TIDEMILL_TAP_DIR": str(self.tap)} if tap else {},
            arguments=["--strict-readiness=false", *(self._trace_arguments() if trace else [])],
            autocomplete=False,
        )
        self._module = "tests.agent.tracing_agent" if trace else "tidemill_agent"
        self.door = Gate(0)
        self.port = free_port()
        self.agent: subprocess.Popen[bytes] | None = None

    def _trace_arguments(self) -> list[str]:
        """What the pool's builder gives a server of NVIDIA's image."""
        return ["--trace-config=mode=triton", f"--trace-config=triton,file={self.tap / TRACE_FILE}"]

    def __enter__(self) -> Self:
        try:
            self.triton.start()
            self.door.open(self.triton.http)
            self.start_agent()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.agent is not None:
            self.kill_agent()
        self.door.__exit__(None, None, None)
        self.triton.stop()

    @property
    def models(self) -> Path:
        """Triton's model repository."""
        return self.triton.repository

    @property
    def log(self) -> list[dict[str, Any]]:
        """What the agent logged so far."""
        text = (self._folder / "agent.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def start_agent(self, *, ready: bool = True, **settings: str) -> None:
        """Start the agent and wait until it is ready."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT / "images" / "serving"), str(ROOT)]),
            "KUBECONFIG": str(self._kubeconfig),
            "TIDEMILL_NAMESPACE": self.placing.namespace,
            "TIDEMILL_POD": self.placing.pod,
            "TIDEMILL_POD_UID": f"uid-of-{self.placing.pod}",
            "TIDEMILL_POOL": "pool",
            "TIDEMILL_STORE_BUCKET": BUCKET,
            "TIDEMILL_STORE_ENDPOINT": self.store.url,
            "TIDEMILL_MODELS_DIR": str(self.models),
            "TIDEMILL_TAP_DIR": str(self.tap),
            "TIDEMILL_TRITON_URL": self.door.url,
            "TIDEMILL_AGENT_PORT": str(self.port),
            "TIDEMILL_FLUSH_SECONDS": "1",
            **self._settings,
            **settings,
        }
        with (self._folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(
                [sys.executable, "-m", self._module], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        if ready:
            eventually("the agent is ready", lambda: self.http("/readyz")[0] == 200, seconds=START_SECONDS)

    def kill_agent(self, number: int = signal.SIGKILL) -> int:
        """End the agent; returns its exit code."""
        assert self.agent is not None
        self.agent.send_signal(number)
        return self.agent.wait(60)

    def terminate_agent(self) -> int:
        """End the agent as the kubelet does; returns its exit code."""
        return self.kill_agent(signal.SIGTERM)

    def tap_rate(self, model: str) -> float:
        """The rate at which the server samples a model now."""
        try:
            stats = json.loads((self.tap / "stats.json").read_text())
        except FileNotFoundError:
            return 0.0
        return float(stats["models"].get(model, {}).get("rate", 0.0))

    def restart_triton(self) -> None:
        """Kill Triton as the kernel would, and start it again: it comes back empty."""
        assert self.triton.process is not None
        self.door.close()
        self.triton.process.kill()
        self.triton.process.wait()
        self.triton.start()
        self.door.open(self.triton.http)

    def http(self, path: str) -> tuple[int, str]:
        """The agent's own endpoints."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def samples(self, name: str, **labels: str) -> dict[str, float]:
        """The agent's metrics of a name with these labels: by `bin`, or by all labels where there is none."""
        found = {}
        for line in self.http("/metrics")[1].splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match:
                given = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[1] or ""))
                if all(given.get(key) == value for key, value in labels.items()):
                    found[given.get("bin", str(sorted(given.items())))] = float(match[2])
        return found

    def infer(self, deployment: str, rows: list[tuple[float, int, str]], *, request_id: str = "") -> list[float]:
        """Answers of the served model. Raises TritonError."""
        count = len(rows)
        columns = zip(("distance", "hour", "carrier"), ("FP32", "INT64", "BYTES"), zip(*rows, strict=True), strict=True)
        body = {
            "inputs": [{"name": n, "datatype": t, "shape": [count, 1], "data": list(v)} for n, t, v in columns],
            **({"id": request_id} if request_id else {}),
        }
        answer = self.triton.call("POST", f"v2/models/{deployment}/infer", body)
        values: list[float] = answer["outputs"][0]["data"]
        return values

    def serves(self, deployment: str) -> int | None:
        """The version that answers now."""
        try:
            row = (1.0, 1, "AA")
            columns = zip(("distance", "hour", "carrier"), ("FP32", "INT64", "BYTES"), row, strict=True)
            inputs = [{"name": n, "datatype": t, "shape": [1, 1], "data": [v]} for n, t, v in columns]
            return int(self.triton.call("POST", f"v2/models/{deployment}/infer", {"inputs": inputs})["model_version"])
        except TritonError:
            return None

    def loaded(self, *names: str) -> set[tuple[str, int]]:
        """What Triton has loaded of these names, hidden check models included."""
        ready = [m for m in self.triton.index() if m.get("state") == "READY"]
        return {(m["name"], int(m["version"])) for m in ready if m["name"].removesuffix(".check") in names}


def pause(seconds: float) -> None:
    """Let time pass in which nothing may happen: for tests of silence only."""
    time.sleep(seconds)
