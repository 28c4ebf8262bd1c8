"""What a user's SQL may name: the tables that are there, and functions that reach nothing else.

`engine.lock` turns files, network and extensions off. That is not all: DuckDB keeps its own database file and spill folder open
to every statement, a `WITH x AS (COPY … TO …)` counts as a SELECT, and there are functions for settings, logs and secrets. So
the parsed statement is looked through before it runs, and what is not known to be harmless is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from tidemill.contract.reasons import FailureReason
from tidemill_worker.data.engine import place
from tidemill_worker.errors import InvalidSpec

_QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_TABLE_FUNCTIONS = {"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"}
_FUNCTIONS_REFUSED = {"current_setting", "getenv", "getvariable", "nextval", "currval", "sleep_ms", "write_log"}
_ONLY = "SQL sees the inputs as tables and nothing else"

Node = dict[str, Any]


def check(connection: duckdb.DuckDBPyConnection, statement: str, *, field: str, offset: int = 0) -> None:
    """Raises InvalidSpec for a statement that names more than it may; one that cannot be parsed is left to fail when it runs.

    `offset` is where the user's text begins in the statement, in bytes.
    """
    ((text,),) = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [statement]).fetchall()
    parsed: Node = json.loads(text)
    if parsed["error"]:
        if parsed["error_type"] in ("parser", "syntax"):
            return
        message = f"{field} must be one SELECT: {parsed['error_message']}"
        raise InvalidSpec(message, field=field, reason=FailureReason.SQL_ERROR)
    made = "SELECT table_name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"
    tables = {name.lower() for (name,) in connection.execute(made).fetchall()}
    for node, seen in _scoped(parsed["statements"], frozenset(tables)):
        if problem := _problem(node, seen):
            where = place(statement, node.get("query_location"), offset)
            said = f"{field}{': ' + where if where else ''}: {problem}"
            raise InvalidSpec(said, field=field, reason=FailureReason.SQL_ERROR)


def nodes_of(value: Any) -> Iterator[Node]:
    """All objects of a parsed statement, outer ones first."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes_of(child)


def _scoped(value: Any, tables: frozenset[str]) -> Iterator[tuple[Node, frozenset[str]]]:
    """All objects of a parsed statement, each with the tables that it sees.

    A WITH names tables for its own query and for the entries behind it. Beside it, and within an entry but for the recursive
    part, the same name is another thing, such as a view of the catalogue.
    """
    if isinstance(value, list):
        for child in value:
            yield from _scoped(child, tables)
    if not isinstance(value, dict):
        return
    for entry in (value.get("cte_map") or {}).get("map", ()):
        yield from _scoped(entry["value"], tables)
        tables |= {entry["key"].lower()}
    yield value, tables
    itself = {str(value["cte_name"]).lower()} if value.get("type") == "RECURSIVE_CTE_NODE" else set()
    for name, child in value.items():
        if name != "cte_map":
            yield from _scoped(child, tables | itself if name == "right" else tables)


def _problem(node: Node, tables: frozenset[str]) -> str:
    """What a node may not be; empty when it is harmless."""
    kind = str(node.get("type", ""))
    if kind.endswith("_NODE") and kind not in _QUERIES:
        return "only SELECT may be used, also behind WITH"
    if kind == "SHOW_REF":
        return f"DESCRIBE, SHOW and SUMMARIZE may not be used: {_ONLY}"
    if kind == "TABLE_FUNCTION":
        name = str(node["function"]["function_name"])
        return "" if name.lower() in _TABLE_FUNCTIONS else f"{name} may not be used: {_ONLY}"
    if kind == "BASE_TABLE":
        *schema, name = node["qualified_name"]["path"]
        if schema not in ([], ["main"]) or name.lower() not in tables:
            return f"there is no table {'.'.join([*schema, name])}: {_ONLY}"
    if kind == "FUNCTION" and str(node.get("function_name", "")).lower() in _FUNCTIONS_REFUSED:
        return f"{node['function_name']} may not be used: {_ONLY}"
    return ""
