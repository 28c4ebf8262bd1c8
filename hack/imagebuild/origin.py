"""Where images come from, by TIDEMILL_IMAGES: this machine's packages, its Docker daemon, or a registry (a file of values)."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from .recipes import RECIPES
from .store import BuildError, Image

_CHOICE = os.environ.get("TIDEMILL_IMAGES", "")


@functools.cache
def by_docker() -> bool:
    """Whether Docker builds them: if TIDEMILL_IMAGES says so, or says nothing and a daemon answers."""
    if _CHOICE:
        return _CHOICE == "docker"
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "version"], capture_output=True, timeout=20).returncode == 0


@functools.cache
def given() -> dict[str, Image] | None:
    """The images of the file that TIDEMILL_IMAGES names, by their names; None when it names no file."""
    if _CHOICE in ("", "docker", "packages"):
        return None
    try:
        values = yaml.safe_load(Path(_CHOICE).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise BuildError(
            f"TIDEMILL_IMAGES={_CHOICE}: it can be docker, packages, or a file that `hack/images push` printed: {error}"
        ) from error
    images = values.get("images") if isinstance(values, dict) else None
    if not isinstance(images, dict):
        raise BuildError(f"{_CHOICE}: has no `images`; `hack/images push REGISTRY/PREFIX` prints such a file")
    return {name: _image(name, images[name]) for name in RECIPES if name in images}


def where() -> str:
    """The file that TIDEMILL_IMAGES names, for messages."""
    return f"{_CHOICE} (TIDEMILL_IMAGES)"


def _image(name: str, fields: Any) -> Image:
    known = fields if isinstance(fields, dict) else {}
    repository, tag, digest = (str(known.get(key) or "") for key in ("repository", "tag", "digest"))
    if not repository or not (tag or digest):
        raise BuildError(f"{_CHOICE}: images.{name} needs a repository, and a digest or a tag")
    return Image(name, repository, tag, digest, 0, "", ())
