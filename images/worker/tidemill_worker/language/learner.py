"""A transformer in training, one optimiser step after the other: what all of its objectives share.

Everything follows from the seed and the number of the step: which rows a step sees, what is dropped, how fast it learns. So
a pod that resumes needs the weights and the optimiser's memory, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from tidemill.contract.trainers.finetuning import FineTuning
from tidemill_worker.context import Context
from tidemill_worker.train.checkpoint import Arrays
from tidemill_worker.train.epochs import Losses

GREATEST_NORM = 1.0
"""Gradients are shortened to it (Pascanu et al. 2013)."""
_WORTH_SHARING = 20_000_000
"""Multiplications of a batch's forward pass: below, more threads than one take longer."""


class Objective(Protocol):
    """What is minimised, on rows that it holds."""

    rows: int
    """Rows to learn from."""
    validation_rows: int

    def loss(self, rows: Sequence[int], *, validation: bool) -> tuple[torch.Tensor, float]:
        """The mean loss of some rows, and how much it weighs beside that of others."""


class TransformerLearner:
    """Trains the parameters of a module that ask for it; a `Learner`."""

    def __init__(self, trainer: FineTuning, context: Context, module: nn.Module, objective: Objective) -> None:
        self.spec, self.context, self.module, self.objective = trainer, context, module, objective
        self.pass_steps = math.ceil(objective.rows / trainer.batch_size)
        self.steps = trainer.steps_per_epoch or self.pass_steps
        self.epochs = trainer.epochs
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        matrices = [p for p in self.parameters.values() if p.ndim > 1]
        others = [p for p in self.parameters.values() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": trainer.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=trainer.learning_rate,
        )
        self.kept: dict[str, torch.Tensor] = {}
        torch.use_deterministic_algorithms(True, warn_only=True)
        size = sum(parameter.numel() for parameter in module.parameters())
        busy = size * trainer.batch_size * trainer.max_tokens >= _WORTH_SHARING
        torch.set_num_threads(context.environment.cpus if busy else 1)
        self._order: tuple[int, np.ndarray] | None = None

    def epoch(self, number: int) -> Losses:
        """The steps of one epoch, then the validation loss. A loss that is no number ends it at once."""
        torch.manual_seed(self.spec.seed * 1_000_003 + number)
        self.module.train()
        total, weights, first = 0.0, 0.0, (number - 1) * self.steps
        for step in range(first, first + self.steps):
            self.context.stop.check()
            for group in self.optimizer.param_groups:
                group["lr"] = self.spec.learning_rate * self.rate(step)
            self.optimizer.zero_grad(set_to_none=True)
            loss, weight = self.objective.loss(self.batch(step), validation=False)
            value = float(loss.detach())
            if not math.isfinite(value):
                return Losses(value, None)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.parameters.values(), GREATEST_NORM)
            self.optimizer.step()
            total, weights = total + value * weight, weights + weight
            self.context.tracker.step(done=step + 1, of=self.epochs * self.steps)
        return Losses(total / weights, self._validate())

    def batch(self, step: int) -> list[int]:
        """The rows of a step, which count from 0: each pass over the training rows has an order of its own."""
        number, place = divmod(step, self.pass_steps)
        if self._order is None or self._order[0] != number:
            random = np.random.default_rng([self.spec.seed, number])
            self._order = number, random.permutation(self.objective.rows)
        size = self.spec.batch_size
        return [int(row) for row in self._order[1][place * size : (place + 1) * size]]

    def rate(self, step: int) -> float:
        """The share of the learning rate that a step takes: a linear rise, then a linear fall to 0."""
        steps = self.epochs * self.steps
        rise = int(self.spec.warmup * steps)
        return (step + 1) / rise if step < rise else (steps - step) / (steps - rise)

    def _validate(self) -> float | None:
        if not self.objective.validation_rows:
            return None
        self.module.eval()
        total, weights = 0.0, 0.0
        with torch.no_grad():
            for start in range(0, self.objective.validation_rows, self.spec.batch_size):
                rows = range(start, min(start + self.spec.batch_size, self.objective.validation_rows))
                loss, weight = self.objective.loss(rows, validation=True)
                total, weights = total + float(loss) * weight, weights + weight
        return total / weights

    def exhausted(self) -> bool:
        """Never: the optimiser always takes another step."""
        return False

    def keep(self) -> None:
        """A copy of what is trained."""
        self.kept = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def restore_kept(self) -> None:
        """The weights of the best epoch."""
        self._load(self.kept)
        self.module.eval()

    def state(self) -> Arrays:
        """What is trained, what was kept of it, and the optimiser's memory."""
        arrays: dict[str, torch.Tensor] = {f"weights/{name}": parameter for name, parameter in self.parameters.items()}
        arrays |= {f"kept/{name}": tensor for name, tensor in self.kept.items()}
        for name, parameter in self.parameters.items():
            for slot, value in self.optimizer.state[parameter].items():
                arrays[f"optimizer/{name}/{slot}"] = torch.as_tensor(value)
        return {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}

    def restore(self, state: Arrays) -> None:
        """Put everything back. Raises KeyError when it is of other parameters."""
        groups: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "kept": {}, "optimizer": {}}
        for name, value in state.items():
            head, _, rest = name.partition("/")
            groups[head][rest] = torch.from_numpy(value.copy())
        self._load(groups["weights"])
        self.kept = {name: tensor.to(self.parameters[name].device) for name, tensor in groups["kept"].items()}
        for name, tensor in groups["optimizer"].items():
            name, _, slot = name.rpartition("/")
            parameter = self.parameters[name]
            self.optimizer.state[parameter][slot] = tensor if slot == "step" else tensor.to(parameter.device)

    def _load(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in weights.items():
                self.parameters[name].copy_(tensor)
