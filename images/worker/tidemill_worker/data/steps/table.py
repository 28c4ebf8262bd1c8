"""The table that a step begins with, and the checks that steps share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb

from tidemill.contract.reasons import FailureReason
from tidemill_worker.data import engine, sandbox
from tidemill_worker.data.engine import quote
from tidemill_worker.data.sql import sql_error
from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidSpec


@dataclass(frozen=True, slots=True)
class Made:
    """What a step makes: the SELECT of its rows, and the field that failures while it runs belong to."""

    select: str
    field: str
    scratch: tuple[str, ...] = ()
    """Tables that the SELECT reads and nobody needs afterwards."""


class Table:
    """A step's input. Every check raises in the user's terms: the field's path, what is wrong, and what would be right."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, name: str, field: str) -> None:
        """`field` is the step's own: `spec.transform.steps[2].cast`."""
        self.connection, self.name, self.field = connection, name, field
        self.columns = engine.columns(connection, name)
        self.source = quote(name)

    def need(self, names: Iterable[str], field: str) -> None:
        """All these columns must exist."""
        need(self.columns, names, field)

    def new(self, name: str, field: str, *, beside: Iterable[str] | None = None) -> None:
        """A column of this name, whatever its case, must not exist (among those that stay)."""
        for taken in self.columns if beside is None else beside:
            if taken.lower() == name.lower():
                raise InvalidSpec(f"{field}: there is a column {taken!r} already: choose another name", field=field)

    def numeric(self, name: str, why: str, field: str) -> None:
        """A column must hold numbers, or booleans, which count as 0 and 1."""
        kind = self.columns[name]
        if not engine.is_numeric(kind) and kind != "BOOLEAN":
            raise ColumnType(f"{field}: {why} of {name!r} needs numbers, not {kind}", field=field)

    def text(self, name: str, field: str) -> None:
        """A column must hold texts."""
        if self.columns[name] != "VARCHAR":
            kind = self.columns[name].lower()
            raise ColumnType(f"{field}: {name!r} is {kind}, not text (varchar): cast it to text before", field=field)

    def rowid(self) -> str:
        """DuckDB's number of a row, which a column of that name would hide."""
        if any(name.lower() == "rowid" for name in self.columns):
            text = f"{self.field}: this step cannot tell rows apart when a column is called rowid: rename it before"
            raise InvalidSpec(text, field=self.field)
        return "rowid"

    def expression(self, text: str, field: str) -> str:
        """Check that a text is one expression over the table, and return it on lines of its own."""
        head = "SELECT (\n"
        statement = f"{head}{text}\n) FROM {self.source}"
        try:
            statements = self.connection.extract_statements(statement)
            if len(statements) != 1:
                raise InvalidSpec(f"{field} must be one expression", field=field, reason=FailureReason.SQL_ERROR)
            sandbox.check(self.connection, statement, field=field, offset=len(head))
            self.connection.execute(f"{statement} LIMIT 0").fetchall()
        except duckdb.Error as error:
            raise sql_error(error, statement, field=field, offset=len(head), length=len(text.encode())) from error
        return f"(\n{text}\n)"

    def order(self, text: str | None, field: str) -> str:
        """An ORDER BY list that leaves no ties but equal rows: the user's, checked, and then all columns."""
        every = ", ".join(quote(name) for name in self.columns)
        if text is None:
            return every
        head = f"SELECT * FROM {self.source} ORDER BY\n"
        statement = head + text
        try:
            sandbox.check(self.connection, f"{statement}\nLIMIT 0", field=field, offset=len(head.encode()))
            self.connection.execute(f"{statement}\nLIMIT 0").fetchall()
        except duckdb.Error as error:
            raise sql_error(error, statement, field=field, offset=len(head.encode())) from error
        return f"\n{text}\n, {every}"

    def check(self, statement: str, field: str) -> None:
        """Run a statement whose failure is the field's fault."""
        run(self.connection, statement, field)


def run(connection: duckdb.DuckDBPyConnection, statement: str, field: str) -> None:
    """Run a statement whose failure is the field's fault."""
    try:
        connection.execute(statement).fetchall()
    except duckdb.OutOfMemoryException as error:
        raise MemoryError(str(error)) from error
    except duckdb.Error as error:
        message = engine.SqlProblem(error).message
        raise InvalidSpec(f"{field}: {message}", field=field, reason=FailureReason.SQL_ERROR) from error


def need(columns: Iterable[str], names: Iterable[str], field: str, *, of: str = "the columns") -> None:
    """All these names must be among the columns."""
    known = list(columns)
    for name in names:
        if name not in known:
            raise ColumnMissing(f"{field}: there is no column {name!r}; {of} are {', '.join(known)}", field=field)


def listed(names: Sequence[str]) -> str:
    """Columns as a SQL list."""
    return ", ".join(quote(name) for name in names)
