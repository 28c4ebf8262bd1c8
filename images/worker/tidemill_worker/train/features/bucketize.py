"""Numbers by the interval that they lie in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from onnx import TensorProto

from tidemill.contract.features import Bucketize
from tidemill_worker.train.features.numbers import Numbers
from tidemill_worker.train.features.source import Fitted, Source, TargetValues, joined
from tidemill_worker.train.graph import Graph


def fit(spec: Bucketize, sources: Sequence[Source], table: pa.Table, target: TargetValues) -> tuple[Fitted, None]:
    """Learn from the training split."""
    del target
    numbers = Numbers.fit(sources, table)
    filled, _ = numbers.encode(table)
    if spec.edges is not None:
        edges = [np.unique(np.array(spec.edges, np.float32))] * len(sources)
    else:
        assert spec.quantiles is not None
        edges = [_quantiles(column, spec.quantiles) for column in filled.T]
    fitted = Buckets(numbers=numbers, edges=tuple(edges), one_hot=spec.output == "OneHot")
    return fitted, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Bucket i of a column holds values in [edges[i-1], edges[i])."""

    numbers: Numbers
    edges: tuple[np.ndarray, ...]
    """Inner edges of each column, ascending float32."""
    one_hot: bool

    @property
    def names(self) -> tuple[str, ...]:
        names = []
        for column, edges in zip(self.numbers.columns, self.edges, strict=True):
            ends = ["-inf", *(f"{e:g}" for e in edges), "inf"]
            buckets = [f"{column}=[{a},{b})" for a, b in itertools.pairwise(ends)]
            names += buckets if self.one_hot else [f"{column}:bucket"]
        return (*names, *self.numbers.indicator_names)

    def encode(self, table: pa.Table) -> np.ndarray:
        filled, indicators = self.numbers.encode(table)
        parts = []
        for values, edges in zip(filled.T, self.edges, strict=True):
            index = np.searchsorted(edges, values, side="right")
            if self.one_hot:
                parts.append(index[:, None] == np.arange(len(edges) + 1)[None])
            else:
                parts.append((index / max(len(edges), 1))[:, None])
        return joined([*parts, indicators], table.num_rows)

    def emit(self, graph: Graph, prefix: str) -> list[str]:
        """Columns with different numbers of edges lie side by side: `column` says whose value each edge is held against."""
        filled, indicators = self.numbers.emit(graph, prefix)
        if self.one_hot:
            low = np.concatenate([[-np.inf, *e] for e in self.edges])
            high = np.concatenate([[*e, np.inf] for e in self.edges])
            value = self._spread(graph, filled, prefix, [len(e) + 1 for e in self.edges])
            above = graph.add("GreaterOrEqual", [value, _row(graph, f"{prefix}/low", low)], f"{prefix}/above")
            below = graph.add("Less", [value, _row(graph, f"{prefix}/high", high)], f"{prefix}/below")
            inside = graph.add("And", [above, below], f"{prefix}/inside")
            return [graph.add("Cast", [inside], f"{prefix}/bucket", to=TensorProto.FLOAT), *indicators]
        edges = [e if len(e) else np.array([np.inf], np.float32) for e in self.edges]
        value = self._spread(graph, filled, prefix, [len(e) for e in edges])
        above = graph.add(
            "GreaterOrEqual", [value, _row(graph, f"{prefix}/edges", np.concatenate(edges))], f"{prefix}/above"
        )
        passed = graph.add("Cast", [above], f"{prefix}/passed", to=TensorProto.FLOAT)
        weights = np.zeros((sum(len(e) for e in edges), len(edges)), np.float32)
        start = 0
        for place, e in enumerate(edges):
            weights[start : start + len(e), place] = 1
            start += len(e)
        counted = graph.add("MatMul", [passed, graph.constant(f"{prefix}/own", weights)], f"{prefix}/count")
        most = np.array([[max(len(e), 1) for e in self.edges]], np.float32)
        return [graph.add("Div", [counted, graph.constant(f"{prefix}/most", most)], f"{prefix}/bucket"), *indicators]

    def _spread(self, graph: Graph, filled: str, prefix: str, repeats: list[int]) -> str:
        which = graph.constant(f"{prefix}/column", np.repeat(np.arange(len(repeats)), repeats).astype(np.int64))
        return graph.add("Gather", [filled, which], f"{prefix}/spread", axis=1)


def _row(graph: Graph, name: str, values: np.ndarray) -> str:
    return graph.constant(name, values.astype(np.float32)[None])


def _quantiles(values: np.ndarray, buckets: int) -> np.ndarray:
    """Inner edges, each one of the values, that leave no bucket of the training split empty."""
    places = len(values) * np.arange(1, buckets) // buckets
    edges = np.unique(np.sort(values)[places]) if len(values) else values
    return np.asarray(edges[edges > values.min(initial=np.inf)])
