"""The training loop: whole tensors in memory, one permutation an epoch, checkpoints between epochs.

Whatever happens, the same task gives the same weights: the order of rows follows from seed and epoch, and the state of
the optimizer and of the random generator travels with the checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tidemill.contract.layout import join
from tidemill.contract.tasks import TrainModel
from tidemill_worker import log
from tidemill_worker.context import Context
from tidemill_worker.errors import Terminated, TrainingDiverged
from tidemill_worker.train import checkpoint
from tidemill_worker.train.checkpoint import CheckpointFolder, TrainingState
from tidemill_worker.train.network import TabularNetwork

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
METRICS = "metrics.jsonl"
_EVALUATION_ROWS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSplit:
    """A split as the network sees it: numbers, category indices, target (float32 [n, 1] or int64 [n])."""

    numbers: np.ndarray
    codes: np.ndarray
    target: np.ndarray

    def tensors(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """On the device."""
        return tuple(torch.from_numpy(a).to(device) for a in (self.numbers, self.codes, self.target))  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self.target)


def loss_function(task: TrainModel) -> Loss:
    """As the spec asks."""
    if task.task == "Classification":
        return nn.CrossEntropyLoss()
    kinds: dict[str, Callable[[], Loss]]
    kinds = {"SquaredError": nn.MSELoss, "AbsoluteError": nn.L1Loss, "Huber": nn.HuberLoss}
    return kinds[task.trainer.loss]()


def choose_device(context: Context) -> torch.device:
    """A GPU when there is one. One that was asked for and is not there is reported: the run goes on, but slowly."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if asked := context.environment.gpu:
        built = torch.version.cuda or torch.version.hip
        why = f"PyTorch finds no device ({built})" if built else "the trainer image has PyTorch for CPUs only"
        context.tracker.warn(
            f"trains on the CPU, although a GPU was asked for ({asked}): {why}; give the chart a trainer image with "
            "PyTorch for this GPU (images.trainer), or drop spec.resources.gpu"
        )
    return torch.device("cpu")


class TrainingLoop:
    """Trains one network to the end, from the start or from the newest checkpoint."""

    def __init__(
        self, task: TrainModel, context: Context, network: TabularNetwork, train: EncodedSplit, validation: EncodedSplit
    ) -> None:
        self.task, self.context, self.spec = task, context, task.trainer
        self.device = choose_device(context)
        self.network = network.to(self.device)
        self.train, self.validation = train.tensors(self.device), validation.tensors(self.device)
        self.loss = loss_function(task)
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=self.spec.learning_rate,
            weight_decay=self.spec.weight_decay,
            fused=True,  # small layers spend more time in the optimizer than in the network: this halves it
        )
        self.folder = CheckpointFolder(context.store, task.run_root, task.task_id)
        self.state = TrainingState()
        self.stored_epoch = 0
        self.snapshot: bytes | None = None

    def run(self) -> TrainingState:
        """Train. Raises Terminated after SIGTERM, with the last complete epoch safe in the store."""
        self.resume()
        stop = self.context.stop
        stop.cooperative = True
        try:
            while self.state.epoch < self.spec.epochs and not self.exhausted():
                self.epoch()
        except Terminated:
            if self.snapshot is not None and self.state.epoch > self.stored_epoch:
                self.store()
            log.info("checkpoint kept for the next pod", epoch=self.state.epoch)
            raise
        finally:
            stop.cooperative = False
        stop.check()
        if self.state.epoch > self.stored_epoch:
            self.store()
        if self.spec.patience is not None and self.state.best_weights:
            self.network.load_state_dict(self.state.best_weights)
        self.network.eval()
        return self.state

    def resume(self) -> None:
        """From the newest checkpoint, when there is one that fits."""
        body = self.folder.load()
        if body is None:
            return
        self.state = checkpoint.restore(body, self.network, self.optimizer)
        self.stored_epoch, self.snapshot = self.state.epoch, body
        log.info("resumed from checkpoint", epoch=self.state.epoch)

    def exhausted(self) -> bool:
        """Whether patience has run out."""
        patience = self.spec.patience
        return patience is not None and self.state.epoch - self.state.best_epoch >= patience

    def epoch(self) -> None:
        """One pass over the training split, then the validation loss, then the checkpoint."""
        began = time.monotonic()
        number = self.state.epoch + 1
        self.network.train()
        generator = torch.Generator().manual_seed(self.spec.seed * 1_000_003 + number)
        order = torch.randperm(len(self.train[2]), generator=generator).to(self.device)
        total = torch.zeros((), device=self.device)
        for rows in torch.split(order, self.spec.batch_size):
            self.context.stop.check()
            self.optimizer.zero_grad(set_to_none=True)
            numbers, codes, target = (tensor[rows] for tensor in self.train)
            loss = self.loss(self.network(numbers, codes), target)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += loss.detach() * len(rows)
        self.finish(number, float(total) / len(order), began)

    def finish(self, number: int, train_loss: float, began: float) -> None:
        """Record the epoch."""
        validation_loss = self.validate()
        judged = train_loss if validation_loss is None else validation_loss
        if not np.isfinite(train_loss) or not np.isfinite(judged):
            raise TrainingDiverged(
                f"the loss became {train_loss if not np.isfinite(train_loss) else judged} in epoch {number} with "
                f"learning rate {self.spec.learning_rate:g}: lower learningRate, or look for extreme values in the data",
                field="spec.trainer",
            )
        self.state.epoch = number
        if judged < self.state.best_loss:
            self.state.best_loss, self.state.best_epoch = judged, number
            if self.spec.patience is not None:
                self.state.best_weights = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        entry = {
            "epoch": number,
            "loss": train_loss,
            "validationLoss": validation_loss,
            "learningRate": self.spec.learning_rate,
            "seconds": round(time.monotonic() - began, 3),
            "time": log.now(),
        }
        self.state.history.append(entry)
        log.info("epoch", **entry)
        self.context.tracker.epoch(
            epoch=number,
            epochs=self.spec.epochs,
            loss=train_loss,
            validation_loss=validation_loss,
            fraction=0.1 + 0.7 * number / self.spec.epochs,
        )
        self.snapshot = checkpoint.encode(self.state, self.network, self.optimizer)
        if number % self.task.checkpoint.every_epochs == 0:
            self.store()

    def validate(self) -> float | None:
        """Mean loss of the validation split, None when it is empty."""
        numbers, codes, target = self.validation
        if not len(target):
            return None
        self.network.eval()
        total = 0.0
        with torch.no_grad():
            for start in range(0, len(target), _EVALUATION_ROWS):
                part = slice(start, start + _EVALUATION_ROWS)
                loss = self.loss(self.network(numbers[part], codes[part]), target[part])
                total += float(loss) * len(target[part])
        return total / len(target)

    def store(self) -> None:
        """The last complete epoch, and the metrics of all epochs so far."""
        assert self.snapshot is not None
        self.folder.save(self.state.epoch, self.snapshot)
        lines = "".join(json.dumps(entry) + "\n" for entry in self.state.history)
        self.context.store.put(join(self.task.run_root, METRICS), lines.encode(), media_type="application/x-ndjson")
        self.stored_epoch = self.state.epoch
