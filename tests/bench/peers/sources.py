"""The peers' programs: each built once from its Go module, into the project's cache."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.peers.say import fail, say

BUILD_SECONDS = 3600
HEARTBEAT_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A Go module with a controller in it."""

    path: str
    version: str
    package: str
    """The main package, from the module's folder."""


MODULES = {
    "jobset": Module(path="sigs.k8s.io/jobset", version="0.10.1", package="."),
    "trainer": Module(
        path="github.com/kubeflow/trainer/v2", version="2.0.0", package="./cmd/trainer-controller-manager"
    ),
    "kueue": Module(path="sigs.k8s.io/kueue", version="0.14.0", package="./cmd/kueue"),
    "kserve": Module(path="github.com/kserve/kserve", version="0.16.0", package="./cmd/manager"),
    "kuberay": Module(path="github.com/ray-project/kuberay/ray-operator", version="1.5.0", package="."),
}


def cache() -> Path:
    """Where the programs are."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidemill"
    return Path(os.environ.get("TIDEMILL_CACHE") or base) / "peers"


def source(name: str) -> Path:
    """The module's folder in Go's cache, with the manifests that it ships."""
    module = MODULES[name]
    wanted = f"{module.path}@v{module.version}"
    command = ["go", "mod", "download", "-json", wanted]
    with tempfile.TemporaryDirectory(prefix="tidemill-peers-") as empty:
        done = subprocess.run(
            command, cwd=empty, env=_environment(), capture_output=True, text=True, timeout=600, check=False
        )
    if done.returncode:
        fail(f"go cannot get {wanted}: {done.stderr.strip() or done.stdout.strip()}")
    return Path(json.loads(done.stdout)["Dir"])


def program(name: str) -> Path:
    """The controller's program; built if it is not there."""
    built = cache() / f"{name}-{MODULES[name].version}"
    if built.exists():
        return built
    if shutil.which("go") is None:
        fail("building the peers needs Go (1.26 or newer) in the PATH")
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builds at once would only be in each other's way
        if not built.exists():
            _build(name, built)
    return built


def _build(name: str, built: Path) -> None:
    """In a copy of the module: the `replace` lines of its go.mod count only where it is the main one."""
    module, begun = MODULES[name], time.monotonic()
    say(f"building {name} {module.version} (once; 1 to 10 minutes on 2 cores)")
    log = cache() / f"{built.name}.log"
    with tempfile.TemporaryDirectory(prefix="tidemill-peers-") as folder, log.open("w") as out:
        copy = Path(folder) / name
        shutil.copytree(source(name), copy, copy_function=shutil.copyfile)
        subprocess.run(["chmod", "-R", "u+w", copy], check=True)
        command = ["nice", "-n", "10", "go", "build", "-trimpath", "-ldflags", "-s -w"]
        command += ["-o", str(built.with_suffix(".tmp")), module.package]
        process = subprocess.Popen(command, cwd=copy, env=_environment(), stdout=out, stderr=out)
        try:
            while process.poll() is None and time.monotonic() - begun < BUILD_SECONDS:
                try:
                    process.wait(HEARTBEAT_SECONDS)
                except subprocess.TimeoutExpired:
                    say(f"… still building {name}")
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        fail(f"building {name} failed; all of its output: {log}\n{log.read_text()[-2000:]}")
    built.with_suffix(".tmp").rename(built)
    say(f"built {name} in {time.monotonic() - begun:.0f} s")


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
