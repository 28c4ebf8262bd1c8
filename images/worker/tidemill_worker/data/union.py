"""Inputs appended by column name: the first one says which columns there are and of what type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import duckdb

from tidemill.contract.names import INTERNAL_COLUMN_PREFIX, PREDICTION_PREFIX
from tidemill_worker import log
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.errors import ColumnType

AnyRow = Callable[[str, str], bool]
"""Whether any row of a table meets a condition."""


def union(connection: duckdb.DuckDBPyConnection, tables: Sequence[str], target: str) -> None:
    """All rows of the tables, one table after the other, in a new one."""
    found = {table: engine.columns(connection, table) for table in tables}
    kinds = common(found, lambda table, condition: _any(connection, table, condition))
    selects = (selected(table, has, kinds) for table, has in found.items())
    connection.execute(f"CREATE TABLE {quote(target)} AS " + " UNION ALL ".join(selects))


def common(tables: Mapping[str, Mapping[str, str]], any_row: AnyRow) -> dict[str, str]:
    """Column → type of the union: the first table's columns, and the bookkeeping columns of all.

    Logged predictions are left out: SQL that wants them asks for them. Raises ColumnType when no type holds a column of all.
    """
    first, *others = tables
    kinds = {name: kind for name, kind in tables[first].items() if not name.startswith(PREDICTION_PREFIX)}
    wider = dict(kinds)
    for table in others:
        for name, kind in tables[table].items():
            if name in kinds:
                wider[name] = _common(any_row, table, name, wider[name], kind, first)
            elif name.startswith(INTERNAL_COLUMN_PREFIX):
                wider.setdefault(name, kind)
        absent = [name for name in kinds if name not in tables[table]]
        if absent:
            log.warn("input lacks columns: they are null there", input=table, columns=absent)
    return wider


def selected(table: str, has: Mapping[str, str], kinds: Mapping[str, str]) -> str:
    """A table's rows with the union's columns and types; null in those that it lacks."""
    parts = (f"CAST({quote(n) if n in has else 'NULL'} AS {kind}) AS {quote(n)}" for n, kind in kinds.items())
    return f"SELECT {', '.join(parts)} FROM {quote(table)}"


def _common(any_row: AnyRow, table: str, name: str, ours: str, theirs: str, first: str) -> str:
    """The type that holds both: logged numbers are FP32, and whole ones go back to the integers they were."""
    if ours == theirs:
        return ours
    if engine.is_numeric(ours) and engine.is_numeric(theirs):
        if engine.is_integer(ours) and engine.is_integer(theirs):
            return "BIGINT" if "HUGE" not in ours + theirs and ours != "UBIGINT" != theirs else "HUGEINT"
        if engine.is_integer(ours) and not any_row(table, _no_whole(quote(name), ours)):
            return ours
        return "DOUBLE"
    if ours == "BOOLEAN" and engine.is_numeric(theirs) and not any_row(table, f"{quote(name)} NOT IN (0, 1)"):
        return ours
    if engine.is_time(ours) and engine.is_time(theirs):
        return "TIMESTAMP WITH TIME ZONE" if "ZONE" in ours + theirs else "TIMESTAMP"
    if not any_row(table, f"{quote(name)} IS NOT NULL"):
        return ours
    raise ColumnType(
        f"input {table}: column {name!r} is {theirs.lower()}, but {ours.lower()} in input {first}: cast it with "
        "transform.sql",
        field="spec.inputs",
    )


def _no_whole(column: str, kind: str) -> str:
    """A condition: a present value is a fraction, infinite, or greater than the type of whole numbers holds."""
    return f"{column} IS NOT NULL AND (TRY_CAST({column} AS {kind}) IS NULL OR {column} <> round({column}))"


def _any(connection: duckdb.DuckDBPyConnection, table: str, condition: str) -> bool:
    return engine.first_row(connection, f"SELECT 1 FROM {quote(table)} WHERE {condition} LIMIT 1") is not None
