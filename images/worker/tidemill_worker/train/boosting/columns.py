"""Columns as the trees see them: numbers as they are, categories as codes. In numpy and, the same, in the ONNX graph.

Everything is rounded to single precision first, which is what serving receives: a threshold that separates two numbers here
separates them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill_worker.model import tables
from tidemill_worker.train.features.vocabulary import FIRST, MISSING, OTHER, counted, plain, text_codes
from tidemill_worker.train.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeColumns:
    """What was learnt of the columns of the training split."""

    numeric: tuple[str, ...]
    fill: np.ndarray
    """What stands for a missing number, float32 by column: NaN, which a split sends to the better side, or the median where
    training shows no missing value and so no better side. Infinity counts as missing, as it does for the network."""
    text: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    """Of each text column, the most frequent first."""

    @classmethod
    def fit(cls, table: pa.Table, numeric: Sequence[str], text: Sequence[str], max_categories: int) -> TreeColumns:
        """Learn from the training split."""
        fill = []
        for name in numeric:
            values = _numbers(table, name)
            fill.append(np.nan if np.isnan(values).any() else np.median(values))
        return cls(
            numeric=tuple(numeric),
            fill=np.array(fill, dtype=np.float32),
            text=tuple(text),
            categories=tuple(tuple(value for value, _ in counted(table, name)[:max_categories]) for name in text),
        )

    @property
    def categorical(self) -> list[int]:
        """Indices of the columns that hold codes."""
        return list(range(len(self.numeric), len(self.numeric) + len(self.text)))

    def encode(self, table: pa.Table) -> np.ndarray:
        """float32 [rows, columns]: numbers, then codes."""
        matrix = np.empty((table.num_rows, len(self.numeric) + len(self.text)), dtype=np.float32)
        for index, name in enumerate(self.numeric):
            values = _numbers(table, name)
            matrix[:, index] = np.where(np.isnan(values), self.fill[index], values)
        for index, name in enumerate(self.text):
            matrix[:, len(self.numeric) + index] = text_codes(plain(table, name), self.categories[index])
        return matrix

    def emit(self, graph: Graph) -> str:
        """Adds the nodes that do what `encode` does; the tensor [batch, columns]."""
        parts = []
        if self.numeric:
            raw = graph.concat(self.numeric, "pre/raw")
            # x - x is NaN for NaN and for infinity
            missing = graph.add("IsNaN", [graph.add("Sub", [raw, raw], "pre/zero")], "pre/missing")
            parts.append(graph.add("Where", [missing, graph.constant("pre/fill", self.fill[None]), raw], "pre/filled"))
        for index, (name, categories) in enumerate(zip(self.text, self.categories, strict=True)):
            code = graph.add(
                "LabelEncoder",
                [name],
                f"pre/text/{index}/code",
                domain="ai.onnx.ml",
                keys_strings=["", *categories],
                values_floats=[float(code) for code in (MISSING, *range(FIRST, FIRST + len(categories)))],
                default_float=float(OTHER),
            )
            parts.append(code)
        return graph.concat(parts, "pre/columns")


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """float32; NaN for what is missing or not finite in single precision."""
    with np.errstate(over="ignore"):
        values = tables.numbers(table, name).astype(np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan))
