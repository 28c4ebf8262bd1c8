"""Inputs appended by column name: the first one says which columns there are and of what type."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from tidemill.contract.names import INTERNAL_COLUMN_PREFIX, PREDICTION_PREFIX
from tidemill_worker import log
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.errors import ColumnType


def union(connection: duckdb.DuckDBPyConnection, tables: Sequence[str], target: str) -> None:
    """`UNION ALL BY NAME` of the first input's columns, and of the bookkeeping columns of all.

    Logged predictions are left out: SQL that wants them asks for them.
    """
    first, *others = tables
    kinds = {
        name: kind for name, kind in engine.columns(connection, first).items() if not name.startswith(PREDICTION_PREFIX)
    }
    if not others:
        listed = ", ".join(quote(name) for name in kinds)
        connection.execute(f"CREATE TABLE {quote(target)} AS SELECT {listed} FROM {quote(first)}")
        return
    selects, wider = [], dict(kinds)
    for table in others:
        theirs = engine.columns(connection, table)
        for name, kind in theirs.items():
            if name in kinds:
                wider[name] = _common(connection, table, name, wider[name], kind, first)
            elif name.startswith(INTERNAL_COLUMN_PREFIX):
                wider.setdefault(name, kind)
        absent = [name for name in kinds if name not in theirs]
        if absent:
            log.warn("input lacks columns: they are null there", input=table, columns=absent)
    for table in tables:
        has = engine.columns(connection, table)
        parts = [f"CAST({quote(n)} AS {k}) AS {quote(n)}" for n, k in wider.items() if n in has]
        selects.append(f"SELECT {', '.join(parts) or 'NULL'} FROM {quote(table)}")
    connection.execute(f"CREATE TABLE {quote(target)} AS " + " UNION ALL BY NAME ".join(selects))


def _common(connection: duckdb.DuckDBPyConnection, table: str, name: str, ours: str, theirs: str, first: str) -> str:
    """The type that holds both: logged numbers are FP32, and whole ones go back to the integers they were."""
    if ours == theirs:
        return ours
    if engine.is_numeric(ours) and engine.is_numeric(theirs):
        if engine.is_integer(ours) and engine.is_integer(theirs):
            return "BIGINT" if "HUGE" not in ours + theirs and ours != "UBIGINT" != theirs else "HUGEINT"
        if engine.is_integer(ours) and not _any(connection, table, f"{quote(name)} <> round({quote(name)})"):
            return ours
        return "DOUBLE"
    if ours == "BOOLEAN" and engine.is_numeric(theirs) and not _any(connection, table, f"{quote(name)} NOT IN (0, 1)"):
        return ours
    if engine.is_time(ours) and engine.is_time(theirs):
        return "TIMESTAMP WITH TIME ZONE" if "ZONE" in ours + theirs else "TIMESTAMP"
    if not _any(connection, table, f"{quote(name)} IS NOT NULL"):
        return ours
    raise ColumnType(
        f"input {table}: column {name!r} is {theirs.lower()}, but {ours.lower()} in input {first}: cast it with "
        "transform.sql",
        field="spec.inputs",
    )


def _any(connection: duckdb.DuckDBPyConnection, table: str, condition: str) -> bool:
    return engine.first_row(connection, f"SELECT 1 FROM {quote(table)} WHERE {condition} LIMIT 1") is not None
