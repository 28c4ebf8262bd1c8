"""Supervised fine-tuning: each learnt token becomes likelier after those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from tidemill.contract.trainers import LanguageModelTrainer
from tidemill_worker.language import likelihood
from tidemill_worker.language.rows import SequenceMaker, TokenRow
from tidemill_worker.model.likelihoods import CompletionRows


class Completions:
    """Cross entropy of the learnt tokens, each weighing the same; a `Lesson`."""

    def __init__(self, trainer: LanguageModelTrainer, maker: SequenceMaker, tables: Mapping[str, pa.Table]) -> None:
        found = {split: _read(trainer, maker, table) for split, table in tables.items()}
        self._splits = {split: [row for row in rows if row is not None] for split, rows in found.items()}
        self._places = {
            split: np.flatnonzero([row is not None for row in rows]).astype(np.int64) for split, rows in found.items()
        }
        self.rows, self.validation_rows = self.count("train"), self.count("validation")
        self._model: nn.Module | None = None

    def count(self, split: str) -> int:
        """Rows with something to learn."""
        return len(self._splits[split])

    def places(self, split: str) -> np.ndarray:
        """Of those rows."""
        return self._places[split]

    def answers(self, split: str) -> Sequence[Sequence[TokenRow]]:
        """One a row."""
        return [(row,) for row in self._splits[split]]

    def begin(self, model: nn.Module, pad: int, device: torch.device) -> None:
        """Nothing needs to be known of the model before."""
        self._model, self._pad, self._device = model, pad, device

    def loss(self, rows: Sequence[int], *, validation: bool) -> tuple[torch.Tensor, float]:
        """The mean over the tokens."""
        assert self._model is not None, "it has begun"
        split = self._splits["validation" if validation else "train"]
        likely, tokens = likelihood.of_batch(self._model, [split[row] for row in rows], self._pad, self._device)
        return -likely.sum() / tokens.sum(), float(tokens.sum())

    def judged(self, split: str, graph: Path, pad: int) -> CompletionRows:
        """How likely the rows are."""
        rows = self._splits[split]
        tokens = np.array([row.answers for row in rows], np.int64)
        return CompletionRows(negative=-likelihood.of_graph(graph, rows, pad), tokens=tokens)

    def examples(self) -> Sequence[TokenRow]:
        """All training rows."""
        return self._splits["train"]


def _read(trainer: LanguageModelTrainer, maker: SequenceMaker, table: pa.Table) -> list[TokenRow | None]:
    if trainer.text is not None:
        return maker.texts(table, trainer.text)
    assert trainer.prompt is not None, "the schema asks for text, or prompt and completion"
    assert trainer.completion is not None, "the schema asks for text, or prompt and completion"
    return maker.completions(table, trainer.prompt, trainer.completion)
