"""What the network sees of the columns: those that `preprocessing` names as it says, the others as `Preprocessor` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill_worker.train.features import Entry, FeaturePlan, TargetValues
from tidemill_worker.train.preprocess import Preprocessor


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInputs:
    """All that was learnt of the columns."""

    numeric: tuple[str, ...]
    text: tuple[str, ...]
    """All columns, in the order of the graph's inputs."""
    automatic: Preprocessor
    plan: FeaturePlan

    @classmethod
    def fit(
        cls,
        entries: Sequence[Entry],
        table: pa.Table,
        target: TargetValues,
        *,
        numeric: Sequence[str],
        text: Sequence[str],
        max_categories: int,
    ) -> tuple[NetworkInputs, tuple[np.ndarray, np.ndarray]]:
        """Learn from the training split: what was learnt, and its rows to train on, as `FeaturePlan.fit` gives them."""
        planned = {source.name for entry in entries for source in entry.sources}
        plan, training = FeaturePlan.fit(entries, table, target)
        automatic = Preprocessor.fit(
            table, [n for n in numeric if n not in planned], [n for n in text if n not in planned], max_categories
        )
        fitted = cls(numeric=tuple(numeric), text=tuple(text), automatic=automatic, plan=plan)
        return fitted, fitted._beside(table, training)

    @property
    def width(self) -> int:
        """Numbers that `encode` gives a row."""
        return self.automatic.width + self.plan.width

    def encode(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [rows, width] as float32 and category indices [rows, automatic texts] as int64."""
        return self._beside(table, self.plan.encode(table))

    def _beside(self, table: pa.Table, planned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        numbers, codes = self.automatic.encode(table)
        return np.concatenate([numbers, planned], axis=1), codes
