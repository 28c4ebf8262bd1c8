"""Which steps work row by row: they make the same rows of a table as of its pieces, one after the other."""

from __future__ import annotations

import json
from collections.abc import Sequence

import duckdb

from tidemill.contract.steps import Step
from tidemill_worker.data.sandbox import nodes_of

_ALWAYS = ("select", "drop", "rename", "cast", "date_parts", "normalize_text")
_CLASSES = {
    "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA",
    "LAMBDA_REF", "OPERATOR", "STAR", "TYPE",
}  # fmt: skip
"""DuckDB's classes of expressions that see one row. Not among them: windows, subqueries."""
_NO_COLUMNS = {"rowid", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
"""What is written like a column, and is none: a row's number in its table, and the time."""


def leading(connection: duckdb.DuckDBPyConnection, steps: Sequence[Step]) -> int:
    """How many of the steps work row by row before the first one that does not."""
    return next((number for number, step in enumerate(steps) if not works(connection, step)), len(steps))


def works(connection: duckdb.DuckDBPyConnection, step: Step) -> bool:
    """Whether a step works row by row."""
    if step.filter is not None:
        return is_rowwise(connection, step.filter.where)
    if step.derive is not None:
        return is_rowwise(connection, step.derive.expression)
    if step.fill_null is not None:
        return step.fill_null.value is not None
    if step.sample is not None:
        return step.sample.fraction is not None
    return any(getattr(step, name) is not None for name in _ALWAYS)


def is_rowwise(connection: duckdb.DuckDBPyConnection, expression: str) -> bool:
    """Whether an expression's value depends on nothing but its row: not on other rows, their order, chance or the time.

    DuckDB says of each of its functions whether equal arguments give equal values. What it does not know is taken for no;
    what cannot be parsed for yes, because it fails wherever it is run.
    """
    return _pure(connection, expression, frozenset())


def _pure(connection: duckdb.DuckDBPyConnection, expression: str, within: frozenset[str]) -> bool:
    ((text,),) = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [f"SELECT (\n{expression}\n)"]).fetchall()
    parsed = json.loads(text)
    if parsed["error"]:
        return True
    for node in nodes_of(parsed["statements"]):
        kind, query = node.get("class"), str(node.get("type", ""))
        if kind not in (None, *_CLASSES) or (query.endswith("_NODE") and query != "SELECT_NODE"):
            return False
        if kind == "COLUMN_REF" and str(node["column_names"][-1]).lower() in _NO_COLUMNS:
            return False
        if kind == "FUNCTION" and not _same_for_equal(connection, str(node["function_name"]).lower(), within):
            return False
    return True


def _same_for_equal(connection: duckdb.DuckDBPyConnection, function: str, within: frozenset[str]) -> bool:
    """Whether all functions and macros of a name give equal values for equal arguments."""
    found = connection.execute(
        "SELECT function_type, stability, macro_definition FROM duckdb_functions() WHERE lower(function_name) = $1",
        [function],
    ).fetchall()
    if not found or function in within:
        return False
    return all(
        _pure(connection, definition, within | {function})
        if kind == "macro"
        else (kind, stability) == ("scalar", "CONSISTENT")
        for kind, stability, definition in found
    )
