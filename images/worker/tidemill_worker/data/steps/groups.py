"""Steps over groups of rows: aggregate, pivot, window."""

from __future__ import annotations

from tidemill.contract.steps.groups import Aggregate, Pivot, Window
from tidemill_worker.data import engine
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.data.steps.table import Made, Table, listed

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
_NUMBERS_ONLY = ("sum", "mean", "median", "stddev")


def aggregated(table: Table, step: Aggregate) -> Made:
    """A row for each group."""
    field = f"{table.field}.groupBy"
    table.need(step.group_by, field)
    field = f"{table.field}.aggregations"
    taken, outputs = list(step.group_by), []
    for item in step.aggregations:
        table.need([item.column], field)
        if item.function in _NUMBERS_ONLY:
            table.numeric(item.column, item.function, field)
        table.new(item.output, field, beside=taken)
        taken.append(item.output)
        outputs.append(f"{_over(table, item.function, item.column, '')} AS {quote(item.output)}")
    keys = listed(step.group_by)
    return Made(f"SELECT {keys}, {', '.join(outputs)} FROM {table.source} GROUP BY {keys}", field)


def pivoted(table: Table, step: Pivot) -> Made:
    """A row for each group, a column for each listed value."""
    for names, at in ((step.group_by, "groupBy"), ([step.column], "column"), ([step.value], "value")):
        table.need(names, f"{table.field}.{at}")
    field = f"{table.field}.value"
    if step.function in _NUMBERS_ONLY:
        table.numeric(step.value, step.function, field)
    taken, outputs = list(step.group_by), []
    for value in step.values:
        output = step.prefix + value
        table.new(output, f"{table.field}.prefix", beside=taken)
        taken.append(output)
        rows = f" FILTER (WHERE CAST({quote(step.column)} AS VARCHAR) = {literal(value)})"
        outputs.append(f"{_over(table, step.function, step.value, rows)} AS {quote(output)}")
    keys = listed(step.group_by)
    return Made(f"SELECT {keys}, {', '.join(outputs)} FROM {table.source} GROUP BY {keys} ORDER BY {keys}", field)


def windowed(table: Table, step: Window) -> Made:
    """All rows, in their order, with a column computed from the rows around each."""
    table.need(step.partition_by, f"{table.field}.partitionBy")
    table.new(step.output, f"{table.field}.output")
    order = table.order(step.order_by, f"{table.field}.orderBy")
    field = f"{table.field}.column"
    table.need([step.column] if step.column is not None else [], field)
    keys = f"PARTITION BY {listed(step.partition_by)} " if step.partition_by else ""
    window = f" OVER ({keys}ORDER BY {order})"
    if step.function == "rowNumber":
        value = f"row_number(){window}"
    elif step.function in ("lag", "lead"):
        value = f"{step.function}({quote(step.column or '')}, {step.offset or 1}){window}"
    else:
        if step.function in _NUMBERS_ONLY:
            table.numeric(step.column or "", step.function, field)
        before = "UNBOUNDED" if step.rows is None else str(step.rows)
        frame = f" OVER ({keys}ORDER BY {order} ROWS BETWEEN {before} PRECEDING AND CURRENT ROW)"
        value = _over(table, step.function, step.column, frame)
    select = f"SELECT *, {value} AS {quote(step.output)} FROM {table.source} ORDER BY {table.rowid()}"
    return Made(select, f"{table.field}.function")


def _over(table: Table, function: str, column: str | None, rows: str) -> str:
    """A function of a column's values in some rows, or in all of a group. Booleans count as 0 and 1; sums of whole numbers
    are 64 bits wide."""
    if column is None:
        return f"count(*){rows}"
    kind, argument = table.columns[column], quote(column)
    if kind == "BOOLEAN" and function in _NUMBERS_ONLY:
        argument = f"CAST({argument} AS INTEGER)"
    value = _FUNCTIONS[function].format(argument) + rows
    whole = engine.is_integer(kind) or kind == "BOOLEAN"
    return f"CAST({value} AS BIGINT)" if function == "sum" and whole else value
