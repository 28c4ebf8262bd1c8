"""Steps that work row by row are one statement: the same rows, no table between, and a failure is still the right step's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import TypeAdapter

from tidemill.contract.steps import Step
from tidemill_worker.data import engine, steps
from tidemill_worker.errors import InvalidSpec

STEPS = TypeAdapter(tuple[Step, ...])


@pytest.fixture
def connection(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    found = engine.connect(tmp_path, 1 << 30)
    found.execute("CREATE TABLE rows AS SELECT i, i % 7 AS k, 'a' || i AS name FROM range(100) r(i)")
    return found


def tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT table_name FROM information_schema.tables").fetchall()}


def test_they_give_what_they_give_one_by_one(connection: duckdb.DuckDBPyConnection) -> None:
    documents: list[dict[str, Any]] = [
        {"filter": {"where": "k < 5"}},
        {"derive": {"column": "double", "expression": "2 * i"}},
        {"sample": {"fraction": 0.5, "seed": 1}},
        {"deduplicate": {"columns": ["k"], "orderBy": "double DESC"}},
        {"derive": {"column": "half", "expression": "double / 4"}},
        {"rename": {"columns": {"half": "h"}}},
        {"sample": {"rows": 3}},
        {"drop": {"columns": ["name"]}},
    ]
    steps.apply(connection, STEPS.validate_python(documents), "rows", "fused")
    assert tables(connection) == {"rows", "fused"}, "nothing is left between"
    source = "rows"
    for number, document in enumerate(documents):
        steps.apply(connection, STEPS.validate_python([document]), source, f"single_{number}")
        source = f"single_{number}"
    fused, single = (connection.execute(f"FROM {name}").fetchall() for name in ("fused", source))
    assert fused == single
    assert len(fused) == 3


def test_one_failure_is_the_step_that_fails_by_itself(connection: duckdb.DuckDBPyConnection) -> None:
    documents = [
        {"filter": {"where": "i > 3"}},
        {"derive": {"column": "number", "expression": "CAST(name AS INTEGER)"}},
        {"derive": {"column": "more", "expression": "number + 1"}},
        {"drop": {"columns": ["k"]}},
    ]
    with pytest.raises(InvalidSpec, match=r"spec\.transform\.steps\[1\]\.derive.*Could not convert") as caught:
        steps.apply(connection, STEPS.validate_python(documents), "rows", "result")
    assert caught.value.field == "spec.transform.steps[1].derive.expression"


def test_what_one_step_keeps_from_another_never_reaches_it(connection: duckdb.DuckDBPyConnection) -> None:
    """Most names are no numbers. Whichever filter DuckDB asks first, the steps are what the user wrote."""
    connection.execute(
        "CREATE TABLE mixed AS SELECT CASE WHEN i % 9 = 0 THEN i::VARCHAR ELSE name END AS name FROM rows"
    )
    documents = [
        {"filter": {"where": "regexp_full_match(name, '[0-9]+')"}},
        {"filter": {"where": "CAST(name AS INTEGER) % 2 = 0"}},
        {"derive": {"column": "number", "expression": "CAST(name AS INTEGER)"}},
        {"filter": {"where": "number < 50"}},
    ]
    steps.apply(connection, STEPS.validate_python(documents), "mixed", "result")
    found = connection.execute("SELECT number FROM result ORDER BY 1").fetchall()
    assert [number for (number,) in found] == [0, 18, 36]
    assert tables(connection) == {"rows", "mixed", "result"}
