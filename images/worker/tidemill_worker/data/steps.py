"""Typed steps: filter, derive, fillNull, deduplicate, aggregate, each one SELECT over the table before it."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from tidemill.contract.reasons import FailureReason
from tidemill.contract.steps import Aggregate, Deduplicate, Derive, FillNull, Step
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.data.sql import sql_error
from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidSpec

_FUNCTIONS = {
    "count": "count({})",
    "sum": "sum({})",
    "mean": "avg({})",
    "min": "min({})",
    "max": "max({})",
    "median": "median({})",
    "stddev": "stddev_samp({})",
    "countDistinct": "count(DISTINCT {})",
}
_STATISTICS = {"mean": "avg({})", "median": "median({})", "min": "min({})", "max": "max({})"}
_NUMBERS_ONLY = ("sum", "mean", "median", "stddev")


class _Runner:
    def __init__(self, connection: duckdb.DuckDBPyConnection, table: str, field: str) -> None:
        self.connection, self.table, self.field = connection, table, field
        self.columns = engine.columns(connection, table)

    def need(self, names: Sequence[str], field: str) -> None:
        """All these columns must exist."""
        for name in names:
            if name not in self.columns:
                raise ColumnMissing(
                    f"{field}: there is no column {name!r}; the columns are {', '.join(self.columns)}", field=field
                )

    def expression(self, text: str, field: str) -> str:
        """Check that a text is one expression over the table, and return it on lines of its own."""
        head = "SELECT (\n"
        statement = f"{head}{text}\n) FROM {quote(self.table)}"
        try:
            statements = self.connection.extract_statements(statement)
            if len(statements) != 1:
                raise InvalidSpec(f"{field} must be one expression", field=field, reason=FailureReason.SQL_ERROR)
            self.connection.execute(f"{statement} LIMIT 0").fetchall()
        except duckdb.Error as error:
            raise sql_error(error, statement, field=field, offset=len(head), length=len(text.encode())) from error
        return f"(\n{text}\n)"

    def into(self, select: str, target: str, field: str) -> None:
        """Run the step's SELECT."""
        self.check(f"CREATE TABLE {quote(target)} AS {select}", field)

    def check(self, statement: str, field: str) -> None:
        """Run a statement whose failure is the field's fault."""
        try:
            self.connection.execute(statement).fetchall()
        except duckdb.Error as error:
            if isinstance(error, duckdb.OutOfMemoryException):
                raise MemoryError(str(error)) from error
            message = engine.SqlProblem(error).message
            raise InvalidSpec(f"{field}: {message}", field=field, reason=FailureReason.SQL_ERROR) from error

    def step(self, step: Step) -> tuple[str, str]:
        """The step's SELECT, and the field that its runtime errors belong to."""
        if step.filter is not None:
            field = f"{self.field}.filter.where"
            return f"SELECT * FROM {quote(self.table)} WHERE {self.expression(step.filter.where, field)}", field
        if step.derive is not None:
            return self.derive(step.derive)
        if step.fill_null is not None:
            return self.fill_null(step.fill_null)
        if step.deduplicate is not None:
            return self.deduplicate(step.deduplicate)
        if step.aggregate is not None:
            return self.aggregate(step.aggregate)
        raise InvalidSpec(f"{self.field} is empty", field=self.field)

    def derive(self, derive: Derive) -> tuple[str, str]:
        field = f"{self.field}.derive.expression"
        value = f"{self.expression(derive.expression, field)} AS {quote(derive.column)}"
        what = f"* REPLACE ({value})" if derive.column in self.columns else f"*, {value}"
        return f"SELECT {what} FROM {quote(self.table)}", field

    def fill_null(self, fill: FillNull) -> tuple[str, str]:
        field = f"{self.field}.fillNull.columns"
        self.need(fill.columns, field)
        replaced = []
        for name in fill.columns:
            column, kind = quote(name), self.columns[name]
            if fill.value is not None:
                field = f"{self.field}.fillNull.value"
                value = f"CAST({engine.literal(_unquoted(fill.value))} AS {kind})"
                self.check(f"SELECT {value}", field)
            elif fill.statistic == "mode":
                value = (
                    f"(SELECT {column} FROM {quote(self.table)} WHERE {column} IS NOT NULL GROUP BY {column} "
                    f"ORDER BY count(*) DESC, {column} LIMIT 1)"
                )
            else:
                statistic = str(fill.statistic)
                if statistic in _NUMBERS_ONLY and not engine.is_numeric(kind):
                    raise ColumnType(f"{field}: the {statistic} of {name!r} needs numbers, not {kind}", field=field)
                value = f"(SELECT CAST({_STATISTICS[statistic].format(column)} AS {kind}) FROM {quote(self.table)})"
            replaced.append(f"coalesce({column}, {value}) AS {column}")
        return f"SELECT * REPLACE ({', '.join(replaced)}) FROM {quote(self.table)}", field

    def deduplicate(self, deduplicate: Deduplicate) -> tuple[str, str]:
        field = f"{self.field}.deduplicate.columns"
        self.need(deduplicate.columns, field)
        order = ", ".join(quote(name) for name in self.columns)
        if deduplicate.order_by is not None:
            field = f"{self.field}.deduplicate.orderBy"
            self.order(deduplicate.order_by, field)
            order = f"\n{deduplicate.order_by}\n, {order}"
        keys = ", ".join(quote(name) for name in deduplicate.columns)
        window = f"row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"
        return f"SELECT * FROM {quote(self.table)} QUALIFY {window}", field

    def order(self, text: str, field: str) -> None:
        """Check an ORDER BY list."""
        head = f"SELECT * FROM {quote(self.table)} ORDER BY\n"
        statement = head + text
        try:
            self.connection.execute(f"{statement}\nLIMIT 0").fetchall()
        except duckdb.Error as error:
            raise sql_error(error, statement, field=field, offset=len(head.encode())) from error

    def aggregate(self, aggregate: Aggregate) -> tuple[str, str]:
        field = f"{self.field}.aggregate.groupBy"
        self.need(aggregate.group_by, field)
        field = f"{self.field}.aggregate.aggregations"
        outputs = []
        for item in aggregate.aggregations:
            self.need([item.column], field)
            kind = self.columns[item.column]
            if item.function in _NUMBERS_ONLY and not engine.is_numeric(kind) and kind != "BOOLEAN":
                raise ColumnType(f"{field}: {item.function} of {item.column!r} needs numbers, not {kind}", field=field)
            value = _FUNCTIONS[item.function].format(quote(item.column))
            outputs.append(f"{value} AS {quote(item.output)}")
        keys = ", ".join(quote(name) for name in aggregate.group_by)
        return f"SELECT {keys}, {', '.join(outputs)} FROM {quote(self.table)} GROUP BY {keys}", field


def _unquoted(text: str) -> str:
    """The literal's text, written as `unknown` or as `'unknown'`."""
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text


def apply(connection: duckdb.DuckDBPyConnection, steps: Sequence[Step], source: str, target: str) -> None:
    """Run the steps over `source`; the last one makes `target`. Tables between are dropped at once."""
    table = source
    for index, step in enumerate(steps):
        runner = _Runner(connection, table, f"spec.transform.steps[{index}]")
        select, field = runner.step(step)
        after = target if index == len(steps) - 1 else f"_step_{index}"
        runner.into(select, after, field)
        if table != source:
            connection.execute(f"DROP TABLE {quote(table)}")
        table = after
