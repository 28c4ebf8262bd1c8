"""Texts by the bucket of their hash, computed in the graph by ONNX Runtime's own operator MurmurHash3.

It is part of our serving image's library, as of every build with contributed operators; standard ONNX has no hash of text.
Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from onnx import TensorProto

from tidemill.contract.features import Hash
from tidemill_worker.train.features.source import Fitted, Source, TargetValues, joined
from tidemill_worker.train.features.vocabulary import fill, plain
from tidemill_worker.train.graph import Graph

SEED = 0


def fit(spec: Hash, sources: Sequence[Source], table: pa.Table, target: TargetValues) -> tuple[Fitted, None]:
    """Nothing is learnt but what a missing text becomes."""
    del target
    fitted = Hashed(
        columns=tuple(s.name for s in sources),
        buckets=spec.buckets,
        fills=tuple(None if (text := fill(s, table)) is None else str(text) for s in sources),
        indicators=tuple(s.impute is not None and s.impute.indicator for s in sources),
    )
    return fitted, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """Bucket of each column's text, 1 in its place. A missing text has none, or that of its fill."""

    columns: tuple[str, ...]
    buckets: int
    fills: tuple[str | None, ...]
    indicators: tuple[bool, ...]

    @property
    def names(self) -> tuple[str, ...]:
        names: list[str] = []
        for column, indicator in zip(self.columns, self.indicators, strict=True):
            names += [f"{column}:hash{b}" for b in range(self.buckets)]
            names += [f"{column}:missing"] if indicator else []
        return tuple(names)

    def encode(self, table: pa.Table) -> np.ndarray:
        parts = []
        for column, filled, indicator in zip(self.columns, self.fills, self.indicators, strict=True):
            texts = plain(table, column)
            distinct = pc.unique(texts)
            place = np.asarray(pc.index_in(texts, value_set=distinct).to_numpy(), np.int64)
            own = np.array([self._bucket(text or filled) for text in distinct.to_pylist()], np.int64)[place]
            parts.append(own[:, None] == np.arange(self.buckets)[None])
            if indicator:
                parts.append(np.asarray(pc.equal(texts, "").to_numpy(), bool)[:, None])
        return joined(parts, table.num_rows)

    def emit(self, graph: Graph, prefix: str) -> list[str]:
        parts = []
        buckets = graph.constant(f"{prefix}/buckets", np.array([[self.buckets]], np.int64))
        places = graph.constant(f"{prefix}/places", np.arange(self.buckets, dtype=np.int64)[None])
        for index, (column, filled, indicator) in enumerate(
            zip(self.columns, self.fills, self.indicators, strict=True)
        ):
            name = f"{prefix}/{index}"
            number = graph.add_ort(
                "MurmurHash3", [column], f"{name}/hash", gives=TensorProto.UINT32, width=1, seed=SEED, positive=1
            )
            number = graph.add("Cast", [number], f"{name}/number", to=TensorProto.INT64)
            bucket = graph.add("Mod", [number, buckets], f"{name}/bucket")
            missing = graph.add(
                "LabelEncoder", [column], f"{name}/missing", domain="ai.onnx.ml",
                keys_strings=[""], values_int64s=[1], default_int64=0,
            )  # fmt: skip
            is_missing = graph.add("Cast", [missing], f"{name}/is-missing", to=TensorProto.BOOL)
            instead = graph.constant(f"{name}/instead", np.array([[self._bucket(filled)]], np.int64))
            own = graph.add("Where", [is_missing, instead, bucket], f"{name}/own")
            equal = graph.add("Equal", [own, places], f"{name}/equal")
            parts.append(graph.add("Cast", [equal], f"{name}/one-hot", to=TensorProto.FLOAT))
            if indicator:
                parts.append(graph.add("Cast", [missing], f"{name}/indicator", to=TensorProto.FLOAT))
        return parts

    def _bucket(self, text: str | None) -> int:
        return mmh3.hash(text, SEED, signed=False) % self.buckets if text else -1
