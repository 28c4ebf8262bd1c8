"""Supervised fine-tuning: each learnt token becomes likelier after those before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import torch
from torch import nn

from tidemill.contract.trainers import LanguageModelTrainer
from tidemill_worker.language import likelihood
from tidemill_worker.language.lesson import settled
from tidemill_worker.language.rows import SequenceMaker, TokenRow


class Completions:
    """Cross entropy of the learnt tokens, each weighing the same; a `Lesson`."""

    def __init__(self, trainer: LanguageModelTrainer, maker: SequenceMaker, tables: Mapping[str, pa.Table]) -> None:
        self._splits = {split: _read(trainer, maker, table) for split, table in tables.items()}
        self.rows, self.validation_rows = self.count("train"), self.count("validation")
        self._model: nn.Module | None = None

    def count(self, split: str) -> int:
        """Rows with something to learn."""
        return len(self._splits[split])

    def begin(self, model: nn.Module, pad: int, device: torch.device) -> None:
        """Nothing needs to be known of the model before."""
        self._model, self._pad, self._device = model, pad, device

    def loss(self, rows: Sequence[int], *, validation: bool) -> tuple[torch.Tensor, float]:
        """The mean over the tokens."""
        assert self._model is not None, "it has begun"
        split = self._splits["validation" if validation else "train"]
        likely, tokens = likelihood.of_batch(self._model, [split[row] for row in rows], self._pad, self._device)
        return -likely.sum() / tokens.sum(), float(tokens.sum())

    def metrics(self, split: str, graph: Path, pad: int) -> dict[str, float]:
        """loss, in nats a token, and perplexity, e to its power: among how many tokens the model is undecided."""
        rows = self._splits[split]
        tokens = sum(row.answers for row in rows)
        loss = -math.fsum(likelihood.of_graph(graph, rows, pad)) / tokens
        return settled({"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf})

    def examples(self) -> Sequence[TokenRow]:
        """All training rows."""
        return self._splits["train"]


def _read(trainer: LanguageModelTrainer, maker: SequenceMaker, table: pa.Table) -> list[TokenRow]:
    if trainer.text is not None:
        found = maker.texts(table, trainer.text)
    else:
        assert trainer.prompt is not None, "the schema asks for text, or prompt and completion"
        assert trainer.completion is not None, "the schema asks for text, or prompt and completion"
        found = maker.completions(table, trainer.prompt, trainer.completion)
    return [row for row in found if row is not None]
