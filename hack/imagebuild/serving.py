"""The layers of the serving image that are not plain Python: Triton's server, ONNX Runtime's library, the backend."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .python import install, tree
from .store import HOME, REPO, BuildError, say

LOCK = "requirements/triton.txt"
PREFIX = "opt/tidemill"
BACKEND = "images/serving/backend"


@dataclass(frozen=True)
class Triton:
    """tritonserver with the libraries that it links, and libonnxruntime, out of the wheels that carry them."""

    def check(self) -> None:
        """Refuse early if the lock is missing."""
        if not (REPO / LOCK).exists():
            raise BuildError(f"{LOCK} is missing: run hack/lock")

    def key(self) -> str:
        """The locked versions and this file."""
        text = (REPO / LOCK).read_text() + Path(__file__).read_text()
        return hashlib.sha256(text.encode()).hexdigest()

    def stage(self, root: Path) -> None:
        """Keep the wheel's own relative layout below /opt/tidemill: the server finds its libraries by it."""
        with tempfile.TemporaryDirectory(dir=root.parent) as name:
            wheels = Path(name)
            install(REPO / LOCK, wheels)
            server = Path("pytriton/tritonserver/bin/tritonserver")
            linked = subprocess.run(["ldd", wheels / server], capture_output=True, text=True, check=True).stdout
            libraries = sorted(set(re.findall(r"=> \S*/(nvidia_pytriton\.libs/\S+)", linked)))
            if not libraries:
                raise BuildError("the wheel of nvidia-pytriton has another layout than expected")
            for path in (str(server), *libraries):
                place = root / PREFIX / "triton" / path
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(wheels / path, place)
                place.chmod(0o755)
            place = root / PREFIX / "lib"
            place.mkdir(parents=True)
            (runtime,) = wheels.glob("onnxruntime/capi/libonnxruntime.so.*")
            shutil.copy(runtime, place / runtime.name)
            (place / "libonnxruntime.so").symlink_to(runtime.name)
            link = root / "usr/local/bin/tritonserver"
            link.parent.mkdir(parents=True)
            link.symlink_to(f"/{PREFIX}/triton/{server}")


@dataclass(frozen=True)
class Backend:
    """The Rust backend `onnxruntime`, compiled by cargo."""

    def check(self) -> None:
        """Name the missing source or compiler."""
        if not (REPO / BACKEND / "Cargo.toml").exists():
            raise BuildError(f"{BACKEND}/Cargo.toml does not exist: the serving image's backend is built from it")
        if not shutil.which("cargo"):
            raise BuildError("cargo is not in the PATH: the serving image's backend is written in Rust")

    def key(self) -> str:
        """The sources and the compiler."""
        compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout
        parts = [compiler, Path(__file__).read_text()]
        for path in tree(REPO / BACKEND):
            inside = path.relative_to(REPO / BACKEND)
            if inside.parts[0] not in ("target", "tests", "Cargo.lock"):
                parts.append(f"{inside} {hashlib.sha256(path.read_bytes()).hexdigest()}")
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def stage(self, root: Path) -> None:
        """Compile into the folder outside the tree that the tests of the backend use too: one build serves both."""
        target = HOME / "cargo-target"
        say("compiling the serving backend")
        run = subprocess.run(
            ["cargo", "build", "--release", "--quiet", "--manifest-path", REPO / BACKEND / "Cargo.toml"],
            env={**os.environ, "CARGO_TARGET_DIR": str(target)},
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise BuildError(f"cargo could not build {BACKEND}:\n{run.stderr.strip()[-4000:]}")
        library = target / "release" / "libtriton_onnxruntime.so"
        if not library.exists():
            raise BuildError(f"{BACKEND} makes no {library.name}: its [lib] needs this name and the crate-type cdylib")
        place = root / PREFIX / "backends/onnxruntime"
        place.mkdir(parents=True)
        shutil.copy(library, place / library.name)
