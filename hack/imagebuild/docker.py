"""Build by a Docker daemon where one answers: the ordinary Dockerfiles, with the repository as their context."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

from .recipes import REPOSITORY
from .store import REPO, BuildError, Image, remember_image, say


@functools.cache
def wanted() -> bool:
    """Whether images come from Docker: as TIDEMILL_IMAGES says, else if a daemon answers."""
    choice = os.environ.get("TIDEMILL_IMAGES", "")
    if choice not in ("", "docker", "packages"):
        raise BuildError(f"TIDEMILL_IMAGES={choice!r}: it can be docker or packages")
    if choice:
        return choice == "docker"
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "version"], capture_output=True, timeout=20).returncode == 0


def build(name: str) -> Image:
    """Build images/<name>/Dockerfile upon images/base; the tag is the beginning of the image's id."""
    _base()
    repository = f"{REPOSITORY}/{name}"
    identity = _build(name)
    tag = identity.removeprefix("sha256:")[:12]
    subprocess.run(["docker", "tag", f"{repository}:build", f"{repository}:{tag}"], check=True)
    # without a registry an image has no repository digest: the tag alone, made of the image's id, fixes it
    image = Image(name, repository, tag, "", 0, identity, ())
    remember_image(image)
    say(f"built {image.reference}")
    return image


@functools.cache
def _base() -> str:
    return _build("base")


def _build(name: str) -> str:
    file = REPO / "images" / name / "Dockerfile"
    if not file.exists():
        raise BuildError(f"{file.relative_to(REPO)} does not exist")
    say(f"{name}: docker build")
    command = ["docker", "build", "--quiet", "--file", str(file), "--tag", f"{REPOSITORY}/{name}:build", str(REPO)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "DOCKER_BUILDKIT": "1"})
    if run.returncode:
        raise BuildError(f"docker build of {name} failed:\n{run.stderr.strip()[-4000:]}")
    return run.stdout.strip()


def save(images: list[Image]) -> None:
    """Write an archive of images to the standard output."""
    subprocess.run(["docker", "save", *(image.reference for image in images)], check=True)
