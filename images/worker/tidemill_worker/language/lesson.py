"""What a causal language model is taught: a method with the rows of all splits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from tidemill_worker.language.learner import Objective
from tidemill_worker.language.rows import TokenRow


class Lesson(Objective, Protocol):
    """One method, such as supervised fine-tuning. It is an objective once it has begun."""

    def count(self, split: str) -> int:
        """Rows of a split that can be learnt from or judged."""

    def begin(self, model: nn.Module, pad: int, device: torch.device) -> None:
        """Before the first step, with the model as it is then, also when a checkpoint will be loaded."""

    def metrics(self, split: str, graph: Path, pad: int) -> dict[str, float]:
        """Of a split with rows, by the graph that will be served. Raises ModelInvalid when its answers are no numbers."""

    def examples(self) -> Sequence[TokenRow]:
        """Training rows, for the first inferences."""


def settled(values: Mapping[str, float]) -> dict[str, float]:
    """To nine significant digits; those that are too great for a number are left out."""
    return {name: float(f"{value:.9g}") for name, value in values.items() if math.isfinite(value)}
