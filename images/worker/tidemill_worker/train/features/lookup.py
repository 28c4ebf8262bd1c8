"""Categories by a table: each code has a row of features. What `ordinal` and `targetEncode` learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill_worker.train.features.source import joined
from tidemill_worker.train.features.vocabulary import Vocabulary
from tidemill_worker.train.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Tables of some columns."""

    vocabularies: tuple[Vocabulary, ...]
    tables: tuple[np.ndarray, ...]
    """float32 [codes, features] of each column."""
    features: tuple[str, ...]
    """What a table's features are called, after the column's name."""

    @property
    def names(self) -> tuple[str, ...]:
        names: list[str] = []
        for v in self.vocabularies:
            names += [f"{v.column}:{feature}" for feature in self.features]
            names += v.indicator_names
        return tuple(names)

    def encode(self, table: pa.Table) -> np.ndarray:
        parts = []
        for v, rows in zip(self.vocabularies, self.tables, strict=True):
            codes, indicators = v.encode(table)
            parts += [rows[codes], *indicators]
        return joined(parts, table.num_rows)

    def emit(self, graph: Graph, prefix: str) -> list[str]:
        parts = []
        for index, (v, rows) in enumerate(zip(self.vocabularies, self.tables, strict=True)):
            code, indicators = v.emit(graph, f"{prefix}/{index}")
            table = graph.constant(f"{prefix}/{index}/table", rows)
            found = graph.add("Gather", [table, code], f"{prefix}/{index}/row")
            parts += [graph.add("Flatten", [found], f"{prefix}/{index}/flat", axis=1), *indicators]
        return parts
