"""A mounted PersistentVolumeClaim: its files by name, glob or folder, copied out and hashed on the way.

Others may write to the volume meanwhile, so nothing is believed twice: a file is opened once, it is checked where the open file
lies, and what is read and hashed is one copy. A symbolic link is followed as long as it stays within the volume.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tidemill_worker.context import Context
from tidemill_worker.errors import AccessDenied, InvalidData, ObjectNotFound, SourceUnavailable, TaskError
from tidemill_worker.patterns import Pattern
from tidemill_worker.store import CHUNK

_LOST = "lost+found/"
"""Of a file system's repairs, for root only."""


class Volume:
    """A claim's mount."""

    def __init__(self, context: Context, claim: str) -> None:
        """Raises ObjectNotFound when nothing is mounted."""
        self._context, self.claim = context, claim
        self._root = Path(os.path.realpath(context.environment.volume_dir / claim))
        if not self._root.is_dir():
            raise ObjectNotFound(f"claim {claim} is not mounted")

    def uri(self, name: str) -> str:
        """A file's name in messages and in the provenance."""
        return f"volume://{self.claim}/{name}"

    def names(self, path: str) -> list[str]:
        """What a user's path stands for, in order."""
        pattern = Pattern(path)
        if pattern.one:
            self._must_be_inside(os.path.realpath(self._root / path), path)
            return [path] if os.path.lexists(self._root / path) else []
        start = pattern.prefix[: pattern.prefix.rfind("/") + 1]
        return sorted(self._walk(start, pattern, ()))

    def _walk(self, folder: str, pattern: Pattern, above: tuple[str, ...]) -> Iterator[str]:
        real = os.path.realpath(self._root / folder)
        self._must_be_inside(real, folder)
        if real in above:
            raise InvalidData(f"{self.uri(folder)} is a symbolic link to a folder that it lies in")
        try:
            entries = list(os.scandir(real))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._refused(error, folder) from error
        for entry in entries:
            name = folder + entry.name
            if pattern.matches(name) and not entry.is_dir():
                yield name
            elif pattern.reaches_below(f"{name}/") and name + "/" != _LOST and entry.is_dir():
                yield from self._walk(f"{name}/", pattern, (*above, real))

    def stamp(self, name: str) -> tuple[int, int]:
        """Size, and time of the last change in nanoseconds: another content shows in them without being read."""
        try:
            found = os.stat(self._root / name)
        except OSError as error:
            raise self._refused(error, name) from error
        return found.st_size, found.st_mtime_ns

    def copy(self, name: str, target: Path) -> str:
        """Copy a file; returns the sha256 of what was copied."""
        hashed = hashlib.sha256()
        real = os.path.realpath(self._root / name)
        self._must_be_inside(real, name)
        try:
            # O_NONBLOCK: a named pipe must not hold the task for ever
            with open(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as source:
                self._must_be_inside(os.readlink(f"/proc/self/fd/{source.fileno()}"), name)
                if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                    raise InvalidData(f"{self.uri(name)} is no regular file")
                with target.open("wb") as sink:
                    while chunk := source.read(CHUNK):
                        hashed.update(chunk)
                        sink.write(chunk)
                        self._context.tracker.read(len(chunk))
        except OSError as error:
            raise self._refused(error, name) from error
        return hashed.hexdigest()

    def _must_be_inside(self, real: str, name: str) -> None:
        if not Path(real).is_relative_to(self._root):
            raise InvalidData(f"{self.uri(name)} leads out of the volume by a symbolic link: put the file itself there")

    def _refused(self, error: OSError, name: str) -> TaskError:
        if error.errno in (errno.EACCES, errno.EPERM):
            user = f"user {os.getuid()} and group {os.getgid()}"
            return AccessDenied(f"{self.uri(name)} may not be read by {user}: change its mode or its owner")
        if error.errno == errno.EISDIR:
            return InvalidData(f"{self.uri(name)} is a folder: end the path in / to read the files in it")
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            return ObjectNotFound(f"{self.uri(name)} cannot be opened: {error.strerror}")
        return SourceUnavailable(f"{self.uri(name)} cannot be copied: {error.strerror}")
