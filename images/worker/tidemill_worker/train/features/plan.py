"""The feature plan: all transforms, fitted on the training split, in numpy and as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill.contract.features import Scale
from tidemill_worker.errors import InvalidSpec
from tidemill_worker.train.features import bucketize, embed_text, hashing, one_hot, ordinal, scale, target_encode
from tidemill_worker.train.features.entries import Entry
from tidemill_worker.train.features.source import Fitted, TargetValues, Transform, joined
from tidemill_worker.train.graph import Graph

MOST_FEATURES = 16_384
"""Of a plan: the training split is held in memory with all of them."""

TRANSFORMS: dict[str, Transform] = {
    "impute": scale.fit,  # a number that is only imputed is standardised, as without an entry
    "scale": scale.fit,
    "bucketize": bucketize.fit,
    "oneHot": one_hot.fit,
    "ordinal": ordinal.fit,
    "hash": hashing.fit,
    "targetEncode": target_encode.fit,
    "embedText": embed_text.fit,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePlan:
    """All fitted transforms. Columns that no entry names are not its concern."""

    parts: tuple[tuple[str, Fitted], ...] = ()
    """By the prefix of their nodes."""

    @classmethod
    def fit(cls, entries: Sequence[Entry], table: pa.Table, target: TargetValues) -> tuple[FeaturePlan, np.ndarray]:
        """Learn from the training split: the plan, and the features of its rows, float32 [rows, width].

        They differ from those of `encode` where a transform has seen the rows' target (`targetEncode`): use these to train.
        Raises InvalidSpec when there are too many features.
        """
        parts, training = [], []
        for entry in entries:
            options = Scale() if entry.transform.impute is not None else entry.transform.options
            fitted, unseen = TRANSFORMS[entry.transform.name](options, entry.sources, table, target)
            parts.append((entry.prefix, fitted))
            if (width := sum(len(part.names) for _, part in parts)) > MOST_FEATURES:
                field = entry.sources[0].field
                raise InvalidSpec(
                    f"{field}: preprocessing gives {width} features up to here, more than {MOST_FEATURES}: keep fewer "
                    "categories, buckets or terms",
                    field=field,
                )
            training.append(fitted.encode(table) if unseen is None else unseen)
        return cls(parts=tuple(parts)), joined(training, table.num_rows)

    @property
    def names(self) -> tuple[str, ...]:
        """One name a feature."""
        return tuple(name for _, part in self.parts for name in part.names)

    @property
    def width(self) -> int:
        """Features of a row."""
        return len(self.names)

    def encode(self, table: pa.Table) -> np.ndarray:
        """float32 [rows, width], as the graph gives them."""
        return joined([part.encode(table) for _, part in self.parts], table.num_rows)

    def emit(self, graph: Graph) -> list[str]:
        """Adds all nodes; tensors whose widths add up to `width`. The graph's inputs are named as the columns."""
        return [tensor for prefix, part in self.parts for tensor in part.emit(graph, prefix)]
