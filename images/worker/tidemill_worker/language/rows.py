"""Rows of a dataset as sequences of tokens, of which some are learnt: all of a text, or what follows a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import tokenizers
import torch

from tidemill.contract.model import TOKENIZER_FILE
from tidemill_worker.errors import ArtifactCorrupt
from tidemill_worker.model import tables
from tidemill_worker.model.tokens import padded


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Tokens int64 [tokens], and which of them are learnt, bool [tokens]. The first has nothing before it to be told from."""

    ids: np.ndarray
    learnt: np.ndarray
    cut: int = 0
    """Tokens that did not fit."""

    @property
    def answers(self) -> int:
        """Tokens that are learnt."""
        return int(self.learnt[1:].sum())

    @property
    def prompt(self) -> np.ndarray:
        """Tokens that are read only, int64; of a text, in which all are learnt, its first ones: a third, 16 at most."""
        given = len(self.ids) - int(self.learnt.sum())
        return self.ids[: given or min(16, -(-len(self.ids) // 3))]


class SequenceMaker:
    """Makes sequences with the tokenizer of a folder, cut at `max_tokens`; the token `end` says that nothing follows."""

    def __init__(self, folder: Path, *, max_tokens: int, end: int | None) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:  # the library raises nothing more precise
            raise ArtifactCorrupt(f"{TOKENIZER_FILE} cannot be read: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._longest, self._end = max_tokens, [] if end is None else [end]

    def texts(self, table: pa.Table, column: str) -> list[TokenRow | None]:
        """Of each row all tokens; None for one without text."""
        found = self._encoded(table, column, special=True)
        return [self._sequence([], ids) if ids else None for ids in found]

    def completions(self, table: pa.Table, prompt: str, completion: str) -> list[TokenRow | None]:
        """Of each row the prompt, which is not learnt, and its completion; None where that is missing or does not fit."""
        prompts = self._encoded(table, prompt, special=True)
        completions = self._encoded(table, completion, special=False)
        return [self._sequence(a, b) if b else None for a, b in zip(prompts, completions, strict=True)]

    def text(self, ids: np.ndarray) -> str:
        """What tokens say, without special ones."""
        return str(self._tokenizer.decode([int(token) for token in ids]))

    def _encoded(self, table: pa.Table, column: str, *, special: bool) -> list[list[int]]:
        texts = [str(text) for text in tables.texts(table, column)]
        rows = self._tokenizer.encode_batch(texts, add_special_tokens=special)
        return [row.ids if text else [] for row, text in zip(rows, texts, strict=True)]

    def _sequence(self, given: list[int], learnt: list[int]) -> TokenRow | None:
        end = [] if learnt[-1:] == self._end else self._end
        whole = [*given, *learnt, *end]
        ids = np.array(whole[: self._longest], np.int64)
        sequence = TokenRow(ids, np.arange(len(ids)) >= len(given), len(whole) - len(ids))
        return sequence if sequence.answers else None


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences side by side, as tensors."""

    ids: torch.Tensor
    mask: torch.Tensor
    learnt: torch.Tensor
    """Whether the token is learnt, bool [rows, tokens]."""


def batch(rows: Sequence[TokenRow], pad: int, device: torch.device) -> Batch:
    """Filled up to the longest."""
    ids, mask = padded([row.ids for row in rows], pad)
    learnt = np.zeros(ids.shape, np.bool_)
    for index, row in enumerate(rows):
        learnt[index, : len(row.learnt)] = row.learnt
    return Batch(*(torch.from_numpy(part).to(device) for part in (ids, mask, learnt)))
