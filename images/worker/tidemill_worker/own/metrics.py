"""The metrics that a user's own code writes while it trains: `metrics.jsonl` in `$TIDEMILL_OUTPUT`, one line a step.

A line that cannot be read costs nothing but itself: it becomes a warning, never the end of a training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from pydantic import ValidationError

from tidemill.contract.layout import join
from tidemill.contract.results import Progress
from tidemill.contract.tracking import METRICS_FILE, OwnMeasurement
from tidemill_worker import log
from tidemill_worker.errors import ContractViolated
from tidemill_worker.leftover import Leftover
from tidemill_worker.store import Store

LARGEST = 4 << 20
"""Bytes of the file that are read, some 50,000 lines; what comes after them is not. The sidecar holds them in memory."""
_WORDS = 300
"""Characters of a warning: names of metrics can be long, and all warnings must fit into a termination message."""
_LOOKS_LIKE = 'a line looks like {"step": 12, "steps": 500, "loss": 0.25, "validationLoss": 0.3}'


class MetricsFile:
    """Reads the file as it grows. Lines count once they end; one that was written anew is read from its start."""

    def __init__(self, output: Leftover) -> None:
        self._output = output
        self._begin_anew()
        self.problem = ""
        """The first line that cannot be read, and why."""

    def _begin_anew(self) -> None:
        self._offset = self._lines = 0
        self.newest: OwnMeasurement | None = None
        self.measured: dict[int, str] = {}
        """Lines for the run's folder, by step. A step that is told twice is what was told last."""

    def read(self, *, ended: bool = False) -> bool:
        """Read what is new, and say whether there was something. `ended`: nothing more comes, the last line counts as it is."""
        try:
            size = self._output.size(METRICS_FILE)
            if size is None:
                return False
            if size < self._offset:
                self._begin_anew()
            wanted = min(size, LARGEST) - self._offset
            text = self._output.read(METRICS_FILE, self._offset, wanted) if wanted > 0 else b""
        except ContractViolated as error:
            self._warn(error.message)
            return False
        if size > LARGEST:
            self._warn(f"{METRICS_FILE} is longer than {LARGEST >> 20} MiB: what comes after them is not read")
        whole = text if ended else text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._lines += 1
            self._take(line)
        return bool(whole)

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            found = OwnMeasurement.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"] if part != "values")
            self._warn(
                f"line {self._lines} of {METRICS_FILE} is not read: {where or 'it'}: {first['msg']}; {_LOOKS_LIKE}"
            )
            return
        if bad := sorted(name for name, value in found.values.items() if not math.isfinite(value)):
            self._warn(
                f"line {self._lines} of {METRICS_FILE}: {', '.join(bad)} of step {found.step} is not finite, and left out"
            )
            values = {name: value for name, value in found.values.items() if name not in bad}
            found = found.model_copy(update={"values": values})
        self.newest = found
        self.measured[found.step] = json.dumps(found.plain(now=log.now()).line())

    def _warn(self, problem: str) -> None:
        if not self.problem:
            self.problem = problem if len(problem) <= _WORDS else problem[: _WORDS - 1] + "…"
            log.warn(self.problem)


def progress_of(newest: OwnMeasurement, warning: str) -> Progress:
    """How far the training is, by its newest line: by steps, or by epochs, whichever it says the number of."""
    fraction = 0.0
    if newest.steps:
        fraction = newest.step / newest.steps
    elif newest.epochs and newest.epoch is not None:
        fraction = newest.epoch / newest.epochs
    step = f"step {newest.step}" + (f" of {newest.steps}" if newest.steps else "")
    return Progress(
        phase="Training",
        fraction=min(1.0, fraction),
        epoch=newest.epoch,
        epochs=newest.epochs,
        loss=newest.values.get("loss"),
        validation_loss=newest.values.get("validationLoss"),
        message="; ".join(filter(None, (step, warning))),
        updated_at=log.now(),
    )


class KeptMetrics:
    """`metrics.jsonl` in the run's folder: what all pods of the run have told.

    A pod that goes on from a checkpoint tells some steps again: they, and those after them, are what it says.
    """

    def __init__(self, store: Store, run_root: str) -> None:
        """Reads what is there. Raises StoreUnavailable, AccessDenied."""
        self._store, self._uri = store, join(run_root, METRICS_FILE)
        body = store.read_or_none(self._uri) or b""
        try:
            self._earlier = {int(json.loads(line)["step"]): line for line in body.decode().splitlines()}
        except (ValueError, KeyError, TypeError) as error:
            log.warn("unreadable metrics of an earlier pod are replaced", error=str(error))
            self._earlier = {}

    def save(self, told: Mapping[int, str]) -> None:
        """Store the lines, by step, with those of earlier pods."""
        first = min(told, default=0)
        before = {step: line for step, line in self._earlier.items() if step < first}
        lines = {**before, **{step: self._dated(step, line) for step, line in told.items()}}
        text = "".join(f"{lines[step]}\n" for step in sorted(lines))
        self._store.put(self._uri, text.encode(), media_type="application/x-ndjson")

    def _dated(self, step: int, line: str) -> str:
        """With the time at which it was first read."""
        before = self._earlier.get(step, "")
        return before if _undated(before) == _undated(line) else line


def _undated(line: str) -> str:
    return line.rpartition(', "time": ')[0]
