"""What a user's own container left in the pod's shared folder: read as regular files or not at all.

The container of a task has the store's credentials, the user's container has not; a link that the user's container leaves
must therefore never lead the task's process out of the folder (`x -> /proc/self/environ`).
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tidemill_worker.errors import ContractViolated


class Leftover:
    """A folder of the user's container, opened by its descriptor: no part of a path is ever followed as a link."""

    def __init__(self, folder: Path, *, called: str) -> None:
        """`called` is the folder's name in messages. A folder that does not exist is empty."""
        self._called = called
        self._folder = folder
        if folder.is_symlink():
            raise self._refused("", "is a symbolic link")
        if folder.exists() and not folder.is_dir():
            raise self._refused("", "is no folder")

    def names(self) -> list[str]:
        """The files at the folder's top. Folders in it belong to the user; anything else that is no file is refused."""
        found = []
        for entry in sorted(os.scandir(self._folder), key=lambda e: e.name) if self._folder.exists() else ():
            if entry.is_symlink():
                raise self._refused(entry.name, f"is a symbolic link (to {os.readlink(entry.path)})")
            if entry.is_dir(follow_symlinks=False):
                continue
            if not entry.is_file(follow_symlinks=False):
                raise self._refused(entry.name, "is neither a file nor a folder")
            found.append(entry.name)
        return found

    def copy(self, name: str, target: Path) -> None:
        """Copy one file."""
        with self._open(name) as source, target.open("xb") as sink:
            shutil.copyfileobj(source, sink)

    def size(self, name: str) -> int | None:
        """Bytes of one file, None when there is none."""
        try:
            status = os.stat(self._folder / name, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        """One file's content, or so many bytes of it from an offset on."""
        with self._open(name) as source:
            source.seek(offset)
            return source.read(size)

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            # O_NONBLOCK: a named pipe put in the file's place must not hold the task for ever
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except OSError as error:
            raise self._refused(name, f"cannot be read: {error.strerror}") from error
        finally:
            os.close(folder)
        with os.fdopen(file, "rb") as source:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise self._refused(name, "is no regular file")
            yield source

    def _refused(self, name: str, why: str) -> ContractViolated:
        path = f"{self._called}/{name}" if name else self._called
        return ContractViolated(f"{path} {why}: leave regular files only there")
