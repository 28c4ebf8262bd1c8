"""A real Triton server with the project's backend, for tests and benchmarks: found in site-packages, built with cargo.

Nothing here is a stand-in: the server is the one that the serving image ships, and so is the backend.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
CRATE = ROOT / "images" / "serving" / "backend"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
INDEX_TRIES = 5
_PR_SET_PDEATHSIG = 1


def cache() -> Path:
    """The project's cache folder, outside the tree."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidemill"
    return Path(os.environ.get("TIDEMILL_CACHE") or default)


def package_folder(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"the package {name} is not installed in {sys.prefix}; run: make setup")
    return Path(next(iter(spec.submodule_search_locations)))


def libonnxruntime() -> Path:
    """The library that PyPI's onnxruntime wheel carries."""
    found = sorted((package_folder("onnxruntime") / "capi").glob("libonnxruntime.so*"))
    if not found:
        raise RuntimeError("the onnxruntime wheel carries no libonnxruntime.so")
    return found[-1]


def build_backend() -> Path:
    """Builds the crate (a few seconds when nothing changed) and returns the shared library."""
    target = cache() / "cargo-target"
    command = ["cargo", "build", "--release", "--manifest-path", str(CRATE / "Cargo.toml")]
    done = subprocess.run(
        command, env={**os.environ, "CARGO_TARGET_DIR": str(target)}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return target / "release" / "libtriton_onnxruntime.so"


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    """In the child: the kernel ends the server when the test run dies without cleaning up."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class TritonError(Exception):
    """An answer of the server other than 200: its status and its text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text


class Triton:
    """One server process with an empty model repository; use as a context manager."""

    def __init__(
        self,
        library: Path,
        *,
        environment: dict[str, str] | None = None,
        arguments: list[str] | None = None,
        autocomplete: bool = True,
        library_beside: bool = False,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tidemill-triton-"))
        self.repository = self.folder / "models"
        self.repository.mkdir()
        backend = self.folder / "backends" / "onnxruntime"
        backend.mkdir(parents=True)
        shutil.copy(library, backend / "libtriton_onnxruntime.so")
        self.environment = dict(environment or {})
        if library_beside:
            (backend / libonnxruntime().name).symlink_to(libonnxruntime())
        else:
            self.environment.setdefault("ORT_DYLIB_PATH", str(libonnxruntime()))
        self.arguments = [*(arguments or []), *([] if autocomplete else ["--disable-auto-complete-config"])]
        self.http = self.grpc = self.metrics = 0
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What the server printed so far."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self.process is None:
            raise RuntimeError("the server is not started")
        return self.process.pid

    def start(self) -> None:
        """Starts the server and waits until it is ready."""
        server = package_folder("pytriton") / "tritonserver" / "bin" / "tritonserver"
        self.http, self.grpc, self.metrics = free_port(), free_port(), free_port()
        command = [
            str(server),
            f"--model-repository={self.repository}",
            f"--backend-directory={self.folder / 'backends'}",
            "--model-control-mode=explicit",
            "--http-address=127.0.0.1",
            f"--http-port={self.http}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self.grpc}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={self.metrics}",
            *self.arguments,
        ]
        paths = [str(package_folder("pytriton").parent / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join([*paths, os.environ.get("LD_LIBRARY_PATH", "")]),
            "TMPDIR": str(self.folder),
            **self.environment,
        }
        server.chmod(server.stat().st_mode | 0o111)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, preexec_fn=_end_with_parent
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"tritonserver ended with {self.process.returncode}:\n{self.log[-4000:]}")
            try:
                self.call("GET", "v2/health/ready")
                return
            except (TritonError, OSError):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"tritonserver is not ready:\n{self.log[-4000:]}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """Ends the server, by its own process id, and removes its folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method: str, path: str, body: Any = None, *, seconds: float = 60.0) -> Any:
        """One HTTP call with JSON in and out; raises TritonError with the server's own words."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raw = error.read().decode(errors="replace")
            with contextlib.suppress(ValueError, KeyError, TypeError):
                raw = json.loads(raw)["error"]
            raise TritonError(error.code, raw) from None
        return json.loads(text) if text else None

    def add(self, name: str, model: bytes | Path, *, config: str | None = None, version: int = 1) -> Path:
        """Writes a model into the repository; returns the version's folder."""
        folder = self.repository / name / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(model, Path):
            shutil.copy(model, folder / "model.onnx")
        else:
            (folder / "model.onnx").write_bytes(model)
        if config is not None:
            (self.repository / name / "config.pbtxt").write_text(config)
        return folder

    def load(self, name: str) -> None:
        """Loads a model, or loads it again."""
        self.call("POST", f"v2/repository/models/{name}/load", {})

    def unload(self, name: str) -> None:
        """Unloads a model and waits until the server says so."""
        self.call("POST", f"v2/repository/models/{name}/unload", {})
        deadline = time.monotonic() + 30
        while any(m["name"] == name and m.get("state") in {"READY", "UNLOADING"} for m in self.index()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} is still loaded: {self.index()}")
            time.sleep(0.01)

    def index(self) -> list[dict[str, Any]]:
        """The repository's index.

        Triton lists the folder and then looks at each entry: one that is removed in between fails the whole call, so it is
        asked again.
        """
        for _ in range(INDEX_TRIES - 1):
            try:
                return list(self.call("POST", "v2/repository/index", {}))
            except TritonError as error:
                if "failed to stat file" not in str(error):
                    raise
        return list(self.call("POST", "v2/repository/index", {}))

    def alive(self) -> bool:
        """Is the process there, and does it answer?"""
        if self.process is None or self.process.poll() is not None:
            return False
        self.call("GET", "v2/health/live")
        return True

    def rss(self) -> int:
        """The server's resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
