"""Deterministic archives: a folder to a layer's blob, and images to one OCI archive that Docker and containerd load."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from .store import BLOBS, Image, Layer, blob, write_blob

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


class _Tee(io.RawIOBase):
    """Hashes and counts what is written through it."""

    def __init__(self, target: Any) -> None:
        self.target, self.hash, self.count = target, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self.count += len(data)
        self.target.write(data)
        return len(data)


def pack(root: Path) -> Layer:
    """Make a layer of everything in a folder: sorted, owned by root, without times, compressed."""
    BLOBS.mkdir(parents=True, exist_ok=True)
    temporary = BLOBS / f".layer.{os.getpid()}"
    with open(temporary, "wb") as file:
        compressed = _Tee(file)
        # a fixed number of workers: the bytes depend on it being set, not on the machine
        with zstandard.ZstdCompressor(level=3, threads=2).stream_writer(
            cast(IO[bytes], compressed), closefd=False
        ) as writer:
            plain = _Tee(writer)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as tar:
                _add_tree(tar, root)
    digest = compressed.hash.hexdigest()
    temporary.rename(BLOBS / digest)
    return Layer("sha256:" + digest, compressed.count, "sha256:" + plain.hash.hexdigest(), plain.count)


def _add_tree(tar: tarfile.TarFile, root: Path) -> None:
    for top, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = os.path.join(top, name)
            info = tar.gettarinfo(path, os.path.relpath(path, root))
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            if not info.mode & 0o1000:  # whatever the umask was
                info.mode = 0o755 if info.mode & 0o100 else 0o644
            if info.isreg():
                with open(path, "rb") as data:
                    tar.addfile(info, data)
            else:
                tar.addfile(info)


def assemble(name: str, repository: str, layers: tuple[Layer, ...], config: dict[str, Any]) -> Image:
    """Write an image's configuration and manifest; its tag is the beginning of its digest."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    config_bytes = _canonical(document)
    config_digest = write_blob(config_bytes)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": config_digest, "size": len(config_bytes)},
        "layers": [{"mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.size} for layer in layers],
    }
    manifest_bytes = _canonical(manifest)
    digest = write_blob(manifest_bytes)
    tag = digest.removeprefix("sha256:")[:12]
    return Image(name, repository, tag, digest, len(manifest_bytes), config_digest, layers)


def export(images: list[Image], out: IO[bytes], *, present: Path | None = None) -> None:
    """Write an OCI archive of several images, without the blobs that the reader already has in the folder `present`."""
    wanted: dict[str, None] = {}
    for image in images:
        wanted.update(dict.fromkeys([image.digest, image.config, *(layer.digest for layer in image.layers)]))
    docker = [
        {
            "Config": _blob_name(image.config),
            "RepoTags": [image.reference],
            "Layers": [_blob_name(layer.digest) for layer in image.layers],
        }
        for image in images
    ]
    with tarfile.open(fileobj=out, mode="w|", bufsize=1 << 20) as tar:
        _add_bytes(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        for digest in wanted:
            if present and (present / digest.removeprefix("sha256:")).exists():
                continue
            with open(blob(digest), "rb") as data:
                info = tarfile.TarInfo(_blob_name(digest))
                info.size = os.fstat(data.fileno()).st_size
                tar.addfile(info, data)
        _add_bytes(tar, "index.json", index(images, also_by_digest=True))
        if not present:
            _add_bytes(tar, "manifest.json", _canonical(docker))


def index(images: list[Image], *, also_by_digest: bool = False) -> bytes:
    """The index of an OCI layout: each image by its tag, and again by its digest for readers that name images so."""
    names = [(i, name) for i in images for name in ((i.reference, i.by_digest) if also_by_digest else (i.reference,))]
    return _canonical({"schemaVersion": 2, "manifests": [_entry(image, name) for image, name in names]})


def _entry(image: Image, name: str) -> dict[str, Any]:
    return {
        "mediaType": MANIFEST_TYPE,
        "digest": image.digest,
        "size": image.manifest_size,
        "platform": {"architecture": "amd64", "os": "linux"},
        "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": image.tag},
    }


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
