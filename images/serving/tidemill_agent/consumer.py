"""Reads the tap's segments: counts every value once, and hands the rows to the inference log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tidemill_agent import log
from tidemill_agent.counters import Counters
from tidemill_agent.inferencelog import InferenceLog, Segment
from tidemill_agent.tap import TapFormatError, read_batches, segments

SEGMENTS_AT_ONCE = 16


@dataclass(slots=True)
class Consumer:
    """Blocking; one thread at a time."""

    tap_dir: Path
    counters: Counters
    inference_log: InferenceLog
    unreadable: int = 0
    _seen: dict[Path, Segment] = field(default_factory=dict)

    def poll(self, now: float) -> bool:
        """Read new segments, at most a few; says whether there may be more."""
        # A file that was stored and removed is forgotten: a restarted server may use its name again.
        self._seen = {path: segment for path, segment in self._seen.items() if segment.waiting > 0}
        fresh = [path for path in segments(self.tap_dir) if path not in self._seen]
        for path in fresh[:SEGMENTS_AT_ONCE]:
            self._read(path, now)
        return len(fresh) > SEGMENTS_AT_ONCE

    def _read(self, path: Path, now: float) -> None:
        segment = self._seen[path] = Segment(path)
        try:
            batches = read_batches(path)
        except (TapFormatError, ValueError) as error:
            log.warn("a segment of the tap is not readable and is removed", segment=path.name, reason=str(error))
            self.unreadable += 1
            batches = []
        for batch in batches:
            self.counters.add(batch)
            self.inference_log.add(batch, segment, now)
        self.inference_log.done(segment)
