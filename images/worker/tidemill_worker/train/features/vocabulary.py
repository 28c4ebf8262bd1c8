"""Categories of a column by code: 0 is missing, 1 is any other, the known ones follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from onnx import TensorProto

from tidemill_worker.errors import ColumnType
from tidemill_worker.train.features.numbers import fill_value, missing_numbers, raw
from tidemill_worker.train.features.source import Source
from tidemill_worker.train.graph import Graph

MISSING, OTHER, FIRST = 0, 1, 2
MOST_NUMBERS = 1000
"""Numbers are compared with every category, text is looked up."""

Category = str | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The known categories of one column: texts, or numbers as float32."""

    column: str
    numeric: bool
    values: tuple[Category, ...]
    fill: int
    """The code of a missing value: MISSING unless `impute` makes a category of it."""
    indicator: bool

    @classmethod
    def of(cls, source: Source, table: pa.Table, values: Iterable[Category]) -> Vocabulary:
        """These categories, in this order."""
        known = tuple(values)
        if source.numeric and len(known) > MOST_NUMBERS:
            raise ColumnType(
                f"{source.field}: column {source.name!r} has {len(known)} different numbers, more than the {MOST_NUMBERS} "
                "that can be categories: bucketize or scale it, keep fewer categories, or cast it to text in the dataset",
                field=f"{source.field}.columns",
            )
        filled = fill(source, table)
        code = MISSING if filled is None else FIRST + known.index(filled) if filled in known else OTHER
        indicator = source.impute is not None and source.impute.indicator
        return cls(column=source.name, numeric=source.numeric, values=known, fill=code, indicator=indicator)

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return FIRST + len(self.values)

    @property
    def indicator_names(self) -> tuple[str, ...]:
        """Name of the missing indicator's feature."""
        return (f"{self.column}:missing",) if self.indicator else ()

    def name(self, value: Category) -> str:
        """A category's feature."""
        return f"{self.column}={value if isinstance(value, str) else shown(value)}"

    def encode(self, table: pa.Table) -> tuple[np.ndarray, list[np.ndarray]]:
        """Codes, int64 [rows], and the indicator [rows, 1] when there is one."""
        if self.numeric:
            found = _number_codes(raw(table, self.column), np.array(self.values, np.float32))
        else:
            found = text_codes(plain(table, self.column), [str(v) for v in self.values])
        missing = found == MISSING
        return np.where(missing, self.fill, found), [missing[:, None].astype(np.float32)] if self.indicator else []

    def emit(self, graph: Graph, prefix: str) -> tuple[str, list[str]]:
        """The tensor of the codes, int64 [batch, 1], and the indicator's when there is one."""
        code = self._emit_numbers(graph, prefix) if self.numeric else self._emit_texts(graph, prefix)
        if self.fill == MISSING and not self.indicator:
            return code, []
        none = graph.constant(f"{prefix}/none", np.array([[MISSING]], np.int64))
        missing = graph.add("Equal", [code, none], f"{prefix}/is-missing")
        if self.fill != MISSING:
            filled = graph.constant(f"{prefix}/fill", np.array([[self.fill]], np.int64))
            code = graph.add("Where", [missing, filled, code], f"{prefix}/filled")
        if not self.indicator:
            return code, []
        return code, [graph.add("Cast", [missing], f"{prefix}/indicator", to=TensorProto.FLOAT)]

    def _emit_texts(self, graph: Graph, prefix: str) -> str:
        return graph.add(
            "LabelEncoder",
            [self.column],
            f"{prefix}/code",
            domain="ai.onnx.ml",
            keys_strings=["", *map(str, self.values)],
            values_int64s=[MISSING, *range(FIRST, self.codes)],
            default_int64=OTHER,
        )

    def _emit_numbers(self, graph: Graph, prefix: str) -> str:
        """Comparisons instead of a LabelEncoder of numbers, which runtimes for the edge do not have."""
        known = np.array(self.values or [np.nan], np.float32)[None]
        equal = graph.add("Equal", [self.column, graph.constant(f"{prefix}/known", known)], f"{prefix}/equal")
        chosen = graph.add("Cast", [equal], f"{prefix}/chosen", to=TensorProto.FLOAT)
        places = np.arange(FIRST - OTHER, FIRST - OTHER + known.size, dtype=np.float32)[:, None]
        place = graph.add("MatMul", [chosen, graph.constant(f"{prefix}/places", places)], f"{prefix}/place")
        code = graph.add(
            "Add", [place, graph.constant(f"{prefix}/other", np.array([[OTHER]], np.float32))], f"{prefix}/found"
        )
        none = graph.constant(f"{prefix}/number-none", np.array([[MISSING]], np.float32))
        code = graph.add("Where", [missing_numbers(graph, self.column, prefix), none, code], f"{prefix}/number")
        return graph.add("Cast", [code], f"{prefix}/code", to=TensorProto.INT64)


def plain(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A text column as strings, missing values as empty text."""
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    return pc.fill_null(pc.cast(column, pa.string()), "")


def counted(table: pa.Table, name: str) -> list[tuple[str, int]]:
    """The texts of a column with their rows, the most frequent first, ties by name; missing ones are left out."""
    found = [(str(e["values"]), int(e["counts"])) for e in pc.value_counts(plain(table, name)).to_pylist()]
    return sorted((item for item in found if item[0]), key=lambda item: (-item[1], item[0]))


def text_codes(column: pa.ChunkedArray, categories: Sequence[str]) -> np.ndarray:
    """Codes of texts, int64 [rows]."""
    found = pc.index_in(column, value_set=pa.array(categories, pa.string()))
    index = np.asarray(pc.fill_null(found, OTHER - FIRST).to_numpy(), dtype=np.int64) + FIRST
    empty = np.asarray(pc.equal(column, "").to_numpy(), dtype=bool)
    return np.where(empty, MISSING, index)


def fill(source: Source, table: pa.Table) -> Category | None:
    """What `impute` makes of a missing value: None when there is no impute, or nothing was present."""
    if source.impute is None:
        return None
    if source.numeric:
        values = raw(table, source.name)
        return float(np.float32(fill_value(source.impute, values[np.isfinite(values)])))
    if source.impute.text is not None:
        return source.impute.text
    return next((text for text, _ in counted(table, source.name)), None)


def frequencies(source: Source, table: pa.Table) -> list[tuple[Category, int]]:
    """The categories of the training split with their rows, missing values filled; the most frequent first."""
    if source.numeric:
        values = raw(table, source.name)
        present = values[np.isfinite(values)]
        distinct, counts = np.unique(present, return_counts=True)
        found: dict[Category, int] = dict(zip((distinct + np.float32(0)).tolist(), counts.tolist(), strict=True))
        missing = len(values) - len(present)
    else:
        found = dict(counted(table, source.name))
        missing = table.num_rows - sum(found.values())
    filled = fill(source, table)
    if filled is not None and missing:
        found[filled] = found.get(filled, 0) + missing
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def shown(number: float) -> str:
    """A float32 in as few digits as tell it apart."""
    return np.format_float_positional(np.float32(number), trim="-")


def _number_codes(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    codes = np.full(len(values), OTHER, np.int64)
    if len(known):
        order = np.argsort(known, kind="stable")
        place = np.minimum(np.searchsorted(known[order], values), len(known) - 1)
        equal = known[order][place] == values
        codes[equal] = FIRST + order[place[equal]]
    codes[~np.isfinite(values)] = MISSING
    return codes
