"""Direct preference optimisation (Rafailov et al. 2023): chosen answers gain on rejected ones, measured from a reference.

The reward of an answer y to a prompt x is β · (log π(y|x) − log π_ref(y|x)); what is minimised is the mean of
−log σ(reward of the chosen − reward of the rejected). The reference is the model before its first step, when adapters still
add nothing. It does not change, so it is asked once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from tidemill.contract.trainers import PreferenceTrainer
from tidemill_worker.language import likelihood
from tidemill_worker.language.rows import SequenceMaker, TokenRow
from tidemill_worker.model.likelihoods import PreferenceRows


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two answers to each of some prompts, each with its prompt."""

    chosen: list[TokenRow]
    rejected: list[TokenRow]
    places: np.ndarray
    """Rows of the table, int64 [pairs]."""

    def __len__(self) -> int:
        return len(self.chosen)


class Preferences:
    """DPO's loss, each pair weighing the same; a `Lesson`."""

    def __init__(self, trainer: PreferenceTrainer, maker: SequenceMaker, tables: Mapping[str, pa.Table]) -> None:
        self._beta = trainer.beta
        self._splits = {split: _read(trainer, maker, table) for split, table in tables.items()}
        self._reference: dict[str, np.ndarray] = {}
        """By how much the reference prefers the chosen answers: log π_ref(chosen) − log π_ref(rejected), float32 [pairs]."""
        self.rows, self.validation_rows = self.count("train"), self.count("validation")
        self._model: nn.Module | None = None

    def count(self, split: str) -> int:
        """Pairs of which both answers fit and differ."""
        return len(self._splits[split])

    def places(self, split: str) -> np.ndarray:
        """Of those pairs."""
        return self._splits[split].places

    def answers(self, split: str) -> Sequence[Sequence[TokenRow]]:
        """Chosen and rejected."""
        return list(zip(self._splits[split].chosen, self._splits[split].rejected, strict=True))

    def begin(self, model: nn.Module, pad: int, device: torch.device) -> None:
        """Ask the reference."""
        self._model, self._pad, self._device = model, pad, device
        model.eval()
        with torch.no_grad():
            for split, pairs in self._splits.items():
                self._reference[split] = self._likely(pairs.chosen) - self._likely(pairs.rejected)

    def _likely(self, rows: Sequence[TokenRow]) -> np.ndarray:
        assert self._model is not None, "it has begun"
        found = np.zeros(len(rows), np.float32)
        for places in likelihood.parts(rows):
            likely, _ = likelihood.of_batch(self._model, [rows[place] for place in places], self._pad, self._device)
            found[places] = likely.cpu().numpy()
        return found

    def loss(self, rows: Sequence[int], *, validation: bool) -> tuple[torch.Tensor, float]:
        """The mean over the pairs."""
        assert self._model is not None, "it has begun"
        split = "validation" if validation else "train"
        pairs = self._splits[split]
        both = [pairs.chosen[row] for row in rows] + [pairs.rejected[row] for row in rows]
        likely, _ = likelihood.of_batch(self._model, both, self._pad, self._device)
        now = likely[: len(rows)] - likely[len(rows) :]
        before = torch.from_numpy(self._reference[split][list(rows)]).to(self._device)
        return -nn.functional.logsigmoid(self._beta * (now - before)).mean(), float(len(rows))

    def judged(self, split: str, graph: Path, pad: int) -> PreferenceRows:
        """By how much the chosen answers lead."""
        pairs = self._splits[split]
        chosen, rejected = (likelihood.of_graph(graph, rows, pad) for rows in (pairs.chosen, pairs.rejected))
        return PreferenceRows(margin=self._beta * (chosen - rejected - self._reference[split]))

    def examples(self) -> Sequence[TokenRow]:
        """The chosen answers."""
        return self._splits["train"].chosen


def _read(trainer: PreferenceTrainer, maker: SequenceMaker, table: pa.Table) -> Pairs:
    chosen = maker.completions(table, trainer.prompt, trainer.chosen)
    rejected = maker.completions(table, trainer.prompt, trainer.rejected)
    both = [
        (a, b, place)
        for place, (a, b) in enumerate(zip(chosen, rejected, strict=True))
        if a is not None and b is not None and not np.array_equal(a.ids, b.ids)
    ]
    return Pairs([a for a, _, _ in both], [b for _, b, _ in both], np.array([p for _, _, p in both], np.int64))
