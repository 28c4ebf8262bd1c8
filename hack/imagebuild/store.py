"""The cache of layers and images: an OCI blob folder, and small JSON notes that say which blob a key led to."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
HOME = Path(
    os.environ.get("TIDEMILL_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").joinpath("tidemill")
)
FOLDER = HOME / "images"
BLOBS = FOLDER / "blobs" / "sha256"
_BEGIN = time.monotonic()


class BuildError(Exception):
    """What is missing or went wrong, in words for the user."""


@dataclass(frozen=True)
class Layer:
    """A finished layer: its blob as stored (zstd), and its tar archive's hash and size."""

    digest: str
    size: int
    diff_id: str
    unpacked: int


@dataclass(frozen=True)
class Image:
    """A finished image: what a manifest and a chart's values need to know of it."""

    name: str
    repository: str
    tag: str
    digest: str
    manifest_size: int
    config: str
    layers: tuple[Layer, ...]

    @property
    def reference(self) -> str:
        """The name with the tag, as images are listed."""
        return f"{self.repository}:{self.tag}"

    @property
    def by_digest(self) -> str:
        """The name that no other content can ever have (Docker gives an image without a registry no digest: the tag)."""
        return f"{self.repository}@{self.digest}" if self.digest else self.reference


def say(text: str) -> None:
    """Print a progress line with the seconds since the start."""
    print(f"images: [{time.monotonic() - _BEGIN:5.1f} s] {text}", file=sys.stderr, flush=True)


def write_blob(data: bytes) -> str:
    """Store bytes by their hash; returns the digest."""
    digest = hashlib.sha256(data).hexdigest()
    BLOBS.mkdir(parents=True, exist_ok=True)
    path = BLOBS / digest
    if not path.exists():
        temporary = path.with_name(f".{digest}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.rename(path)
    return "sha256:" + digest


def recall(key: str) -> Layer | None:
    """The layer that was made for this key, if its blob is still there."""
    note = FOLDER / "layers" / f"{key}.json"
    if not note.exists():
        return None
    layer = Layer(**json.loads(note.read_text()))
    return layer if blob(layer.digest).exists() else None


def remember(key: str, layer: Layer) -> None:
    """Note which layer a key led to."""
    _write_note(FOLDER / "layers" / f"{key}.json", asdict(layer))


def recall_image(name: str) -> Image | None:
    """The image that was last built under this name, if any."""
    note = FOLDER / "built" / f"{name}.json"
    if not note.exists():
        return None
    fields = json.loads(note.read_text())
    fields["layers"] = tuple(Layer(**layer) for layer in fields["layers"])
    return Image(**fields)


def remember_image(image: Image) -> None:
    """Note the image as the newest of its name."""
    _write_note(FOLDER / "built" / f"{image.name}.json", asdict(image))


def blob(digest: str) -> Path:
    """Where a digest's bytes lie."""
    return BLOBS / digest.removeprefix("sha256:")


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lock among processes: two builds at a time would do the same work twice."""
    import fcntl

    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_note(path: Path, fields: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(fields, sort_keys=True))
    temporary.rename(path)
