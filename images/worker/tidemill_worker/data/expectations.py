"""Expectations: what must hold of the transformed rows, each one query."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from tidemill.contract.expectations import Expectation
from tidemill.contract.results import ExpectationResult
from tidemill_worker.data import engine
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.errors import ColumnMissing, ColumnType, ExpectationFailed, InvalidSpec


def check(
    connection: duckdb.DuckDBPyConnection, table: str, expectations: Sequence[Expectation]
) -> tuple[ExpectationResult, ...]:
    """Check all. Raises ExpectationFailed, naming every violated one, when one of severity Fail is violated."""
    kinds = engine.columns(connection, table)
    results = []
    for index, expectation in enumerate(expectations):
        problem = _problem(connection, table, expectation, kinds, f"spec.expectations[{index}]")
        results.append(
            ExpectationResult(name=expectation.name, passed=not problem, severity=expectation.severity, message=problem)
        )
    violated = [r for r in results if not r.passed and r.severity == "Fail"]
    if violated:
        index = next(i for i, r in enumerate(results) if r is violated[0])
        raise ExpectationFailed(
            "; ".join(f"expectation {r.name}: {r.message}" for r in violated), field=f"spec.expectations[{index}]"
        )
    return tuple(results)


def _problem(
    connection: duckdb.DuckDBPyConnection, table: str, expected: Expectation, kinds: dict[str, str], field: str
) -> str:
    """What is wrong, or an empty text."""

    def need(name: str, at: str) -> str:
        if name not in kinds:
            raise ColumnMissing(
                f"expectation {expected.name}: there is no column {name!r}; the columns are {', '.join(kinds)}",
                field=f"{field}.{at}",
            )
        return kinds[name]

    def violations(column: str, condition: str, what: str) -> str:
        found = engine.first_row(
            connection,
            f"SELECT count(*), min(CAST({quote(column)} AS VARCHAR)) FROM {quote(table)} WHERE {condition}",
        )
        number = int(found[0]) if found else 0
        example = f", such as {found[1]!r}" if found and found[1] is not None else ""
        return f"column {column!r} {what} in {number} of {rows} rows{example}" if number else ""

    rows = engine.count(connection, table)
    if expected.not_null is not None:
        problems = []
        for name in expected.not_null:
            need(name, "notNull")
            problems.append(violations(name, f"{quote(name)} IS NULL", "is null"))
        return "; ".join(p for p in problems if p)
    if expected.unique is not None:
        for name in expected.unique:
            need(name, "unique")
        return _duplicates(connection, table, expected.unique)
    if expected.range is not None:
        kind, bound = need(expected.range.column, "range.column"), expected.range
        if not engine.is_numeric(kind):
            raise ColumnType(
                f"expectation {expected.name}: column {bound.column!r} is {kind.lower()}, not a number",
                field=f"{field}.range.column",
            )
        column = quote(bound.column)
        outside = [f"{column} < {bound.min!r}"] if bound.min is not None else []
        outside += [f"{column} > {bound.max!r}"] if bound.max is not None else []
        limits = f"[{'' if bound.min is None else f'{bound.min:g}'}, {'' if bound.max is None else f'{bound.max:g}'}]"
        return violations(bound.column, " OR ".join(outside), f"lies outside {limits}")
    if expected.one_of is not None:
        need(expected.one_of.column, "oneOf.column")
        allowed = ", ".join(literal(value) for value in expected.one_of.values)
        condition = f"CAST({quote(expected.one_of.column)} AS VARCHAR) NOT IN ({allowed})"
        return violations(expected.one_of.column, condition, "is not one of the allowed values")
    if expected.regex is not None:
        need(expected.regex.column, "regex.column")
        condition = (
            f"NOT regexp_full_match(CAST({quote(expected.regex.column)} AS VARCHAR), {literal(expected.regex.pattern)})"
        )
        try:
            return violations(expected.regex.column, condition, f"does not match {expected.regex.pattern}")
        except duckdb.Error as error:
            message = engine.SqlProblem(error).message
            raise InvalidSpec(f"expectation {expected.name}: {message}", field=f"{field}.regex.pattern") from error
    if expected.row_count is not None:
        low, high = expected.row_count.min, expected.row_count.max
        if low is not None and rows < low:
            return f"there are {rows} rows, fewer than {low}"
        if high is not None and rows > high:
            return f"there are {rows} rows, more than {high}"
    return ""


def _duplicates(connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str]) -> str:
    keys = ", ".join(quote(name) for name in columns)
    found = engine.first_row(
        connection,
        "SELECT count(*), sum(n) - count(*) "
        f"FROM (SELECT count(*) AS n FROM {quote(table)} GROUP BY {keys} HAVING count(*) > 1)",
    )
    if not found or not found[0]:
        return ""
    return f"{', '.join(columns)} together are not unique: {found[1]} rows repeat {found[0]} others"
