"""The files of Triton's trace: taken over when whole, read once, bounded in bytes.

Triton numbers its files from 0 after each start and would write over old ones, so a whole file is renamed at once, into a
folder and under a name of our own, which also holds how far the trace's clock is from the time of day: read again, a file
must give the same times.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.contract.names import TRACE_FILE
from tidemill_agent import log
from tidemill_agent.tap import Batch, TapFormatError
from tidemill_agent.trace_reader import ENDS, Batched, models_in, parse

TAKEN = "taken"
SETTLED_SECONDS = 1.0
"""Triton writes a file in one go; one that has not changed for so long and ends as it should is whole."""
ABANDONED_SECONDS = 30.0
"""A file without an end that has not changed for so long was cut off by a crash."""


def clock_offset() -> int:
    """From the monotonic clock of the node, which Triton's trace shows and all containers share, to the time of day."""
    return time.time_ns() - time.monotonic_ns()


def wall_clock(modified_ns: int, offset: int) -> Callable[[int], int]:
    """From the trace's clock to the time of day.

    What was written before the node's restart would lie in the future: then the time of its writing is the best there is.
    """
    return lambda ns: min(ns + offset, modified_ns)


@dataclass(slots=True)
class TraceSpool:
    """Blocking; one thread at a time."""

    tap_dir: Path
    max_bytes: int
    batched: Batched
    dropped: Callable[[str, int], None]
    """Told of samples that are lost: model, how many."""
    _read: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        # Triton makes no folder: what it cannot write is lost.
        self._taken.mkdir(parents=True, exist_ok=True)

    @property
    def _taken(self) -> Path:
        return (self.tap_dir / TRACE_FILE).parent / TAKEN

    def files(self) -> list[Path]:
        """Files to read or still kept, the oldest first."""
        self._take()
        found = sorted(self._taken.glob("*.json"))
        self._read.intersection_update(found)
        return self._bound(found)

    def read(self, path: Path) -> list[Batch]:
        """The batches of a file. Raises TapFormatError."""
        self._read.add(path)
        data, offset = path.read_bytes(), int(path.stem.split("-", 2)[2])
        try:
            traced = parse(data, batched=self.batched, wall_ns=wall_clock(path.stat().st_mtime_ns, offset))
        except TapFormatError:
            for model, count in models_in(data).items():
                self.dropped(model, count)
            raise
        for model, count in traced.dropped.items():
            self.dropped(model, count)
        return traced.batches

    def _take(self) -> None:
        prefix = self.tap_dir / TRACE_FILE
        now = time.time()
        for path in prefix.parent.glob(f"{prefix.name}.*"):
            number = path.name.removeprefix(f"{prefix.name}.")
            stat = path.stat()
            age = now - stat.st_mtime
            if number.isdigit() and age >= SETTLED_SECONDS and (_ended(path) or age >= ABANDONED_SECONDS):
                name = f"{stat.st_mtime_ns:020d}-{int(number):09d}-{clock_offset()}.json"
                path.rename(self._taken / name)

    def _bound(self, found: list[Path]) -> list[Path]:
        sizes: dict[Path, int] = {}
        for path in found:
            with contextlib.suppress(FileNotFoundError):  # its rows were stored just now
                sizes[path] = path.stat().st_size
        total = sum(sizes.values())
        for path in list(sizes):
            if total <= self.max_bytes:
                break
            total -= sizes.pop(path)
            if path not in self._read:  # the rows of one that was read are in memory already
                for model, count in models_in(path.read_bytes()).items():
                    self.dropped(model, count)
                log.warn("samples are dropped: the trace's files are over the tap's limit", file=path.name)
            path.unlink(missing_ok=True)
        return list(sizes)


def _ended(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(file.tell() - max(map(len, ENDS)), 0))
        return file.read().endswith(ENDS)
