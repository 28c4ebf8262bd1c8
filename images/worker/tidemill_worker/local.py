"""A store in a folder, and a context around it: to run the worker's code on a laptop, without S3."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tidemill.contract.tasks import ArtifactRef
from tidemill_worker.context import Context
from tidemill_worker.environment import Environment
from tidemill_worker.errors import ObjectNotFound
from tidemill_worker.progress import Tracker
from tidemill_worker.store import Store, StoredObject, parse


class FolderStore(Store):
    """`s3://bucket/key` is the file `<root>/bucket/key`. For one process at a time."""

    def __init__(self, tracker: Tracker, root: Path) -> None:
        super().__init__(None, tracker)
        self.root = root

    def path(self, uri: str) -> Path:
        """Where an object lies."""
        bucket, key = parse(uri)
        return self.root / bucket / key

    def objects(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """Files whose URI begins with the prefix, by key."""
        bucket, _ = parse(prefix)
        base = self.root / bucket
        for path in sorted(base.rglob("*")):
            uri = f"s3://{bucket}/{path.relative_to(base).as_posix()}"
            if path.is_file() and uri.startswith(prefix) and parse(uri)[1] > start_after:
                found = path.stat()
                modified = datetime.fromtimestamp(found.st_mtime, UTC)
                yield StoredObject(uri=uri, size=found.st_size, modified=modified)

    def read(self, uri: str) -> bytes:
        """A file as a whole. Raises ObjectNotFound."""
        try:
            return self.path(uri).read_bytes()
        except FileNotFoundError as error:
            raise ObjectNotFound(f"{uri} does not exist") from error

    def download(self, uri: str, target: Path) -> str:
        """Copy a file; the sha256 of what arrived."""
        body = self.read(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)
        return hashlib.sha256(body).hexdigest()

    def upload(self, source: Path, uri: str, media_type: str) -> None:
        """Copy a file into the store."""
        del media_type
        self._parent(uri)
        shutil.copyfile(source, self.path(uri))

    def put(self, uri: str, body: bytes, *, media_type: str = "application/json") -> None:
        """Write a file, replacing what is there."""
        del media_type
        self._parent(uri)
        self.path(uri).write_bytes(body)

    def put_if_absent(self, uri: str, body: bytes, *, media_type: str = "application/json") -> bool:
        """Write a file unless it is there; whether this call wrote it."""
        if self.path(uri).exists():
            return False
        self.put(uri, body, media_type=media_type)
        return True

    def delete(self, uri: str) -> None:
        """Remove a file; one that is not there is fine."""
        self.path(uri).unlink(missing_ok=True)

    def _parent(self, uri: str) -> None:
        self.path(uri).parent.mkdir(parents=True, exist_ok=True)


def context_in(folder: Path) -> Context:
    """A context whose store and scratch files lie in this folder."""
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    tracker = Tracker()
    environment = replace(Environment.read(), work_dir=work)
    return Context(environment=environment, store=FolderStore(tracker, folder / "store"), tracker=tracker)


def place_dataset(context: Context, dataset: ArtifactRef, files: Path) -> None:
    """Let the files of a downloaded dataset version be found under its URI; readers check them against its digest."""
    store = context.store
    assert isinstance(store, FolderStore), "only a folder can take files in"
    place = store.path(dataset.uri)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(files.resolve(), target_is_directory=True)
