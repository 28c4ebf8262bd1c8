"""Looks after a user's own code while it trains: what it writes becomes progress, and is kept in the run's folder of the store.

It is a convenience: whatever goes wrong here is logged and said with the progress, and the training goes on.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable

from pydantic import ValidationError

from tidemill.contract.layout import join
from tidemill.contract.names import TASK_PROGRESS_PORT
from tidemill.contract.results import Progress
from tidemill.contract.tasks import PublishModel
from tidemill.contract.tracking import RUN_FILE, RunRecord, flatten
from tidemill_worker import log
from tidemill_worker.context import Context
from tidemill_worker.errors import ContractViolated, TaskError
from tidemill_worker.leftover import Leftover
from tidemill_worker.own.checkpoint import MOST_FILES, Changed, CheckpointFolder, Kept, KeptCheckpoint, Look, TooMany
from tidemill_worker.own.metrics import KeptMetrics, MetricsFile, progress_of

STORE_EVERY = 15.0
"""Seconds between two writes of the same thing to the store, at least."""
SETTLED = 2.0
"""Seconds for which a checkpoint has not changed when it is taken to be complete."""
QUIET, PATIENCE = 10.0, 25.0
"""When the pod ends before the training has: it may still write a checkpoint. Seconds that this waits for a first or further
change, and in all; Kubernetes allows 30."""
_LONGEST, _WORDS = 16 * 1024, 500
"""Bytes of an answer and characters of its message that are read: the user's code could listen there, too."""


class Watch:
    """One training. `turn` is called every few seconds, `end` when the pod is to end."""

    def __init__(self, task: PublishModel, context: Context, *, task_port: int = TASK_PROGRESS_PORT) -> None:
        self._task, self._context, self._port = task, context, task_port
        self._folder = CheckpointFolder(context.environment.checkpoint)
        self._checkpoint = KeptCheckpoint(context.store, task.run_root)
        self._file: MetricsFile | None = None
        self._metrics: KeptMetrics | None = None
        self._kept: Kept | None = None
        self._kept_look: Look = {}
        self._seen: Look = {}
        self._changed_at = time.monotonic()
        self._recorded = self._unsaved = self._trained = False
        self._troubles: dict[str, str] = {}
        self._due: dict[str, float] = {}

    def turn(self) -> None:
        """Look once. When the task after the training has begun, only pass on what that says."""
        said = self._of_task()
        if said is not None:
            self._trained = True
            self._context.tracker.tell(said)
        if self._trained:
            return
        self._read_metrics()
        if not self._recorded:
            self._guard("run", self._record)
        if self._unsaved:
            self._guard("metrics", self._save_metrics)
        self._look()
        if self._seen != self._kept_look and time.monotonic() - self._changed_at >= SETTLED:
            self._guard("checkpoint", self._save_checkpoint)

    def end(self) -> None:
        """Keep what is not kept yet. A training that is told to end, too, has some seconds for a last checkpoint."""
        if self._trained:
            return
        told = self._changed_at = time.monotonic()
        while time.monotonic() - told < PATIENCE and time.monotonic() - self._changed_at < QUIET:
            self._due.clear()
            self.turn()
            if self._trained:
                return
            time.sleep(0.5)
        if self._seen != self._kept_look:
            log.warn("the last checkpoint was not complete in time: the one before it is kept")

    def _of_task(self) -> Progress | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/progress", timeout=1) as answer:
                said = Progress.model_validate_json(answer.read(_LONGEST))
        except (OSError, ValidationError):
            return None
        return said.model_copy(update={"message": said.message[:_WORDS]})

    def _read_metrics(self) -> None:
        newest, problem = None, ""
        try:
            if self._file is None:
                self._file = MetricsFile(Leftover(self._context.environment.output, called="$TIDEMILL_OUTPUT"))
            self._unsaved |= self._file.read()
            newest, problem = self._file.newest, self._file.problem
        except ContractViolated as error:  # no folder: the task will refuse it
            problem = error.message
        trouble = "; ".join(filter(None, (problem, *self._troubles.values())))
        plain = Progress(phase="Training", message=trouble, updated_at=log.now())
        self._context.tracker.tell(plain if newest is None else progress_of(newest, trouble))

    def _record(self) -> None:
        self._context.store.put(
            join(self._task.run_root, RUN_FILE), record_of(self._task, self._context).to_json().encode()
        )
        self._recorded = True

    def _save_metrics(self) -> None:
        assert self._file is not None, "it was read"
        self._metrics = self._metrics or KeptMetrics(self._context.store, self._task.run_root)
        self._metrics.save(self._file.measured)
        self._unsaved = False

    def _look(self) -> None:
        try:
            seen = self._folder.look()
        except TooMany:
            self._troubles["checkpoint"] = f"$TIDEMILL_CHECKPOINT has more than {MOST_FILES} files: it is not kept"
            return
        if seen != self._seen:
            self._seen, self._changed_at = seen, time.monotonic()

    def _save_checkpoint(self) -> None:
        look = self._seen
        if self._kept is None:
            self._kept = self._checkpoint.read() or Kept()
        try:
            self._kept = self._checkpoint.save(self._folder, look, self._kept)
        except Changed as changed:
            log.info("the checkpoint changed while it was being kept", file=str(changed))
            return
        self._kept_look = look
        log.info("checkpoint kept", files=len(look), bytes=sum(seen.size for seen in look.values()))

    def _guard(self, what: str, work: Callable[[], None]) -> None:
        """Do what writes to the store, not too often; a failure is said and tried again."""
        if time.monotonic() < self._due.get(what, 0.0):
            return
        try:
            work()
        except TaskError as error:
            self._troubles[what] = error.message
            log.warn("not kept for now", what=what, error=error.message)
        else:
            self._troubles.pop(what, None)
        self._due[what] = time.monotonic() + STORE_EVERY


def record_of(task: PublishModel, context: Context) -> RunRecord:
    """`run.json` of a user's own code. Its environment is left out: what is in it is the user's affair."""
    trainer = task.trainer.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"env", "env_from_secret"})
    return RunRecord(
        owner=str(task.owner),
        dataset_uri=task.dataset.uri,
        dataset_digest=task.dataset.digest,
        parameters={"trainer": task.kind, **flatten(trainer)},
        image=context.environment.image,
        started_at=context.started_at,
    )
