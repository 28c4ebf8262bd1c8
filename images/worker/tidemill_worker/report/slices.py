"""Parts of the rows by one column: how a column is cut, learnt from the training split, and which rows are in each part."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.contract.evaluating import ConfidenceOptions
from tidemill.contract.evaluation import Interval, Slice
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import ColumnType, InvalidSpec
from tidemill_worker.model import tables
from tidemill_worker.model.classification import ClassificationRows
from tidemill_worker.model.evaluation import Rows
from tidemill_worker.model.likelihoods import CompletionRows, LanguageRows, PreferenceRows
from tidemill_worker.model.metrics import Judged, mean, metrics
from tidemill_worker.report import bootstrap
from tidemill_worker.report.numbers import short

MISSING, OTHER = "(missing)", "(other)"
MOST_CATEGORIES, MOST_GROUPS = 10, 20
QUARTILES = (0.25, 0.5, 0.75)
INTERVAL_ROWS = 1_000
"""Of a part's greater number of rows so many stand for all in its interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The rows [bool] of a table that have one value of a column, or a value in [low, high)."""

    value: str
    rows: np.ndarray
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a column is cut: a number by inner edges, anything else by its values."""

    column: str
    edges: tuple[float, ...] | None = None
    values: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every part that there can be: Q1 to Q4, or the values and all others; and the missing ones."""
        if self.edges is None:
            return (*self.values, OTHER, MISSING)
        return (*(f"Q{i + 1}" for i in range(len(self.edges) + 1)), MISSING)

    def parts(self, table: pa.Table) -> list[Part]:
        """Those of them that have rows."""
        if self.edges is None:
            text = pa.array(tables.texts(table, self.column), pa.string())
            known = pc.index_in(text, value_set=pa.array(self.values, pa.string()))
            codes = np.where(pc.equal(text, ""), len(self.values) + 1, pc.fill_null(known, len(self.values)))
            ends: list[tuple[float | None, float | None]] = [(None, None)] * len(self.names)
        else:
            number = tables.numbers(table, self.column)
            codes = np.searchsorted(self.edges, number, side="right")
            codes[np.isnan(number)] = len(self.edges) + 1
            bounds = (None, *map(short, self.edges), None)
            ends = [*itertools.pairwise(bounds), (None, None)]
        found = (
            Part(value=name, rows=codes == index, low=low, high=high)
            for index, (name, (low, high)) in enumerate(zip(self.names, ends, strict=True))
        )
        return [part for part in found if part.rows.any()]


def learn_slices(dataset: Artifact, columns: Sequence[str]) -> tuple[Cut, ...]:
    """Quartiles of numbers, the ten most frequent values of texts and booleans, in the training split.

    Raises ColumnMissing, or ColumnType for anything else, naming the field.
    """
    return tuple(_learn(dataset, column, f"spec.evaluation.slices[{index}]") for index, column in enumerate(columns))


def by_value(table: pa.Table, columns: Sequence[str]) -> tuple[Cut, ...]:
    """The ten most frequent values of each column of texts."""
    return tuple(Cut(column=name, values=tuple(_frequent(table, name)[:MOST_CATEGORIES])) for name in columns)


def _learn(dataset: Artifact, column: str, field: str) -> Cut:
    table = _column(dataset, column, field)
    kind = table.schema.field(column).type
    if tables.kind(kind) == "numeric" and not pa.types.is_boolean(kind):
        values = tables.numbers(table, column)
        finite = values[np.isfinite(values)]
        edges = np.unique(np.quantile(finite, QUARTILES, method="inverted_cdf")) if len(finite) else np.empty(0)
        return Cut(column=column, edges=tuple(map(float, edges)))
    return Cut(column=column, values=tuple(_frequent(table, column)[:MOST_CATEGORIES]))


def learn_groups(dataset: Artifact, columns: Sequence[str]) -> tuple[Cut, ...]:
    """Every value of each column in the training split. Raises as learn_slices does, and InvalidSpec for too many values."""
    cuts = []
    for index, column in enumerate(columns):
        field = f"spec.evaluation.fairness.groups[{index}]"
        table = _column(dataset, column, field)
        kind = table.schema.field(column).type
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            raise ColumnType(
                f"{field}: column {column!r} is {kind}: groups are text, whole numbers or booleans; derive bands from it in "
                "the dataset",
                field=field,
            )
        values = _frequent(table, column)
        if len(values) > MOST_GROUPS:
            raise InvalidSpec(
                f"{field}: column {column!r} has {len(values)} values in the training split, more than the {MOST_GROUPS} "
                "groups that can be compared: derive a coarser column in the dataset",
                field=field,
            )
        cuts.append(Cut(column=column, values=tuple(sorted(values, key=tables.class_order))))
    return tuple(cuts)


def _column(dataset: Artifact, column: str, field: str) -> pa.Table:
    table = tables.read_split(dataset, "train", [column], field=field)
    if tables.kind(table.schema.field(column).type) == "other":
        raise ColumnType(
            f"{field}: column {column!r} is {table.schema.field(column).type}: rows are told apart by texts, numbers or "
            "booleans; derive such a column in the dataset",
            field=field,
        )
    return table


def _frequent(table: pa.Table, column: str) -> list[str]:
    """The values that are there, the most frequent first, equally frequent ones by name."""
    counted = pc.value_counts(pa.array(tables.texts(table, column), pa.string())).to_pylist()
    counted.sort(key=lambda entry: (-entry["counts"], entry["values"]))
    return [entry["values"] for entry in counted if entry["values"] != ""]


def measure(
    table: pa.Table, judged: Rows | LanguageRows, cuts: Sequence[Cut], confidence: ConfidenceOptions
) -> tuple[Slice, ...]:
    """The metrics of every part of a table that has rows, with an interval of its mae, accuracy or loss."""
    found = []
    for cut in cuts:
        for part in cut.parts(table):
            rows = judged.take(part.rows)
            figures = {name: short(value) for name, value in metrics(rows).items()}
            found.append(
                Slice(
                    column=cut.column,
                    value=part.value,
                    low=part.low,
                    high=part.high,
                    rows=len(rows),
                    metrics=figures,
                    intervals=_interval(rows, confidence) if confidence.resamples else {},
                )
            )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Errors:
    """Absolute errors, whose mean is all that is measured: an interval for each of many parts must be cheap."""

    error: np.ndarray
    block: int

    def __len__(self) -> int:
        return len(self.error)

    def take(self, rows: np.ndarray) -> _Errors:
        return _Errors(self.error[rows], self.block)

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"mae": mean(weights, self.error)}


def _interval(rows: Rows | LanguageRows, confidence: ConfidenceOptions) -> dict[str, Interval]:
    if isinstance(rows, ClassificationRows):
        hits = int((rows.truth == rows.guess).sum())
        return {"accuracy": bootstrap.wilson(hits, len(rows), confidence.level)}
    metric: str = "mae"
    judged: Judged
    if isinstance(rows, CompletionRows | PreferenceRows):
        metric, judged = "loss", rows
    else:
        judged = _Errors(rows.errors(), rows.block)
    drawn = bootstrap.distributions(judged, confidence.resamples, INTERVAL_ROWS)[metric]
    ends = bootstrap.interval(drawn, confidence.level, judged)
    return {} if ends is None else {metric: ends}
