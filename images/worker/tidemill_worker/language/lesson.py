"""What a causal language model is taught: a method with the rows of all splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from tidemill_worker.language.learner import Objective
from tidemill_worker.language.rows import TokenRow
from tidemill_worker.model.likelihoods import LanguageRows


class Lesson(Objective, Protocol):
    """One method, such as supervised fine-tuning. It is an objective once it has begun."""

    def count(self, split: str) -> int:
        """Rows of a split that can be learnt from or judged."""

    def places(self, split: str) -> np.ndarray:
        """Which rows of the split's table these are, int64 [rows], in their order."""

    def answers(self, split: str) -> Sequence[Sequence[TokenRow]]:
        """Of each of them the answers: one, or the chosen and the rejected one."""

    def begin(self, model: nn.Module, pad: int, device: torch.device) -> None:
        """Before the first step, with the model as it is then, also when a checkpoint will be loaded."""

    def judged(self, split: str, graph: Path, pad: int) -> LanguageRows:
        """The rows of a split by the graph that will be served. Raises ModelInvalid when its answers are no numbers."""

    def examples(self) -> Sequence[TokenRow]:
        """Training rows, for the first inferences."""
