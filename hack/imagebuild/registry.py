"""Push built images to a registry: our layers by crane, which needs no daemon; Docker's images by Docker."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import docker
from .archive import index
from .store import BLOBS, FOLDER, HOME, BuildError, Image, say

CRANE = "github.com/google/go-containerregistry/cmd/crane"
VERSION = "0.22.1"


def push(image: Image, prefix: str, *, insecure: bool) -> Image:
    """Push an image to PREFIX/name; returns it as it is called there, with the digest that the registry confirmed."""
    host = prefix.partition("/")[0]
    if host != "localhost" and not {".", ":"} & set(host):
        raise BuildError(f"{prefix}: begins with no registry's name; registry.example.org/tidemill would be one's")
    repository = f"{prefix.rstrip('/')}/{image.name}"
    if not image.layers:
        pushed = docker.push(image, repository)
    else:
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:  # an OCI layout of this image, upon the cache's blobs
            layout = Path(folder)
            (layout / "blobs").symlink_to(BLOBS.parent)
            (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
            (layout / "index.json").write_bytes(index([image]))
            _crane("push", str(layout), f"{repository}:{image.tag}", insecure=insecure)
        digest = _crane("digest", f"{repository}:{image.tag}", insecure=insecure).strip()
        if digest != image.digest:
            raise BuildError(f"{repository}:{image.tag} is {digest} in the registry, but was built as {image.digest}")
        pushed = Image(image.name, repository, image.tag, digest, image.manifest_size, image.config, image.layers)
    say(f"pushed {pushed.by_digest}")
    return pushed


def crane() -> Path:
    """The program, compiled from its Go module when it is not there yet (half a minute)."""
    if found := shutil.which("crane"):
        return Path(found)
    program = HOME / "bin" / f"crane-{VERSION}" / "crane"
    program.parent.mkdir(parents=True, exist_ok=True)
    with open(program.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        if not shutil.which("go"):
            raise BuildError("pushing needs crane, or Go (1.26 or newer) in the PATH to compile it")
        say(f"compiling crane {VERSION} (once)")
        environment = {**os.environ, "GOBIN": str(program.parent), "CGO_ENABLED": "0"}
        command = ["go", "install", "-trimpath", "-ldflags", "-s -w", f"{CRANE}@v{VERSION}"]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        if run.returncode:
            raise BuildError(f"crane could not be compiled:\n{run.stderr.strip()[-4000:]}")
    return program


def _crane(*arguments: str, insecure: bool) -> str:
    command = [str(crane()), *arguments, *(["--insecure"] if insecure else [])]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise BuildError(f"{' '.join(command[1:])}:\n{run.stderr.strip()[-4000:]}\n{_hint(run.stderr)}".rstrip())
    return run.stdout


def _hint(said: str) -> str:
    if "UNAUTHORIZED" in said or "DENIED" in said:
        return "log in first, by `docker login` or `crane auth login REGISTRY`: both write ~/.docker/config.json"
    if "server gave HTTP response to HTTPS client" in said or "x509" in said:
        return "--insecure pushes without TLS, or without verifying it"
    return ""


def fragment(images: list[Image]) -> str:
    """Helm values that fix images, by digest where they have one. JSON is YAML too."""
    values = {
        image.name: {"repository": image.repository, "tag": image.tag, "digest": image.digest} for image in images
    }
    return json.dumps({"images": values}, indent=2)
