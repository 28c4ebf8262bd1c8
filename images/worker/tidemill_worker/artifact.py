"""Immutable artifacts: files first, manifest last; readers check every byte and fail closed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from tidemill.contract.layout import join
from tidemill.contract.manifest import MANIFEST, PROVENANCE, FileEntry, Manifest, Provenance
from tidemill.contract.tasks import ArtifactRef, BaseTask
from tidemill_worker import log
from tidemill_worker.context import Context
from tidemill_worker.errors import ArtifactCorrupt, ObjectNotFound
from tidemill_worker.store import CHUNK

_MEDIA_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".ipynb": "application/x-ipynb+json",
    ".png": "image/png",
    ".xml": "application/xml",
    ".md": "text/markdown; charset=utf-8",
    ".pbtxt": "text/plain; charset=utf-8",
}
D = TypeVar("D", bound=BaseModel)
_PACKAGES = (
    "duckdb", "pyarrow", "numpy", "matplotlib", "torch", "lightgbm", "onnx", "onnxruntime", "openvino", "transformers",
    "tokenizers", "peft",
)  # fmt: skip


def sha256(path: Path) -> str:
    """Hash of a file in constant memory."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()


def describe(folder: Path, kind: str) -> Manifest:
    """The manifest of a local folder."""
    files = []
    for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix()):
        if path.is_file():
            media_type = _MEDIA_TYPES.get(path.suffix, "application/octet-stream")
            relative = path.relative_to(folder).as_posix()
            entry = FileEntry(path=relative, size=path.stat().st_size, sha256=sha256(path), media_type=media_type)
            files.append(entry)
    return Manifest(kind=kind, files=tuple(files))


def versions() -> dict[str, str]:
    """The libraries that decide content, with their versions."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # only the trainer's image has torch and lightgbm
            continue
    return found


def existing(context: Context, uri: str) -> ArtifactRef | None:
    """The artifact that already lies in a folder, if there is one."""
    body = context.store.read_or_none(join(uri, MANIFEST))
    if body is None:
        return None
    return ArtifactRef(uri=uri, digest="sha256:" + hashlib.sha256(body).hexdigest())


def publish(
    context: Context,
    task: BaseTask,
    *,
    kind: str,
    folder: Path,
    root: str | None = None,
    uri: str | None = None,
    seed: int | None = None,
) -> ArtifactRef:
    """Store a local folder at `uri`, or content-addressed under `root`.

    An equal artifact that is there already is fine; a different one is never touched, its files included.
    """
    manifest = describe(folder, kind)
    place = uri or join(root or "", manifest.digest.removeprefix("sha256:"))
    ref = ArtifactRef(uri=place, digest=manifest.digest)
    there = existing(context, place)
    if there is not None:
        return _same(there, ref)
    context.tracker.phase("Uploading", 0.95, place)
    for entry in manifest.files:
        context.store.upload(folder / entry.path, join(place, entry.path), entry.media_type)
    provenance = Provenance(
        subject_digest=ref.digest,
        builder_image=context.environment.image,
        task=task.model_dump(mode="json", by_alias=True, exclude_none=True),
        inputs=dict(sorted(context.inputs.items())),
        seed=seed,
        started_at=context.started_at,
        finished_at=log.now(),
        versions=versions(),
    )
    context.store.put(join(place, PROVENANCE), provenance.to_json().encode())
    if not context.store.put_if_absent(join(place, MANIFEST), manifest.canonical()):
        there = existing(context, place)
        return _same(there or ref, ref)
    log.info("artifact stored", uri=place, digest=ref.digest, files=len(manifest.files))
    return ref


def _same(there: ArtifactRef, ours: ArtifactRef) -> ArtifactRef:
    if there.digest != ours.digest:
        raise ArtifactCorrupt(
            f"{ours.uri} already holds another artifact ({there.digest}, not {ours.digest}): artifacts never change, "
            "choose a new name or delete the old folder"
        )
    return ours


class Artifact:
    """A stored artifact whose manifest has been checked; files come down verified."""

    def __init__(self, context: Context, ref: ArtifactRef, *, name: str) -> None:
        """Read the manifest. `name` says in messages what the artifact is for: `dataset`, `model`."""
        self._context, self.ref, self.name = context, ref, name
        self._folder = context.folder(f"{name}-{ref.digest[-12:]}")
        try:
            body = context.store.read(join(ref.uri, MANIFEST))
        except ObjectNotFound as error:
            raise ObjectNotFound(f"{name} {ref.uri} does not exist: its folder has no {MANIFEST}") from error
        if "sha256:" + hashlib.sha256(body).hexdigest() != ref.digest:
            raise ArtifactCorrupt(
                f"{join(ref.uri, MANIFEST)} does not have the digest {ref.digest}: {name} was changed"
            )
        try:
            self.manifest = Manifest.model_validate_json(body)
        except ValidationError as error:
            raise ArtifactCorrupt(f"{join(ref.uri, MANIFEST)} is not a manifest: {error}") from error
        context.inputs[ref.uri] = ref.digest

    def has(self, path: str) -> bool:
        """Whether the artifact has this file."""
        return any(entry.path == path for entry in self.manifest.files)

    def fetch(self, path: str) -> Path:
        """Download one file and check its size and hash."""
        target = self._folder / path
        if target.exists():
            return target
        uri = join(self.ref.uri, path)
        try:
            entry = self.manifest.file(path)
        except KeyError as error:
            raise ArtifactCorrupt(f"{self.name} {self.ref.uri} has no file {path}") from error
        partial = target.with_name(target.name + ".partial")
        try:
            arrived = self._context.store.download(uri, partial)
        except ObjectNotFound as error:
            raise ArtifactCorrupt(f"{uri} is listed in the manifest but does not exist") from error
        size = partial.stat().st_size
        if size != entry.size or arrived != entry.sha256:
            partial.unlink()
            raise ArtifactCorrupt(
                f"{uri} differs from its manifest: {size} bytes with sha256 {arrived[:12]}…, expected {entry.size} "
                f"bytes with sha256 {entry.sha256[:12]}…; it was changed after it was stored"
            )
        partial.rename(target)
        return target

    def fetch_all(self, leave_out: Collection[str] = ()) -> Path:
        """Download and check every file but those to leave out; returns the folder."""
        wanted = [entry.path for entry in self.manifest.files if entry.path not in leave_out]
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(self.fetch, wanted))
        return self._folder

    def parse(self, path: str, document: type[D]) -> D:
        """A JSON file of the artifact as a document."""
        try:
            return document.model_validate_json(self.fetch(path).read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ArtifactCorrupt(f"{join(self.ref.uri, path)} is not valid at {where}: {first['msg']}") from error
