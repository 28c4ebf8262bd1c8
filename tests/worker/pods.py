"""Pods of a distributed training as real processes on this machine: each a launcher with the processes that it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from tidemill.contract.results import RESULT, Result

from .lab import Lab, die_with_parent, free_ports
from .samples import flights

Document = dict[str, Any]
PATIENCE = 600.0
QUICK = "last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=5"
"""Of PyTorch's rendezvous: with fewer pods than there may be it goes on after 2 s, not 30, and a dead one's place is free
after 5 s, not 15."""


@dataclass
class LocalPod:
    """A launcher, and below it what it launched."""

    process: subprocess.Popen[bytes]
    message: Path
    output: Path
    port: int
    """Where its leader serves its progress."""

    def children(self) -> list[int]:
        """The training processes, the first one first."""
        try:
            text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        except OSError:
            return []
        return sorted(int(pid) for pid in text.split())

    def kill(self) -> None:
        """As a node that is gone: launcher and processes at once."""
        children = self.children()
        for pid in (self.process.pid, *children):
            with_signal(pid, signal.SIGKILL)
        self.process.wait(10)

    def wait(self) -> int:
        """Its exit code."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.log()) from None

    def result(self) -> Result | None:
        """The termination message, None when there is none."""
        return RESULT.validate_json(self.message.read_bytes()) if self.message.exists() else None

    def log(self) -> str:
        return self.output.read_text()

    def lines(self, message: str) -> list[Document]:
        """The log's entries with this message, of all the pod's processes."""
        entries = [json.loads(line) for line in self.log().splitlines() if line.startswith('{"time"')]
        return [entry for entry in entries if entry["message"] == message]


def with_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@dataclass
class Training:
    """The pods of one training."""

    lab: Lab
    document: Document
    nodes: str
    settings: dict[str, str]
    port: int = field(default_factory=lambda: free_ports(1)[0])
    pods: list[LocalPod] = field(default_factory=list)

    def start(self, index: int, **environment: str) -> LocalPod:
        """Start a pod, for the first time or again."""
        command, variables, message = self.lab.command(
            self.document,
            TIDEMILL_NODES=self.nodes,
            TIDEMILL_RENDEZVOUS=f"127.0.0.1:{self.port}",
            TIDEMILL_POD_IP="127.0.0.1",
            TIDEMILL_WORK_DIR=str(self.folder(index)),
            JOB_COMPLETION_INDEX=str(index),
            **self.settings,
            **environment,
        )
        output = message.with_suffix(".log")
        with output.open("wb") as file:
            process = subprocess.Popen(command, env=variables, stdout=file, stderr=file, preexec_fn=die_with_parent)
        pod = LocalPod(process, message, output, int(variables["TIDEMILL_PROGRESS_PORT"]))
        self.pods.append(pod)
        return pod

    def folder(self, index: int) -> Path:
        """The pod's work directory."""
        return self.lab.work / f"pods-{self.port}" / str(index)

    def stored_epoch(self) -> int:
        """The epoch of the newest checkpoint, 0 before the first."""
        root = self.document["runRoot"].removeprefix(self.lab.root + "/")
        if f"{root}/checkpoints/latest.json" not in self.lab.list(f"{root}/checkpoints/"):
            return 0
        return int(self.lab.get_json(f"{self.lab.root}/{root}/checkpoints/latest.json")["epoch"])

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait, as long as all pods live."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            ended = [pod for pod in self.pods if pod.process.poll() not in (None, -signal.SIGKILL)]
            assert not ended, ended[0].log()
            assert time.monotonic() < deadline, self.pods[-1].log()
            time.sleep(0.05)


@contextmanager
def distributed(
    lab: Lab, document: Document, *, nodes: str = "2", processes: int = 1, strategy: str = "DDP", restarts: int = 3
) -> Iterator[Training]:
    """A training whose pods are gone when the block ends."""
    settings = {
        "TIDEMILL_PROCESSES_PER_NODE": str(processes),
        "TIDEMILL_STRATEGY": strategy,
        "TIDEMILL_MAX_RESTARTS": str(restarts),
        "PET_RDZV_CONF": QUICK,
    }
    training = Training(lab, document, nodes, settings)
    try:
        yield training
    finally:
        for pod in training.pods:
            pod.kill()


def predictions(lab: Lab, uri: str, rows: int = 500) -> np.ndarray:
    """What a model of the flights says of rows that it has not seen."""
    session, table = ort.InferenceSession(lab.get(f"{uri}/model.onnx")), flights(rows, seed=9)
    feed: dict[str, Any] = {}
    for column in session.get_inputs():
        if column.type == "tensor(string)":
            feed[column.name] = np.array([[v or ""] for v in table[column.name]], dtype=object)
        else:
            feed[column.name] = np.array([[np.nan if v is None else v] for v in table[column.name]], dtype=np.float32)
    return np.asarray(session.run(["prediction"], feed)[0])[:, 0]
