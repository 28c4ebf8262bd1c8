"""Model artifacts on the pod: downloaded, every byte checked against the manifest, cached by digest. Blocking."""

from __future__ import annotations

import hashlib
import shutil
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from tidemill.contract.layout import join
from tidemill.contract.manifest import MANIFEST, FileEntry, Manifest
from tidemill.contract.model import BASELINE_FILE, CONFIG_FILE, MODEL_FILE, SIGNATURE_FILE, Baseline, Signature
from tidemill_agent.errors import LoadError, ObjectNotFound
from tidemill_agent.store import CHUNK, Store

D = TypeVar("D", bound=BaseModel)


def _sha256(path: Path) -> tuple[int, str]:
    hashed, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hashed.update(chunk)
            size += len(chunk)
    return size, hashed.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArtifact:
    """A verified model artifact in the cache."""

    uri: str
    digest: str
    folder: Path
    manifest: Manifest
    signature: Signature
    baseline: Baseline | None
    """None: the artifact has no baseline.json, so nothing can be counted."""

    @property
    def user_config(self) -> str | None:
        """The user's own config.pbtxt, if the artifact has one."""
        path = self.folder / CONFIG_FILE
        return path.read_text() if path.exists() else None


class ArtifactCache:
    """`<root>/<digest hex>/…`. A folder is renamed into place only after all its files were checked."""

    def __init__(self, root: Path, store: Store) -> None:
        self._root, self._store = root, store
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._known: dict[str, ModelArtifact] = {}
        root.mkdir(parents=True, exist_ok=True)
        for left in root.glob(".partial-*"):
            shutil.rmtree(left)

    def fetch(self, uri: str, digest: str) -> ModelArtifact:
        """The artifact, from the cache or the store. Raises LoadError when a byte of it is not what the digest says."""
        with self._locks[digest]:
            known = self._known.get(digest)
            if known is None or not known.folder.exists():
                known = self._known[digest] = self._obtain(uri, digest)
            return known

    def prune(self, keep: Iterable[str]) -> None:
        """Remove the artifacts that nobody refers to any more."""
        kept = {digest.removeprefix("sha256:") for digest in keep}
        for folder in self._root.iterdir():
            if folder.name in kept or folder.name.startswith("."):
                continue
            digest = f"sha256:{folder.name}"
            with self._locks[digest]:
                self._known.pop(digest, None)
                shutil.rmtree(folder, ignore_errors=True)

    def _obtain(self, uri: str, digest: str) -> ModelArtifact:
        folder = self._root / digest.removeprefix("sha256:")
        if folder.exists():
            # Written by an earlier process of this pod: trusted no more than the store is.
            try:
                return self._check(uri, digest, folder)
            except LoadError:
                shutil.rmtree(folder)
        partial = self._root / f".partial-{uuid.uuid4().hex}"
        partial.mkdir()
        try:
            self._download(uri, digest, partial)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return self._parse(uri, digest, folder)

    def _download(self, uri: str, digest: str, target: Path) -> None:
        try:
            body = self._store.read(join(uri, MANIFEST))
        except ObjectNotFound as error:
            raise ObjectNotFound(f"model {uri} does not exist: its folder has no {MANIFEST}") from error
        (target / MANIFEST).write_bytes(body)
        manifest = _manifest(uri, digest, body)

        def one(entry: FileEntry) -> None:
            try:
                arrived = self._store.download(join(uri, entry.path), target / entry.path)
            except ObjectNotFound as error:
                raise LoadError(f"{join(uri, entry.path)} is listed in {MANIFEST} but does not exist") from error
            _compare(uri, entry, arrived)

        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(one, manifest.files))

    def _check(self, uri: str, digest: str, folder: Path) -> ModelArtifact:
        try:
            manifest = _manifest(uri, digest, (folder / MANIFEST).read_bytes())
            for entry in manifest.files:
                _compare(uri, entry, _sha256(folder / entry.path))
        except OSError as error:
            raise LoadError(f"the cached copy of {uri} is not complete: {error}") from error
        return self._parse(uri, digest, folder)

    def _parse(self, uri: str, digest: str, folder: Path) -> ModelArtifact:
        manifest = _manifest(uri, digest, (folder / MANIFEST).read_bytes())
        paths = {entry.path for entry in manifest.files}
        for needed in (MODEL_FILE, SIGNATURE_FILE):
            if needed not in paths:
                raise LoadError(f"model {uri} has no {needed}: it cannot be served")
        return ModelArtifact(
            uri=uri,
            digest=digest,
            folder=folder,
            manifest=manifest,
            signature=_document(uri, folder / SIGNATURE_FILE, Signature),
            baseline=_document(uri, folder / BASELINE_FILE, Baseline) if BASELINE_FILE in paths else None,
        )


def _manifest(uri: str, digest: str, body: bytes) -> Manifest:
    found = "sha256:" + hashlib.sha256(body).hexdigest()
    if found != digest:
        raise LoadError(
            f"{join(uri, MANIFEST)} has the digest {found}, but the placement asks for {digest}: "
            "the artifact was changed after it was stored"
        )
    try:
        return Manifest.model_validate_json(body)
    except ValidationError as error:
        raise LoadError(f"{join(uri, MANIFEST)} is not a manifest: {error}") from error


def _compare(uri: str, entry: FileEntry, found: tuple[int, str]) -> None:
    size, sha256 = found
    if (size, sha256) != (entry.size, entry.sha256):
        raise LoadError(
            f"{join(uri, entry.path)} differs from its manifest: {size} bytes with sha256 {sha256}, expected "
            f"{entry.size} bytes with sha256 {entry.sha256}; it was changed after it was stored"
        )


def _document(uri: str, path: Path, document: type[D]) -> D:
    try:
        return document.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LoadError(f"{join(uri, path.name)} is not valid at {where}: {first['msg']}") from error
