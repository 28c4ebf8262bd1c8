"""What every task is given: the environment, the store, the progress tracker, and the wish to stop."""

from __future__ import annotations

import shutil
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tidemill_worker import log
from tidemill_worker.distributed.alone import Alone
from tidemill_worker.environment import Environment
from tidemill_worker.errors import Terminated
from tidemill_worker.progress import Tracker
from tidemill_worker.store import Store

SCRATCH = "scratch"
"""Under the work directory: where tasks put what they download and make."""


class Stop:
    """SIGTERM. Tasks that can save their work declare themselves cooperative and look; the others are interrupted."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.cooperative = False

    def install(self) -> None:
        """Listen. Only in the main thread, as signals demand."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.event.set()
        if not self.cooperative:
            raise Terminated

    def check(self) -> None:
        """Raise Terminated when the process should end."""
        if self.event.is_set():
            raise Terminated


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Handed to every task."""

    environment: Environment
    store: Store
    tracker: Tracker
    stop: Stop = field(default_factory=Stop)
    group: Alone = field(default_factory=Alone)
    """The processes that work on the task: one, but in a distributed training."""
    started_at: str = field(default_factory=log.now)
    inputs: dict[str, str] = field(default_factory=dict)
    """URI → digest of everything that was read, for the provenance."""

    def folder(self, *parts: str) -> Path:
        """An empty scratch folder under the work directory."""
        scratch = self.environment.work_dir / SCRATCH
        if scratch.is_symlink():  # left by a user's container
            scratch.unlink()
        return fresh_folder(scratch.joinpath(*parts))


def fresh_folder(path: Path) -> Path:
    """An empty folder: nothing that another container of the pod left under this name is kept or followed."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
