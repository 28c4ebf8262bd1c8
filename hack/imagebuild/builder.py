"""Build an image from its recipe: each layer from the cache, or staged in a temporary folder and packed."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path

import zstandard

from . import archive
from .recipes import RECIPES, REPOSITORY, Part
from .store import (
    BLOBS,
    FOLDER,
    BuildError,
    Image,
    Layer,
    blob,
    lock,
    recall,
    recall_image,
    remember,
    remember_image,
    say,
)


def build(name: str) -> Image:
    """Build the image, or find that nothing changed."""
    recipe = RECIPES[name]
    for part in recipe.parts:
        part.check()
    with lock(name):
        before = recall_image(name)
        layers = tuple(_layer(name, part) for part in recipe.parts)
        image = archive.assemble(name, f"{REPOSITORY}/{name}", layers, recipe.config())
        remember_image(image)
    packed, unpacked = (sum(getattr(layer, size) for layer in layers) / 1e6 for size in ("size", "unpacked"))
    news = "unchanged" if before == image else "built"
    say(f"{news} {image.reference}  {packed:.0f} MB packed, {unpacked:.0f} MB unpacked")
    return image


def _layer(name: str, part: Part) -> Layer:
    key = part.key()
    layer = recall(key)
    if layer:
        return layer
    with lock("layer-" + key[:16]):  # images share layers
        layer = recall(key)
        if layer:
            return layer
        say(f"{name}: making a layer of {type(part).__name__.lower()} {getattr(part, 'file', '')}".rstrip())
        (FOLDER / "staging").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER / "staging") as folder:
            root = Path(folder) / "root"
            root.mkdir()
            part.stage(root)
            layer = archive.pack(root)
        remember(key, layer)
    (FOLDER / f"layer-{key[:16]}.lock").unlink(missing_ok=True)
    return layer


def unpack(image: Image, folder: Path) -> None:
    """Write an image's files into a new folder."""
    if folder.exists():
        raise BuildError(f"{folder} exists already")
    folder.mkdir(parents=True)
    for layer in image.layers:
        with (
            open(blob(layer.digest), "rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            tar.extractall(folder, filter="fully_trusted")


def prune(images: list[Image]) -> None:
    """Remove the blobs that no image of the list needs."""
    needed = {
        digest for image in images for digest in (image.digest, image.config, *(layer.digest for layer in image.layers))
    }
    freed = 0
    for path in BLOBS.iterdir():
        if "sha256:" + path.name not in needed:
            freed += path.stat().st_size
            path.unlink()
    shutil.rmtree(FOLDER / "staging", ignore_errors=True)
    say(f"removed {freed / 1e6:.0f} MB")
