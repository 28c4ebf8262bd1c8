"""Numeric columns with their missing values filled: what every numeric transform starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from onnx import TensorProto

from tidemill.contract.features import Impute
from tidemill_worker.model import tables
from tidemill_worker.train.features.source import Source
from tidemill_worker.train.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Columns and what their missing values become. As in serving, numbers are float32, and infinity is missing."""

    columns: tuple[str, ...]
    fills: np.ndarray
    """float32 [columns]."""
    indicators: tuple[int, ...]
    """Places of the columns that have a missing indicator."""

    @classmethod
    def fit(cls, sources: Sequence[Source], table: pa.Table) -> Numbers:
        """Learn from the training split. Without `impute`, the median and an indicator where values are missing."""
        fills, indicators = [], []
        for place, source in enumerate(sources):
            values = raw(table, source.name)
            present = values[np.isfinite(values)]
            fills.append(fill_value(source.impute or Impute(), present))
            if len(present) < len(values) if source.impute is None else source.impute.indicator:
                indicators.append(place)
        return cls(
            columns=tuple(s.name for s in sources), fills=np.array(fills, np.float32), indicators=tuple(indicators)
        )

    @property
    def indicator_names(self) -> tuple[str, ...]:
        """Names of the indicators' features."""
        return tuple(f"{self.columns[i]}:missing" for i in self.indicators)

    def encode(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Filled values [rows, columns] and indicators [rows, indicators], both float32."""
        values = np.stack([raw(table, name) for name in self.columns], axis=1)
        missing = ~np.isfinite(values)
        return np.where(missing, self.fills, values), missing[:, list(self.indicators)].astype(np.float32)

    def emit(self, graph: Graph, prefix: str) -> tuple[str, list[str]]:
        """The filled values' tensor, and the indicators' when there are any."""
        values = graph.concat(self.columns, f"{prefix}/raw")
        missing = missing_numbers(graph, values, prefix)
        filled = graph.add(
            "Where", [missing, graph.constant(f"{prefix}/fill", self.fills[None]), values], f"{prefix}/filled"
        )
        if not self.indicators:
            return filled, []
        which = graph.constant(f"{prefix}/indicators", np.array(self.indicators, np.int64))
        picked = graph.add("Gather", [missing, which], f"{prefix}/indicated", axis=1)
        return filled, [graph.add("Cast", [picked], f"{prefix}/indicator", to=TensorProto.FLOAT)]


def raw(table: pa.Table, name: str) -> np.ndarray:
    """A numeric column as the graph's input has it: float32 [rows], missing values as NaN."""
    with np.errstate(over="ignore"):  # what single precision does not hold is infinite, and so missing
        return tables.numbers(table, name).astype(np.float32)


def missing_numbers(graph: Graph, values: str, prefix: str) -> str:
    """`x - x` is NaN for NaN and for infinity: both count as missing."""
    return graph.add("IsNaN", [graph.add("Sub", [values, values], f"{prefix}/zero")], f"{prefix}/missing")


def fill_value(impute: Impute, present: np.ndarray) -> float:
    """What `impute` makes of a missing number; 0 when nothing was present."""
    if impute.value is not None:
        return impute.value
    if not len(present):
        return 0.0
    if impute.strategy == "Mean":
        return float(np.mean(present.astype(np.float64)))
    if impute.strategy == "Median":
        return float(np.median(present.astype(np.float64)))
    values, counts = np.unique(present, return_counts=True)
    return float(values[np.argmax(counts)])
