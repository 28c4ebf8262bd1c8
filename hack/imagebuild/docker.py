"""Build by a Docker daemon where one answers: the ordinary Dockerfiles, with the repository as their context."""

from __future__ import annotations

import functools
import json
import os
import subprocess

from .recipes import REPOSITORY
from .store import REPO, BuildError, Image, remember_image, say


def build(name: str) -> Image:
    """Build images/<name>/Dockerfile upon images/base; the tag is the beginning of the image's id."""
    _base()
    repository = f"{REPOSITORY}/{name}"
    identity = _build(name)
    tag = identity.removeprefix("sha256:")[:12]
    subprocess.run(["docker", "tag", f"{repository}:build", f"{repository}:{tag}"], check=True)
    # a registry gives an image its digest, when it is pushed; until then the tag, made of the image's id, fixes it
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


def push(image: Image, repository: str) -> Image:
    """Push an image; returns it with the digest that the registry gave it."""
    name = f"{repository}:{image.tag}"
    for command in (["docker", "tag", image.reference, name], ["docker", "push", "--quiet", name]):
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            raise BuildError(f"{' '.join(command)}:\n{run.stderr.strip()[-4000:]}")
    inspect = ["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", name]
    for by_digest in json.loads(subprocess.check_output(inspect, text=True)):
        pushed, _, digest = by_digest.partition("@")
        if pushed == repository:
            return Image(image.name, repository, image.tag, digest, 0, image.config, ())
    raise BuildError(f"docker push gave {name} no digest")
