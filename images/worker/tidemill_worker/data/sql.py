"""The user's SQL: exactly one SELECT over the loaded tables; errors name line and column."""

from __future__ import annotations

import duckdb

from tidemill.contract.reasons import FailureReason
from tidemill_worker.data import sandbox
from tidemill_worker.data.engine import SqlProblem, quote
from tidemill_worker.errors import InvalidSpec

FIELD = "spec.transform.sql"


def sql_error(
    error: duckdb.Error, statement: str, *, field: str, offset: int = 0, length: int | None = None
) -> Exception:
    """The exception that a failed statement deserves: the user's mistake, or memory that does not suffice."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return MemoryError(str(error))
    problem = SqlProblem(error)
    user = statement if length is None else statement.encode()[: offset + length].decode()
    place = problem.place(user, offset)
    return InvalidSpec(
        f"{field}{': ' + place if place else ''}: {problem.message}", field=field, reason=FailureReason.SQL_ERROR
    )


def select_into(connection: duckdb.DuckDBPyConnection, sql: str, table: str) -> None:
    """Materialise the user's SELECT as a table."""
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise sql_error(error, sql, field=FIELD) from error
    kinds = [statement.type for statement in statements]
    if len(kinds) != 1 or kinds[0] != duckdb.StatementType.SELECT:
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise InvalidSpec(
            f"{FIELD} must be exactly one SELECT statement, but holds {found}",
            field=FIELD,
            reason=FailureReason.SQL_ERROR,
        )
    sandbox.check(connection, sql, field=FIELD)
    body = statements[0].query.rstrip().rstrip(";")
    head = f"CREATE TABLE {quote(table)} AS (\n"
    statement = f"{head}{body}\n)"
    try:
        connection.execute(statement)
    except duckdb.Error as error:
        raise sql_error(error, statement, field=FIELD, offset=len(head.encode()), length=len(body.encode())) from error
