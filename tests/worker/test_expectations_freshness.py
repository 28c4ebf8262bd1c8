"""Freshness: the newest row against the moment of the check, which the digest must not know of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from tidemill.contract.expectations import Expectation
from tidemill_worker.data import expectations
from tidemill_worker.errors import ColumnType, ExpectationFailed

from .expectation_cases import refused, wish
from .lab import Lab
from .samples import prepare, rows, s3

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def fresh(rows: list[str | None], max_age: str, kind: str = "TIMESTAMP") -> Any:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f'CREATE TABLE t ("at" {kind})')
    connection.executemany("INSERT INTO t VALUES (?)", [[r] for r in rows])
    expected = Expectation.model_validate(
        wish(severity="Warn", freshness={"column": "at", "maxAge": max_age}), by_alias=True
    )
    checked = expectations.check(connection, "t", [expected], now=NOW)
    return checked.results[0], checked.document()["expectations"][0]


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMPTZ", "DATE"])
@pytest.mark.parametrize(("max_age", "passed"), [("23h59m59s", False), ("24h", True), ("1000h", True)])
def test_freshness_is_that_of_the_newest_row(kind: str, max_age: str, passed: bool) -> None:
    result, said = fresh(["2026-01-30", None, "2025-01-01"], max_age, kind)
    assert result.passed is passed
    assert result.message.startswith("the newest at is 2026-01-30T00:00:00Z")
    assert ("more than" in result.message) is not passed
    assert said == {
        "name": "wish",
        "kind": "freshness",
        "severity": "Warn",
        "rows": 3,
        "measured": {"newest": "2026-01-30T00:00:00Z"},
    }


def test_rows_of_the_future_are_fresh_and_rows_without_a_time_are_not() -> None:
    assert fresh(["2027-01-01"], "1s")[0].passed
    result, said = fresh([None, None], "1000h")
    assert (result.passed, result.message) == (False, "column 'at' has no time in any row")
    assert said["measured"] == {"newest": None}
    assert not fresh(["infinity"], "1h")[0].passed


def test_times_that_no_calendar_of_pythons_has() -> None:
    """A year of five digits is a misprint that must not end the task."""
    result, said = fresh(["20260-01-01"], "1h")
    assert result.passed
    assert said["measured"] == {"newest": "9999-12-31T23:59:59Z"}
    assert fresh(["0044-03-15 (BC)"], "1h", "DATE")[1]["measured"] == {"newest": "1000-01-01T00:00:00Z"}


def test_the_clock_decides_on_the_status_and_never_on_the_digest(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", {"at": [datetime(2026, 1, d + 1, tzinfo=UTC) for d in range(20)]})
    ages = ["1h", "1000000h"]  # one that has passed, one that has not
    results = [
        lab.run(
            prepare(lab, s3("a", uri), expectations=[wish(severity="Warn", freshness={"column": "at", "maxAge": a})])
        )
        for a in ages
    ]
    assert [r.expectations[0].passed for r in results] == [False, True]
    assert results[0].artifact.digest == results[1].artifact.digest


def test_freshness_needs_a_time(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    expected = wish(freshness={"column": "id", "maxAge": "1h"})
    error = refused(lab, ColumnType, prepare(lab, s3("a", uri), expectations=[expected]))
    assert error.field == "spec.expectations[0].freshness.column"
    assert "column 'id' is bigint, not a time" in error.message


def test_a_stale_dataset_fails(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", {"at": [datetime.now(UTC) - timedelta(days=3)] * 10})
    expected = wish(freshness={"column": "at", "maxAge": "48h"})
    error = refused(lab, ExpectationFailed, prepare(lab, s3("a", uri), expectations=[expected]))
    assert "more than 48h ago" in error.message
