"""Expectations that speak of all rows together: their number, and how new the newest is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tidemill.contract.durations import format_time, parse_time, seconds
from tidemill.contract.expectations import Expectation, Freshness, RowCount
from tidemill.contract.results import ExpectationResult
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.data.expectations.finding import Finding, outcome
from tidemill_worker.data.expectations.rows import Rows
from tidemill_worker.errors import ColumnType


def check_row_count(rows: Rows, expectation: Expectation, wish: RowCount) -> Finding:
    """Compare the number of rows with its bounds."""
    problem = ""
    if wish.min is not None and rows.number < wish.min:
        problem = f"there are {rows.number} rows, fewer than {wish.min}"
    elif wish.max is not None and rows.number > wish.max:
        problem = f"there are {rows.number} rows, more than {wish.max}"
    return Finding(expectation=expectation, result=outcome(expectation, problem, rows=rows.number))


def check_freshness(rows: Rows, expectation: Expectation, wish: Freshness, *, field: str, now: datetime) -> Finding:
    """Compare the newest row's time with `now`. Its age is nowhere written down: it would change with every look."""
    kind = rows.kind(expectation, wish.column, f"{field}.freshness.column")
    if not engine.is_time(kind):
        raise ColumnType(
            f"expectation {expectation.name}: column {wish.column!r} is {kind.lower()}, not a time: cast it in the "
            "transform",
            field=f"{field}.freshness.column",
        )
    column = quote(wish.column)
    held = f"greatest(TIMESTAMP '1000-01-01', least(TIMESTAMP '9999-12-31 23:59:59', {column}))"  # years of four digits
    query = f"SELECT epoch_us(max({held})) FROM {quote(rows.table)} WHERE isfinite({column})"
    (micros,) = engine.first_row(rows.connection, query) or (None,)
    newest = None if micros is None else format_time(datetime.fromtimestamp(micros // 1_000_000, UTC))
    result = judge_freshness(expectation, wish, newest, rows=rows.number, now=now)
    return Finding(expectation=expectation, result=result, measured={"newest": newest}, lasting=False)


def judge_freshness(
    expectation: Expectation, wish: Freshness, newest: str | None, *, rows: int, now: datetime
) -> ExpectationResult:
    """The result at this moment, from the newest row's time as it stands in the report."""
    if newest is None:
        return outcome(expectation, f"column {wish.column!r} has no time in any row", rows=rows)
    said = f"the newest {wish.column} is {newest}"
    late = now - parse_time(newest) > timedelta(seconds=seconds(wish.max_age))
    return outcome(expectation, f"{said}, more than {wish.max_age} ago" if late else "", rows=rows, note=said)


def freshness_again(
    report: dict[str, Any], expectations: Sequence[Expectation], *, now: datetime
) -> tuple[ExpectationResult, ...]:
    """How fresh a version is now, from its report: for when nothing has changed but the time."""
    measured = {entry["name"]: entry for entry in report["expectations"] if entry["kind"] == "freshness"}
    return tuple(
        judge_freshness(e, e.freshness, found["measured"]["newest"], rows=found["rows"], now=now)
        for e in expectations
        if e.freshness is not None and (found := measured.get(e.name)) is not None
    )
