"""Expectations that tell of each row whether it breaks them, as SQL conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from tidemill.contract.expectations import Expectation, OneOf, Range, Referential, Regex
from tidemill_worker.data import engine
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.data.expectations.finding import Finding, outcome
from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidSpec

_SHOWN = 100
"""So many characters of a bad value are shown."""


class Rows:
    """The rows that are checked: a table of `connection`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, table: str) -> None:
        self.connection, self.table = connection, table
        self.kinds = engine.columns(connection, table)
        self.number = self.count()

    def count(self) -> int:
        """Rows that are there now."""
        return engine.count(self.connection, self.table)

    def kind(self, expectation: Expectation, column: str, field: str) -> str:
        """A column's type. Raises ColumnMissing."""
        if column not in self.kinds:
            raise ColumnMissing(
                f"expectation {expectation.name}: there is no column {column!r}; the columns are {', '.join(self.kinds)}",
                field=field,
            )
        return self.kinds[column]


@dataclass(frozen=True, slots=True)
class Part:
    """A condition for bad rows (fit for a SELECT list), in words, and an expression for the value that is bad."""

    condition: str
    words: str
    value: str = "NULL::VARCHAR"

    @property
    def reason(self) -> str:
        """An SQL expression: the words and the row's own value."""
        return f"{literal(self.words)} || coalesce(': ' || substr({self.value}, 1, {_SHOWN}), '')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One expectation as conditions: a row that fulfils one of them is bad."""

    expectation: Expectation
    parts: tuple[Part, ...]
    field: str
    keys: tuple[str, ...] = ()
    """Columns that must be unique together: the condition then depends on the other rows that are there."""

    @property
    def condition(self) -> str:
        """True for bad rows, never null."""
        return " OR ".join(f"coalesce({part.condition}, false)" for part in self.parts)

    def finding(self, rows: Rows) -> Finding:
        """How many rows are bad, with an example."""
        try:
            problem, number = self._repeated(rows) if self.keys else self._counted(rows)
        except duckdb.OutOfMemoryException as error:
            raise MemoryError(str(error)) from error
        except duckdb.Error as error:  # columns are checked before: what is left is the pattern
            message = engine.SqlProblem(error).message
            raise InvalidSpec(f"expectation {self.expectation.name}: {message}", field=self.field) from error
        result = outcome(self.expectation, problem, rows=rows.number, violations=number)
        return Finding(expectation=self.expectation, result=result)

    def _counted(self, rows: Rows) -> tuple[str, int]:
        counts = ", ".join(
            f"count(*) FILTER (WHERE {part.condition}), min({part.value}) FILTER (WHERE {part.condition})"
            for part in self.parts
        )
        query = f"SELECT count(*) FILTER (WHERE {self.condition}), {counts} FROM {quote(rows.table)}"
        number, *found = engine.first_row(rows.connection, query) or (0,)
        problems = []
        for part, count, example in zip(self.parts, found[::2], found[1::2], strict=True):
            shown = f", such as {example[:_SHOWN]!r}" if example is not None else ""
            problems += [f"{part.words} in {count} of {rows.number} rows{shown}"] if count else []
        return "; ".join(problems), int(number)

    def _repeated(self, rows: Rows) -> tuple[str, int]:
        keys = ", ".join(map(quote, self.keys))
        found = engine.first_row(
            rows.connection,
            "SELECT count(*), sum(n) - count(*) "
            f"FROM (SELECT count(*) AS n FROM {quote(rows.table)} GROUP BY {keys} HAVING count(*) > 1)",
        )
        if not found or not found[0]:
            return "", 0
        together = f"{', '.join(self.keys)} together are" if len(self.keys) > 1 else f"{self.keys[0]} is"
        return f"{together} not unique: {found[1]} rows repeat {found[0]} others", int(found[1])


def rule(rows: Rows, expectation: Expectation, field: str) -> Rule:
    """The expectation as conditions on these rows. Raises ColumnMissing and ColumnType."""
    if expectation.not_null is not None:
        parts = []
        for column in expectation.not_null:
            rows.kind(expectation, column, f"{field}.notNull")
            parts.append(Part(f"{quote(column)} IS NULL", f"column {column!r} is null"))
        return Rule(expectation=expectation, parts=tuple(parts), field=f"{field}.notNull")
    if expectation.unique is not None:
        return _unique(rows, expectation, expectation.unique, f"{field}.unique")
    if expectation.range is not None:
        return _range(rows, expectation, expectation.range, f"{field}.range.column")
    if expectation.one_of is not None:
        return _one_of(rows, expectation, expectation.one_of, f"{field}.oneOf.column")
    if expectation.regex is not None:
        return _regex(rows, expectation, expectation.regex, f"{field}.regex")
    assert expectation.referential is not None
    return _referential(rows, expectation, expectation.referential, f"{field}.referential")


