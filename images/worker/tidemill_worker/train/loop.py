"""The network in training: whole tensors in memory, one permutation an epoch.

The order of rows follows from seed and epoch; the state of the optimizer and of the random generator is part of `state`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from tidemill.contract.trainers import TabularTrainer
from tidemill.contract.trainers.descent import Descent
from tidemill_worker.context import Context
from tidemill_worker.train.checkpoint import Arrays
from tidemill_worker.train.epochs import Losses
from tidemill_worker.train.sharding import like, whole

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Augment = Callable[[list[torch.Tensor], torch.Generator], list[torch.Tensor]]
"""Changes the inputs of a batch of training rows; all that it draws comes from the generator."""
_EVALUATION_ROWS = 65_536


class Examples(Protocol):
    """A split as a network sees it."""

    def tensors(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """The network's inputs and, last, the target, each with as many rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSplit:
    """A split as the network sees it: numbers, category indices, target (float32 [n, 1] or int64 [n])."""

    numbers: np.ndarray
    codes: np.ndarray
    target: np.ndarray

    def tensors(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """On the device."""
        return tuple(torch.from_numpy(a).to(device) for a in (self.numbers, self.codes, self.target))

    def __len__(self) -> int:
        return len(self.target)


def loss_function(trainer: TabularTrainer, *, classification: bool) -> Loss:
    """As the spec asks."""
    if classification:
        return nn.CrossEntropyLoss()
    kinds: dict[str, Callable[[], Loss]]
    kinds = {"SquaredError": nn.MSELoss, "AbsoluteError": nn.L1Loss, "Huber": nn.HuberLoss}
    return kinds[trainer.loss]()


def choose_device(context: Context, image: str = "trainer") -> torch.device:
    """A GPU when there is one. One that was asked for and is not there is reported: the run goes on, but slowly."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if asked := context.environment.gpu:
        built = torch.version.cuda or torch.version.hip
        why = f"PyTorch finds no device ({built})" if built else f"the {image} image has PyTorch for CPUs only"
        context.tracker.warn(
            f"trains on the CPU, although a GPU was asked for ({asked}): {why}; give the chart a {image} image with "
            f"PyTorch for this GPU (images.{image}), or drop spec.resources.gpu"
        )
    return torch.device("cpu")


class NetworkLearner:
    """Trains one network; a `Learner`."""

    def __init__(
        self,
        trainer: Descent,
        context: Context,
        network: nn.Module,
        train: Examples,
        validation: Examples,
        loss: Loss,
        *,
        augment: Augment | None = None,
        at_once: int = _EVALUATION_ROWS,
    ) -> None:
        """`at_once` is how many rows are judged at a time."""
        self.context, self.spec, self.epochs, self.steps = context, trainer, trainer.epochs, 1
        self.device = choose_device(context)
        self.network = network.to(self.device)
        self.model = context.group.wrap(self.network)
        self.train, self.validation = train.tensors(self.device), validation.tensors(self.device)
        self.loss, self.augment, self.at_once = loss, augment, at_once
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=trainer.learning_rate,
            weight_decay=trainer.weight_decay,
            fused=True,  # small layers spend more time in the optimizer than in the network: this halves it
        )
        self.kept: dict[str, torch.Tensor] = {}

    def epoch(self, number: int) -> Losses:
        """One pass over the training split, then the validation loss."""
        group = self.context.group
        group.begin_epoch(self.spec.seed * 1_000_003 + number)
        self.model.train()
        generator = torch.Generator().manual_seed(self.spec.seed * 1_000_003 + number)
        order = torch.randperm(len(self.train[-1]), generator=generator).to(self.device)
        total = torch.zeros((), device=self.device)
        for rows in torch.split(order, self.spec.batch_size):
            self.context.stop.check()
            self.optimizer.zero_grad(set_to_none=True)
            share, weight = group.share(len(rows))
            mine = rows[share]
            *inputs, target = (tensor[mine] for tensor in self.train)
            if self.augment is not None:
                inputs = self.augment(inputs, generator)
            loss = self.loss(self.model(*inputs), target)
            if weight != 1:
                loss = loss * weight
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += loss.detach() * len(rows)
        return Losses(group.mean(total) / len(order), self._validate())

    def _validate(self) -> float | None:
        *inputs, target = self.validation
        if not len(target):
            return None
        self.model.eval()
        total, group = 0.0, self.context.group
        with torch.no_grad():
            for start in range(0, len(target), self.at_once):
                rows = min(self.at_once, len(target) - start)
                share, weight = group.share(rows)
                part = slice(start + share.start, start + share.stop)
                loss = self.loss(self.network(*(tensor[part] for tensor in inputs)), target[part])
                total += float(loss) * weight * rows
        return group.mean(torch.tensor(total, dtype=torch.float64)) / len(target)

    def exhausted(self) -> bool:
        """Never: the optimizer always takes another step."""
        return False

    def keep(self) -> None:
        """A copy of the weights."""
        self.kept = {k: v.detach().clone() for k, v in self.network.state_dict().items()}

    def restore_kept(self) -> None:
        """The weights of the best epoch."""
        if self.kept:
            self.network.load_state_dict(self.kept)
        self.network.eval()

    def state(self) -> Arrays:
        """Weights, those that were kept, the optimizer's slots, the random generators."""
        arrays = {f"network/{name}": tensor for name, tensor in self.network.state_dict().items()}
        arrays |= {f"kept/{name}": tensor for name, tensor in self.kept.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            arrays |= {f"optimizer/{index}/{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        arrays["random/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            arrays["random/cuda"] = torch.cuda.get_rng_state()
        return {name: whole(tensor.detach()).cpu().numpy() for name, tensor in arrays.items()}

    def restore(self, state: Arrays) -> None:
        """Put everything back. Raises RuntimeError or KeyError when it does not fit the network."""
        groups: dict[str, dict[str, torch.Tensor]] = {"network": {}, "kept": {}, "optimizer": {}, "random": {}}
        for name, value in state.items():
            head, _, rest = name.partition("/")
            groups[head][rest] = torch.from_numpy(value.copy())
        own, parameters = self.network.state_dict(), list(self.network.parameters())
        slots: dict[int, dict[str, Any]] = {}
        for name, tensor in groups["optimizer"].items():
            index, slot = name.split("/")
            slots.setdefault(int(index), {})[slot] = like(tensor, parameters[int(index)])
        self.network.load_state_dict({name: like(tensor, own[name]) for name, tensor in groups["network"].items()})
        self.kept = {name: like(tensor, own[name]) for name, tensor in groups["kept"].items()}
        self.optimizer.load_state_dict({"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(groups["random"]["cpu"])
        if "cuda" in groups["random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(groups["random"]["cuda"])
