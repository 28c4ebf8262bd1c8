"""The loop over epochs that every family shares: resume, SIGTERM, checkpoints, progress and early stopping.

A family brings a `Learner`, which trains one epoch and shows its state as plain arrays. Whatever happens to the pod, the same
task gives the same model, because everything that the next epoch depends on travels with the checkpoint.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from tidemill.contract.layout import join
from tidemill.contract.tasks import TrainingTask
from tidemill.contract.tracking import METRICS_FILE, Measurement
from tidemill_worker import log
from tidemill_worker.context import Context
from tidemill_worker.errors import PeersLost, Terminated, TrainingDiverged
from tidemill_worker.train import checkpoint
from tidemill_worker.train.checkpoint import Arrays, CheckpointFolder
from tidemill_worker.train.family import Report


class Losses(NamedTuple):
    """Mean losses of an epoch; there is no validation loss without validation rows."""

    train: float
    validation: float | None


class Learner(Protocol):
    """A model in training."""

    epochs: int
    """How many there are, at most."""
    steps: int
    """Steps of an epoch, as metrics count them: 1 where an epoch is the step."""

    def epoch(self, number: int) -> Losses:
        """Train one more epoch; they count from 1. Raises Terminated in between, when `Context.stop` says so."""

    def exhausted(self) -> bool:
        """Whether another epoch would change nothing."""

    def keep(self) -> None:
        """The last epoch is the best one so far: `restore_kept` comes back to it."""

    def restore_kept(self) -> None:
        """Be as good as at the best epoch again, if any was kept."""

    def state(self) -> Arrays:
        """Everything that the next epoch depends on, what was kept included."""

    def restore(self, state: Arrays) -> None:
        """Go on from this state."""


@dataclass
class Course:
    """Where a training is between two epochs."""

    epoch: int = 0
    """Complete epochs."""
    best_loss: float | None = None
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


class Training:
    """Takes one learner to its end, from the start or from the newest checkpoint."""

    def __init__(self, learner: Learner, task: TrainingTask, context: Context, report: Report) -> None:
        self.learner, self.task, self.context, self.report = learner, task, context, report
        self.folder = CheckpointFolder(context.store, task.run_root, task.task_id)
        self.course = Course()
        self.stored_epoch = 0
        self.snapshot: bytes | None = None

    def run(self) -> Course:
        """Train. Raises Terminated after SIGTERM, with the last complete epoch safe in the store."""
        self.context.tracker.phase("Training", 0.1)
        self._resume()
        stop = self.context.stop
        stop.cooperative = True
        try:
            while (
                self.course.epoch < self.learner.epochs and not self._out_of_patience() and not self.learner.exhausted()
            ):
                with self.context.group.watching():
                    self._epoch()
        except (Terminated, PeersLost):
            if self.course.epoch > self.stored_epoch:
                self._store()
            log.info("checkpoint kept for the next pod", epoch=self.course.epoch)
            raise
        finally:
            stop.cooperative = False
        stop.check()
        if self.course.epoch > self.stored_epoch:
            self._store()
        self.learner.restore_kept()
        return self.course

    def _resume(self) -> None:
        body = self.context.group.agreed(self.folder.load)
        if body is None:
            return
        state, course = checkpoint.decode(body)
        self.learner.restore(state)
        self.course = Course(**course)
        self.stored_epoch, self.snapshot = self.course.epoch, body
        log.info("resumed from checkpoint", epoch=self.course.epoch)
        if self.course.history:  # the pod before may have died between storing the epoch and reporting it
            newest = self.course.history[-1]
            self.report(self.course.epoch, newest.get("validationLoss", newest["loss"]))

    def _out_of_patience(self) -> bool:
        patience = self.task.trainer.patience
        return patience is not None and self.course.epoch - self.course.best_epoch >= patience

    def _epoch(self) -> None:
        began = time.monotonic()
        number = self.course.epoch + 1
        losses = self.learner.epoch(number)
        judged = losses.train if losses.validation is None else losses.validation
        if not np.isfinite(losses.train) or not np.isfinite(judged):
            bad = losses.train if not np.isfinite(losses.train) else judged
            raise TrainingDiverged(
                f"the loss became {bad} in epoch {number} with learning rate {self.task.trainer.learning_rate:g}: lower "
                "learningRate, or look for extreme values in the data",
                field="spec.trainer",
            )
        self.course.epoch = number
        if self.course.best_loss is None or judged < self.course.best_loss:
            self.course.best_loss, self.course.best_epoch = judged, number
            if self.task.trainer.patience is not None:
                self.learner.keep()
        self._tell(losses, time.monotonic() - began)
        if self.context.group.keeps_state:
            self.snapshot = checkpoint.encode(self.learner.state(), asdict(self.course))
        if number % self.task.checkpoint.every_epochs == 0:
            self._store()
        self.report(number, judged)

    def _tell(self, losses: Losses, seconds: float) -> None:
        number, epochs = self.course.epoch, self.learner.epochs
        values = {
            "loss": losses.train,
            **({} if losses.validation is None else {"validationLoss": losses.validation}),
            "learningRate": self.task.trainer.learning_rate,
            "seconds": round(seconds, 3),
        }
        measurement = Measurement(step=number * self.learner.steps, epoch=number, time=log.now(), values=values)
        self.course.history.append(measurement.line())
        log.info("epoch", **measurement.line())
        self.context.tracker.measured(measurement)
        self.context.tracker.epoch(
            epoch=number,
            epochs=epochs,
            loss=losses.train,
            validation_loss=losses.validation,
            fraction=0.1 + 0.7 * number / epochs,
        )

    def _store(self) -> None:
        """The last complete epoch, and the metrics of all epochs so far."""
        if self.context.group.leads:
            assert self.snapshot is not None, "no epoch is complete"
            self.folder.save(self.course.epoch, self.snapshot)
            lines = "".join(json.dumps(entry) + "\n" for entry in self.course.history)
            uri = join(self.task.run_root, METRICS_FILE)
            self.context.store.put(uri, lines.encode(), media_type="application/x-ndjson")
        self.stored_epoch = self.course.epoch