def _text(column: str) -> str:
    return f"CAST({quote(column)} AS VARCHAR)"


def _unique(rows: Rows, expectation: Expectation, keys: Sequence[str], field: str) -> Rule:
    for column in keys:
        rows.kind(expectation, column, field)
    # by all columns, or the order in which files are read would decide which row is the first
    order = ", ".join(f"{quote(name)} ASC NULLS FIRST" for name in rows.kinds)
    later = f"row_number() OVER (PARTITION BY {', '.join(map(quote, keys))} ORDER BY {order}) > 1"
    words = f"another row has the same {', '.join(keys)}"
    value = f"concat_ws(', ', {', '.join(map(_text, keys))})"
    return Rule(expectation=expectation, parts=(Part(later, words, value),), field=field, keys=tuple(keys))


def _range(rows: Rows, expectation: Expectation, wish: Range, field: str) -> Rule:
    kind = rows.kind(expectation, wish.column, field)
    if not engine.is_numeric(kind):
        raise ColumnType(
            f"expectation {expectation.name}: column {wish.column!r} is {kind.lower()}, not a number", field=field
        )
    column = quote(wish.column)
    outside = [f"{column} < {wish.min!r}"] if wish.min is not None else []
    outside += [f"{column} > {wish.max!r}"] if wish.max is not None else []
    limits = f"[{'' if wish.min is None else f'{wish.min:g}'}, {'' if wish.max is None else f'{wish.max:g}'}]"
    words = f"column {wish.column!r} lies outside {limits}"
    return Rule(expectation=expectation, parts=(Part(" OR ".join(outside), words, _text(wish.column)),), field=field)


def _one_of(rows: Rows, expectation: Expectation, wish: OneOf, field: str) -> Rule:
    rows.kind(expectation, wish.column, field)
    allowed = ", ".join(literal(value) for value in wish.values)
    words = f"column {wish.column!r} is not one of the allowed values"
    part = Part(f"{_text(wish.column)} NOT IN ({allowed})", words, _text(wish.column))
    return Rule(expectation=expectation, parts=(part,), field=field)


def _regex(rows: Rows, expectation: Expectation, wish: Regex, field: str) -> Rule:
    rows.kind(expectation, wish.column, f"{field}.column")
    text = _text(wish.column)
    condition = f"NOT regexp_full_match({text}, {literal(wish.pattern)})"
    part = Part(condition, f"column {wish.column!r} does not match {wish.pattern}", text)
    return Rule(expectation=expectation, parts=(part,), field=f"{field}.pattern")


def _referential(rows: Rows, expectation: Expectation, wish: Referential, field: str) -> Rule:
    theirs = _input_columns(rows, expectation, wish.input, f"{field}.input")
    for column, reference in wish.pairs:
        ours = rows.kind(expectation, column, f"{field}.columns")
        if reference not in theirs:
            raise ColumnMissing(
                f"expectation {expectation.name}: input {wish.input} has no column {reference!r}; its columns are "
                f"{', '.join(theirs)}",
                field=f"{field}.references",
            )
        if _family(ours) != _family(theirs[reference]):
            raise ColumnType(
                f"expectation {expectation.name}: column {column!r} is {ours.lower()}, but {reference!r} of input "
                f"{wish.input} is {theirs[reference].lower()}: cast one of them in the transform",
                field=f"{field}.columns",
            )
    table = quote(rows.table)
    present = " AND ".join(f"{table}.{quote(column)} IS NOT NULL" for column, _ in wish.pairs)
    equal = " AND ".join(f"r.{quote(there)} = {table}.{quote(here)}" for here, there in wish.pairs)
    condition = f"{present} AND NOT EXISTS (SELECT 1 FROM {quote(wish.input)} r WHERE {equal})"
    names = ", ".join(repr(column) for column in wish.columns)
    subject = f"column {names} has" if len(wish.columns) == 1 else f"columns {names} have"
    value = f"concat_ws(', ', {', '.join(map(_text, wish.columns))})"
    part = Part(condition, f"{subject} no match in input {wish.input}", value)
    return Rule(expectation=expectation, parts=(part,), field=field)


def _input_columns(rows: Rows, expectation: Expectation, name: str, field: str) -> dict[str, str]:
    try:
        return engine.columns(rows.connection, name)
    except duckdb.CatalogException as error:
        raise InvalidSpec(
            f"expectation {expectation.name}: there is no input {name!r}: name one of spec.inputs", field=field
        ) from error


def _family(kind: str) -> str:
    """Types that can be compared with each other without a cast that may fail."""
    return "number" if engine.is_numeric(kind) else "time" if engine.is_time(kind) else kind
