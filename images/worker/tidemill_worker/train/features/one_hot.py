"""One feature a category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from onnx import TensorProto

from tidemill.contract.features import OneHot
from tidemill_worker.train.features.source import Fitted, Source, TargetValues, joined
from tidemill_worker.train.features.vocabulary import FIRST, OTHER, Vocabulary, frequencies
from tidemill_worker.train.graph import Graph


def fit(spec: OneHot, sources: Sequence[Source], table: pa.Table, target: TargetValues) -> tuple[Fitted, None]:
    """Learn from the training split."""
    del target
    vocabularies = []
    for source in sources:
        kept = [value for value, rows in frequencies(source, table) if rows >= spec.min_frequency]
        vocabularies.append(Vocabulary.of(source, table, kept[: spec.max_categories]))
    fitted = Indicators(vocabularies=tuple(vocabularies), other=spec.unknown == "Other")
    return fitted, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicators:
    """1 in the place of the row's code, 0 elsewhere. Codes below `first` have no place."""

    vocabularies: tuple[Vocabulary, ...]
    other: bool
    """Whether what is not known has a place."""

    @property
    def names(self) -> tuple[str, ...]:
        names: list[str] = []
        for v in self.vocabularies:
            names += [f"{v.column}:other"] if self.other else []
            # A column of which nothing was seen still has a feature, which is always 0.
            names += [v.name(value) for value in v.values] or ([] if self.other else [f"{v.column}:none"])
            names += v.indicator_names
        return tuple(names)

    def encode(self, table: pa.Table) -> np.ndarray:
        parts = []
        for v in self.vocabularies:
            codes, indicators = v.encode(table)
            parts += [codes[:, None] == self._places(v), *indicators]
        return joined(parts, table.num_rows)

    def emit(self, graph: Graph, prefix: str) -> list[str]:
        parts = []
        for index, v in enumerate(self.vocabularies):
            code, indicators = v.emit(graph, f"{prefix}/{index}")
            places = graph.constant(f"{prefix}/{index}/categories", self._places(v))
            equal = graph.add("Equal", [code, places], f"{prefix}/{index}/own")
            parts += [graph.add("Cast", [equal], f"{prefix}/{index}/one-hot", to=TensorProto.FLOAT), *indicators]
        return parts

    def _places(self, vocabulary: Vocabulary) -> np.ndarray:
        first = OTHER if self.other else FIRST
        return np.arange(first, max(vocabulary.codes, first + 1), dtype=np.int64)[None]
