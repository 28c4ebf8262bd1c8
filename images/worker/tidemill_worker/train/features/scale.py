"""Numbers, moved and scaled: an affine map, after a logarithm if asked for, or the share of the training split below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill.contract.features import Scale
from tidemill_worker.train.features.numbers import Numbers
from tidemill_worker.train.features.source import Fitted, Source, TargetValues, joined
from tidemill_worker.train.graph import Graph

KNOTS = 101
"""Of the distribution function: the percentiles."""


def fit(spec: Scale, sources: Sequence[Source], table: pa.Table, target: TargetValues) -> tuple[Fitted, None]:
    """Learn from the training split."""
    del target
    numbers = Numbers.fit(sources, table)
    filled, _ = numbers.encode(table)
    fitted: Fitted
    if spec.method == "Quantile":
        fitted = Shares(numbers=numbers, curves=tuple(_curve(column) for column in filled.T))
    else:
        log = spec.method == "Log1p"
        affine = [_affine(spec.method, column) for column in (_log(filled) if log else filled).T]
        offsets, scales = (np.array(part, np.float32) for part in zip(*affine, strict=True))
        fitted = Scaled(numbers=numbers, log=log, offsets=offsets, scales=scales)
    return fitted, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """(x - offset) · scale, of x or of its logarithm."""

    numbers: Numbers
    log: bool
    offsets: np.ndarray
    """float32 [columns]."""
    scales: np.ndarray
    """float32 [columns]; 0 for a constant column, which says nothing."""

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.numbers.columns, *self.numbers.indicator_names)

    def encode(self, table: pa.Table) -> np.ndarray:
        filled, indicators = self.numbers.encode(table)
        values = _log(filled) if self.log else filled
        return joined([(values - self.offsets) * self.scales, indicators], table.num_rows)

    def emit(self, graph: Graph, prefix: str) -> list[str]:
        value, indicators = self.numbers.emit(graph, prefix)
        if self.log:
            size = graph.add("Abs", [value], f"{prefix}/size")
            one = graph.constant(f"{prefix}/one", np.array([1], np.float32))
            log = graph.add("Log", [graph.add("Add", [size, one], f"{prefix}/size-and-one")], f"{prefix}/log-size")
            value = graph.add("Mul", [graph.add("Sign", [value], f"{prefix}/sign"), log], f"{prefix}/log")
        moved = graph.add("Sub", [value, graph.constant(f"{prefix}/offset", self.offsets[None])], f"{prefix}/moved")
        scaled = graph.add("Mul", [moved, graph.constant(f"{prefix}/scale", self.scales[None])], f"{prefix}/scaled")
        return [scaled, *indicators]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The distribution function of the training split, linear between its percentiles."""

    numbers: Numbers
    curves: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Of each column: values, strictly ascending float32, and the share below each."""

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.numbers.columns, *self.numbers.indicator_names)

    def encode(self, table: pa.Table) -> np.ndarray:
        filled, indicators = self.numbers.encode(table)
        shares = [np.interp(filled[:, i].astype(np.float64), *curve)[:, None] for i, curve in enumerate(self.curves)]
        return joined([*shares, indicators], table.num_rows)

    def emit(self, graph: Graph, prefix: str) -> list[str]:
        """The sum over all pieces of what lies below x: clip((x - left) / width, 0, 1) · share of the piece."""
        filled, indicators = self.numbers.emit(graph, prefix)
        pieces = max(len(values) for values, _ in self.curves) - 1
        left, slope, share = (np.zeros((1, len(self.curves), max(pieces, 1)), np.float32) for _ in range(3))
        for place, (values, shares) in enumerate(self.curves):
            used = slice(0, len(values) - 1)
            left[0, place, used] = values[:-1]
            slope[0, place, used] = 1 / np.diff(values.astype(np.float64))
            share[0, place, used] = np.diff(shares)
        first = np.array([[shares[0] for _, shares in self.curves]], np.float32)
        last = graph.constant(f"{prefix}/last", np.array([2], np.int64))
        value = graph.add("Unsqueeze", [filled, last], f"{prefix}/column")
        value = graph.add("Sub", [value, graph.constant(f"{prefix}/left", left)], f"{prefix}/above")
        value = graph.add("Mul", [value, graph.constant(f"{prefix}/slope", slope)], f"{prefix}/steps")
        zero, one = (graph.constant(f"{prefix}/{n}", np.array(v, np.float32)) for n, v in (("from", 0), ("to", 1)))
        value = graph.add("Clip", [value, zero, one], f"{prefix}/passed")
        value = graph.add("Mul", [value, graph.constant(f"{prefix}/share", share)], f"{prefix}/shares")
        value = graph.add("ReduceSum", [value, last], f"{prefix}/sum", keepdims=0)
        return [
            graph.add("Add", [value, graph.constant(f"{prefix}/first", first)], f"{prefix}/below"),
            *indicators,
        ]


def _log(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sign(values) * np.log(np.abs(values) + np.float32(1)))


def _affine(method: str, values: np.ndarray) -> tuple[float, float]:
    """Offset and scale of a column of filled values; without a row, neither."""
    if method == "None" or not len(values):
        return 0.0, 1.0
    wide = values.astype(np.float64)
    low, high = float(wide.min()), float(wide.max())
    if low == high:
        return low, 0.0
    if method == "MinMax":
        return low, inverse(high - low)
    if method == "Robust":
        low, middle, high = (float(q) for q in np.quantile(wide, [0.25, 0.5, 0.75]))
        # Where half of the values are equal the range is 0 although the column says something.
        return middle, inverse(high - low) or inverse(float(np.std(wide)))
    return float(np.mean(wide)), inverse(float(np.std(wide)))


def inverse(spread: float) -> float:
    """1 / spread, 0 when there is none that single precision could tell."""
    with np.errstate(over="ignore", divide="ignore"):
        inverse = np.float32(1 / np.float64(spread)) if spread > 0 else np.float32(0)
    return float(inverse) if np.isfinite(inverse) else 0.0


def _curve(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles: each value once, with the middle of its shares."""
    if not len(values):
        return np.zeros(1, np.float32), np.full(1, 0.5)
    shares = np.linspace(0, 1, KNOTS)
    points = np.quantile(values.astype(np.float64), shares).astype(np.float32)
    knots, middles = [points[0]], [[shares[0]]]
    for point, share in zip(points[1:], shares[1:], strict=True):
        if inverse(float(point) - float(knots[-1])):
            knots.append(point)
            middles.append([share])
        else:
            middles[-1].append(share)
    below = [(group[0] + group[-1]) / 2 for group in middles]
    return np.array(knots, np.float32), np.array(below)
