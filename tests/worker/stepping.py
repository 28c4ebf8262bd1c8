"""Runs typed steps over rows given as Python dictionaries."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tidemill.contract.steps import Step
from tidemill_worker.data import steps
from tidemill_worker.errors import TaskError

Row = dict[str, Any]


def load(connection: duckdb.DuckDBPyConnection, name: str, rows: list[Row], schema: pa.Schema) -> None:
    """Make a table."""
    connection.execute(f"DROP TABLE IF EXISTS {name}")
    connection.register("rows", pa.Table.from_pylist(rows, schema=schema))
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM rows")
    connection.unregister("rows")


def apply(connection: duckdb.DuckDBPyConnection, rows: list[Row], schema: pa.Schema, *documents: Row) -> list[Row]:
    """The rows after the steps, in their order."""
    left = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '\\_%' ESCAPE '\\'"
    ).fetchall()
    for (table,) in [*left, ("out",)]:
        connection.execute(f'DROP TABLE IF EXISTS "{table}"')
    load(connection, "t", rows, schema)
    steps.apply(connection, [Step.model_validate(d) for d in documents], "t", "out")
    result: list[Row] = connection.sql("SELECT * FROM out").to_arrow_table().to_pylist()
    return result


def refused(
    connection: duckdb.DuckDBPyConnection,
    rows: list[Row],
    schema: pa.Schema,
    document: Row,
    kind: type[TaskError],
    field: str,
    words: str,
) -> None:
    """The step fails, and says where and why in the user's terms."""
    with pytest.raises(kind) as caught:
        apply(connection, rows, schema, document)
    assert caught.value.field == f"spec.transform.steps[0].{field}"
    assert words in caught.value.message, caught.value.message
    assert caught.value.message.startswith("spec.transform.steps[0].")
    assert "_tidemill" not in caught.value.message


def key(row: Row) -> str:
    """Something to sort rows of any types by."""
    return repr(sorted(row.items(), key=lambda item: item[0]))
