"""Preprocessing, fitted on the training split only. `encode` is what the ONNX graph does, in numpy, bit for bit.

Numbers: missing → median, then standardised; a missing indicator where the training split has missing values.
Text: the most frequent categories by index; 0 is missing, 1 is any other text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill_worker.model import tables
from tidemill_worker.train.features.scale import inverse
from tidemill_worker.train.features.vocabulary import counted, plain, text_codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessor:
    """What was learnt of the columns."""

    numeric: tuple[str, ...]
    medians: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    """1 / standard deviation, float32; 0 for a constant column, which says nothing."""
    indicators: tuple[int, ...]
    """Indices of the numeric columns that have a missing indicator."""
    text: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        """Numbers that `encode` gives a row."""
        return len(self.numeric) + len(self.indicators)

    @classmethod
    def fit(cls, table: pa.Table, numeric: list[str], text: list[str], max_categories: int) -> Preprocessor:
        """Learn from the training split."""
        medians, means, scales, indicators = [], [], [], []
        for index, name in enumerate(numeric):
            values = tables.numbers(table, name).astype(np.float32)
            missing = ~np.isfinite(values)
            present = values[~missing].astype(np.float64)
            median = float(np.float32(np.median(present))) if len(present) else 0.0
            filled = np.where(missing, median, values).astype(np.float64)
            # by the values themselves: the deviation of equal ones is a rounding error, not zero
            deviation = float(np.std(filled)) if np.ptp(filled) > 0 else 0.0
            medians.append(median)
            means.append(float(np.mean(filled)))
            scales.append(inverse(deviation))
            if missing.any():
                indicators.append(index)
        return cls(
            numeric=tuple(numeric),
            medians=np.array(medians, dtype=np.float32),
            means=np.array(means, dtype=np.float32),
            scales=np.array(scales, dtype=np.float32),
            indicators=tuple(indicators),
            text=tuple(text),
            categories=tuple(tuple(value for value, _ in counted(table, name)[:max_categories]) for name in text),
        )

    def encode(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [rows, width] as float32 and category indices [rows, texts] as int64."""
        raw = np.empty((table.num_rows, len(self.numeric)), dtype=np.float32)
        for index, name in enumerate(self.numeric):
            raw[:, index] = tables.numbers(table, name)
        missing = ~np.isfinite(raw)
        scaled = (np.where(missing, self.medians, raw) - self.means) * self.scales
        numbers = np.concatenate([scaled, missing[:, list(self.indicators)].astype(np.float32)], axis=1)
        codes = np.empty((table.num_rows, len(self.text)), dtype=np.int64)
        for index, name in enumerate(self.text):
            codes[:, index] = text_codes(plain(table, name), self.categories[index])
        return numbers, codes
