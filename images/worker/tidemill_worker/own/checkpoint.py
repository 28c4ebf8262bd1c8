"""`$TIDEMILL_CHECKPOINT`: a folder of the user's own code that a run's next pod finds again.

The store keeps its files by their hash under `<run root>/checkpoints/own/`, and `latest.json` names those that belong together.
A state of the folder is kept only when nothing in it changed from before the first file was read until after the last one was.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError

from tidemill.contract.base import Document
from tidemill.contract.layout import join
from tidemill_worker import log
from tidemill_worker.artifact import sha256
from tidemill_worker.context import fresh_folder
from tidemill_worker.errors import ObjectNotFound
from tidemill_worker.store import Store

LATEST = "latest.json"
MOST_FILES = 1000
UNFINISHED = (".tmp", ".partial")
"""A file with such a name, or one that begins with a dot, is still being written."""


class KeptFile(Document):
    """One file of a checkpoint."""

    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int


class Kept(Document):
    """`latest.json`: the files of the newest checkpoint."""

    files: tuple[KeptFile, ...] = ()


class Seen(NamedTuple):
    """What tells whether a file has changed."""

    inode: int
    size: int
    modified: int


Look = Mapping[str, Seen]
"""By path below the folder."""


class Changed(Exception):
    """The folder changed while it was being read."""


class TooMany(Exception):
    """The folder has more files than are kept."""


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """The user's folder, read without ever following a link: whoever keeps it has the store's credentials."""

    folder: Path

    def look(self) -> Look:
        """The regular files that are complete. Raises TooMany."""
        found: dict[str, Seen] = {}
        for path, name, handle in self._entries():
            try:
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
            except FileNotFoundError:  # gone since its folder was listed
                continue
            if stat.S_ISREG(status.st_mode):
                found[path] = Seen(status.st_ino, status.st_size, status.st_mtime_ns)
        return found

    def _entries(self) -> Iterator[tuple[str, str, int]]:
        """Path, name and the folder's descriptor of each file."""
        count = 0
        if self.folder.is_symlink() or not self.folder.is_dir():
            return
        for root, folders, names, handle in os.fwalk(self.folder, follow_symlinks=False):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            for name in sorted(names):
                if name.startswith(".") or name.endswith(UNFINISHED):
                    continue
                if (count := count + 1) > MOST_FILES:
                    raise TooMany
                path = Path(root, name).relative_to(self.folder).as_posix()
                yield path, name, handle

    @contextmanager
    def opened(self, path: str, seen: Seen) -> Iterator[Path]:
        """A path by which the very file that was seen can be read. Raises Changed when it is another one by now."""
        *folders, name = path.split("/")
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for folder in folders:
                inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
                os.close(handle)
                handle = inner
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
        except OSError as error:
            raise Changed(path) from error
        finally:
            os.close(handle)
        try:
            _unchanged(file, path, seen)
            yield Path(f"/proc/self/fd/{file}")
            _unchanged(file, path, seen)
        finally:
            os.close(file)


def _unchanged(file: int, path: str, seen: Seen) -> None:
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or Seen(status.st_ino, status.st_size, status.st_mtime_ns) != seen:
        raise Changed(path)


class KeptCheckpoint:
    """The newest checkpoint in the store."""

    def __init__(self, store: Store, run_root: str) -> None:
        self._store, self._root = store, join(run_root, "checkpoints", "own")

    def read(self) -> Kept | None:
        """The newest one, None when there is none that can be read."""
        body = self._store.read_or_none(join(self._root, LATEST))
        if body is None:
            return None
        try:
            return Kept.model_validate_json(body)
        except ValidationError as error:
            log.warn("unreadable checkpoint is ignored", error=str(error))
            return None

    def save(self, folder: CheckpointFolder, look: Look, before: Kept) -> Kept:
        """Keep this state of the folder. `before` is the state that was kept last, whose files are not stored again.

        Raises Changed, with the state before still the newest.
        """
        there = {file.sha256 for file in before.files}
        files = []
        for path, seen in sorted(look.items()):
            with folder.opened(path, seen) as source:
                digest = sha256(source)
                if digest not in there:
                    self._store.upload(source, join(self._root, digest), "application/octet-stream")
            files.append(KeptFile(path=path, sha256=digest, size=seen.size))
        if folder.look() != look:
            raise Changed(str(folder.folder))
        now = Kept(files=tuple(files))
        self._store.put(join(self._root, LATEST), now.to_json().encode())
        for digest in sorted(there - {file.sha256 for file in files}):
            self._store.delete(join(self._root, digest))
        return now

    def restore(self, target: Path) -> int:
        """Lay the newest checkpoint into an empty folder; returns the number of its files. One that is damaged is not used."""
        kept = self.read() or Kept()
        for file in kept.files:
            place = target / file.path
            if not place.resolve().is_relative_to(target.resolve()):
                log.warn("checkpoint with a path outside its folder is ignored", path=file.path)
                return _given_up(target)
            try:
                found = self._store.download(join(self._root, file.sha256), place)
            except ObjectNotFound:
                found = ""
            if found != file.sha256:
                log.warn("damaged checkpoint is ignored", path=file.path)
                return _given_up(target)
        return len(kept.files)


def _given_up(target: Path) -> int:
    fresh_folder(target)
    return 0
