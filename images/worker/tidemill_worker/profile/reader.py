"""Columns of a DuckDB table as numpy arrays: one at a time, in the table's order, and never more of it than fits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from tidemill.contract.names import INTERNAL_COLUMN_PREFIX
from tidemill.contract.profile import Kind
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote

EXACT_ROWS = 4_000_000
"""Tables with more rows are described by as many evenly spread ones: a column then takes 32 MB at most."""
SAMPLE_ROWS = 50_000
"""Rows that relations between columns are computed from."""
CATEGORIES = 50
"""Text with more different values than this is Text, not a Category."""
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]
_NATIVE = re.compile(r"U?(TINY|SMALL|BIG)?INT(EGER)?")
_NESTED = re.compile(r".*\]|(STRUCT|MAP|UNION)\(.*|BLOB|VARIANT|GEOMETRY.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Values:
    """A column of numbers or times."""

    all: npt.NDArray[Any]
    """One entry a described row: float64, or int64 and uint64 where the type is one. What is missing has any value."""
    missing: Flags
    """True where there is no value; NaN is none."""
    exact: bool = True
    """False where float64 cannot hold all that the type can: hugeint and decimal."""

    @property
    def present(self) -> npt.NDArray[Any]:
        return self.all[~self.missing]

    def floats(self, every: int = 1) -> Floats:
        """One entry for each so many described rows, NaN where missing."""
        found = self.all[::every].astype(np.float64)
        found[self.missing[::every]] = np.nan
        return found


def kind_of(type_: str) -> Kind:
    """What a type of DuckDB is taken for. Text is called Text here; few different values make it a Category later."""
    if _NESTED.fullmatch(type_):
        return "Nested"
    if engine.is_numeric(type_):
        return "Number"
    if engine.is_time(type_):
        return "Time"
    return "Boolean" if type_ == "BOOLEAN" else "Text"


def is_bookkeeping(name: str) -> bool:
    """Whether a column is Tidemill's own: never related to anything."""
    return name.startswith(INTERNAL_COLUMN_PREFIX)


class Reader:
    """One table whose columns are read."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, table: str, types: dict[str, str]) -> None:
        self.connection, self.table, self.types = connection, quote(table), types
        self.rows = engine.count(connection, table)
        self.step = max(1, -(-self.rows // EXACT_ROWS))
        """One of so many rows is described; counts are multiplied by it."""
        self.described = -(-self.rows // self.step)
        self.every = max(1, -(-self.described // SAMPLE_ROWS))
        """One of so many described rows is in the sample."""
        self.source = self._spread(self.step)
        self.sampled = self._spread(self.step * self.every)

    def _spread(self, step: int) -> str:
        return self.table if step == 1 else f"(SELECT * FROM {self.table} WHERE rowid % {step} = 0)"

    def kind(self, name: str) -> Kind:
        return kind_of(self.types[name])

    def row(self, select: str, source: str | None = None) -> tuple[Any, ...]:
        """The first row of a SELECT over the described rows."""
        return engine.first_row(self.connection, f"SELECT {select} FROM {source or self.source}") or ()

    def fetch(self, select: str, source: str | None = None) -> npt.NDArray[Any]:
        """One expression of every described row; masked where it is null."""
        found = self.connection.execute(f"SELECT {select} AS v FROM {source or self.source}").fetchnumpy()["v"]
        assert isinstance(found, np.ndarray)  # a Categorical stands for enums only
        return found

    def numbers(self, name: str) -> Values:
        """A column of numbers; times are microseconds since 1970, UTC; infinite times are missing, as are dates
        beyond the year 294246."""
        column, type_ = quote(name), self.types[name]
        exact = True
        if engine.is_time(type_):
            found = self.fetch(f"CASE WHEN isfinite({column}) THEN epoch_us(TRY_CAST({column} AS TIMESTAMP)) END")
        elif _NATIVE.fullmatch(type_):
            wide = "UBIGINT" if type_ == "UBIGINT" else "BIGINT"
            found = self.fetch(f"CAST({column} AS {wide})")
        else:
            exact = type_ in ("FLOAT", "DOUBLE")
            found = self.fetch(f"CAST({column} AS DOUBLE)")
        missing = np.ma.getmaskarray(found)
        values = np.ma.getdata(found)
        if values.dtype.kind == "f":
            missing = missing | np.isnan(values)
        return Values(values, missing, exact)

    def missing(self, name: str) -> Flags:
        """Where a column that is no number has no value."""
        return np.asarray(self.fetch(f"{quote(name)} IS NULL"), dtype=np.bool_)

    def codes(self, name: str) -> tuple[Codes, tuple[str, ...]]:
        """The sample's values numbered by frequency, −1 where missing; and the texts of the first 50."""
        text = (
            f"CAST({quote(name)} AS VARCHAR)"  # as it is grouped everywhere: equal intervals may differ in their hash
        )
        frequent = self.connection.execute(
            f"SELECT hash({text}), left({text}, 200) FROM {self.sampled} WHERE {text} IS NOT NULL "
            f"GROUP BY {text} ORDER BY count(*) DESC, {text} LIMIT {CATEGORIES}"
        ).fetchall()
        found = self.fetch(f"CASE WHEN {text} IS NOT NULL THEN hash({text}) END", self.sampled)
        present = ~np.ma.getmaskarray(found)
        hashes, inverse = np.unique(np.ma.getdata(found)[present], return_inverse=True)
        first = np.array([value for value, _ in frequent], dtype=hashes.dtype)
        number = np.full(len(hashes), -1, dtype=np.int64)
        number[np.searchsorted(hashes, first)] = np.arange(len(first))
        number[number < 0] = np.arange(len(first), len(hashes))
        codes = np.full(len(found), -1, dtype=np.int64)
        codes[present] = number[inverse]
        return codes, tuple(text for _, text in frequent)
