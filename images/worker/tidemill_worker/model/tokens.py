"""Texts as tokens, by the `tokenizer.json` that lies beside a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tidemill.contract.model import TOKENIZER_FILE, Tokens
from tidemill_worker.errors import ArtifactCorrupt, InvalidSpec

INPUTS = ("input_ids", "attention_mask")


class Tokenizer:
    """Encodes texts as a model's `Tokens` say."""

    def __init__(self, folder: Path, spec: Tokens) -> None:
        """Raises InvalidSpec in an image without the library, ArtifactCorrupt when the file is no tokenizer."""
        try:
            import tokenizers
        except ModuleNotFoundError as error:
            raise InvalidSpec(
                f"the model takes tokens, and this image cannot make them of texts: its clients do, with {TOKENIZER_FILE}; "
                "serve it Online"
            ) from error
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:  # the library raises nothing more precise
            raise ArtifactCorrupt(f"{TOKENIZER_FILE} cannot be read: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(spec.max_tokens)
        self._pad = spec.pad

    def rows(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The tokens of each text, int64 [tokens]; of a text that has none, one that stands for nothing."""
        found = self._tokenizer.encode_batch(list(texts))
        return [np.array(row.ids or [self._pad], np.int64) for row in found]

    def feed(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """The model's inputs."""
        return dict(zip(INPUTS, padded(self.rows(texts), self._pad), strict=True))


def padded(rows: Sequence[np.ndarray], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of different lengths side by side, and where they are: int64 [rows, tokens of the longest], 1 and 0."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad, np.int64)
    mask = np.zeros((len(rows), longest), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask
