"""What every transform is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from tidemill.contract.features import Impute
from tidemill_worker.train.graph import Graph

EPSILON = 1e-12
"""Keeps a division by the length of an empty vector finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A column that a transform reads."""

    name: str
    numeric: bool
    """Else it is text."""
    field: str
    """The entry of the spec, for messages: `spec.trainer.tabularRegression.preprocessing[0]`."""
    impute: Impute | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetValues:
    """What is predicted, as numbers: the target itself, or whether a row is of a class."""

    names: tuple[str, ...]
    values: np.ndarray
    """float64 [rows, names]."""

    @classmethod
    def of(cls, encoded: np.ndarray, column: str, classes: Sequence[str] | None) -> TargetValues:
        """From a regression's values, or from indices into the classes; two classes need one number: the second's."""
        if classes is None:
            return cls(names=(column,), values=encoded.reshape(-1, 1).astype(np.float64))
        wanted = range(1, 2) if len(classes) == 2 else range(len(classes))
        values = (encoded.reshape(-1, 1) == np.array(wanted)[None]).astype(np.float64)
        return cls(names=tuple(f"{column}={classes[i]}" for i in wanted), values=values)


class Fitted(Protocol):
    """A transform with what it learnt from the training split."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name a feature."""

    def encode(self, table: pa.Table) -> np.ndarray:
        """float32 [rows, features]."""

    def emit(self, graph: Graph, prefix: str) -> list[str]:
        """Adds the nodes that do what `encode` does, named `<prefix>/…`; tensors whose widths add up to the features."""


class Transform(Protocol):
    """A kind of transform: how it is fitted."""

    def __call__(
        self, spec: Any, sources: Sequence[Source], table: pa.Table, target: TargetValues
    ) -> tuple[Fitted, np.ndarray | None]:
        """What is learnt of the training rows; and their features [rows, …] where those of `encode` would tell their target."""


def joined(parts: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """Features side by side, float32 [rows, …]."""
    return np.concatenate([np.empty((rows, 0), np.float32), *(p.astype(np.float32, copy=False) for p in parts)], axis=1)
