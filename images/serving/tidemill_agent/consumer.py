"""Reads what the server sampled, the backend's segments and the files of Triton's trace alike.

It counts every value once, and hands the rows to the inference log, which stores them once. A segment that is kept until
its rows are stored is read again by an agent that starts anew: the journal says that it was counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tidemill_agent import log
from tidemill_agent.counters import Counters
from tidemill_agent.inferencelog import InferenceLog, Segment
from tidemill_agent.journal import Journal, identity
from tidemill_agent.tap import Batch, TapFormatError, read_batches, segments
from tidemill_agent.trace_spool import TraceSpool

SEGMENTS_AT_ONCE = 16


@dataclass(slots=True)
class Consumer:
    """Blocking; one thread at a time."""

    tap_dir: Path
    counters: Counters
    inference_log: InferenceLog
    trace: TraceSpool
    journal: Journal
    unreadable: int = 0
    _seen: dict[Path, Segment] = field(default_factory=dict)
    _started: bool = False

    def poll(self, now: float) -> bool:
        """Read new segments, at most a few; says whether there may be more."""
        # A file that was stored and removed is forgotten: a restarted server may use its name again.
        self._seen = {path: segment for path, segment in self._seen.items() if segment.waiting > 0}
        sources = [(path, read_batches) for path in segments(self.tap_dir)]
        sources += [(path, self.trace.read) for path in self.trace.files()]
        if not self._started:
            self._started = True
            self.inference_log.recover({identity(path) for path, _ in sources})
        fresh = [(path, read) for path, read in sources if path not in self._seen]
        for path, read in fresh[:SEGMENTS_AT_ONCE]:
            self._read(path, read, now)
        if len(fresh) <= SEGMENTS_AT_ONCE:
            self.inference_log.recovered()
        return len(fresh) > SEGMENTS_AT_ONCE

    def _read(self, path: Path, read: Callable[[Path], list[Batch]], now: float) -> None:
        segment = self._seen[path] = Segment(path, identity(path))
        try:
            batches = read(path)
        except (TapFormatError, ValueError) as error:
            log.warn("a file of samples is not readable and is removed", file=path.name, reason=str(error))
            self.unreadable += 1
            batches = []
        if not self.journal.counted(segment.name):
            self._count(segment, batches)
        self.inference_log.add(segment, batches, now)

    def _count(self, segment: Segment, batches: list[Batch]) -> None:
        try:
            self.journal.count(segment.name)
        except OSError as error:
            log.warn("an agent that starts anew would count these samples again", file=segment.name, reason=str(error))
        for batch in batches:
            self.counters.add(batch)
