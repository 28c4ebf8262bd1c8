"""Steps that choose, name and make columns: select, drop, rename, derive, fillNull, dateParts."""

from __future__ import annotations

from tidemill.contract.steps.columns import DateParts, Derive, Drop, FillNull, Rename, Select
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.data.steps.table import Made, Table, listed
from tidemill_worker.errors import ColumnType, InvalidSpec

_STATISTICS = {"mean": "avg({})", "median": "median({})", "min": "min({})", "max": "max({})"}
_NUMBERS_ONLY = ("mean", "median")
_PARTS = {
    "year": "year({})",
    "quarter": "quarter({})",
    "month": "month({})",
    "week": "weekofyear({})",
    "day": "day({})",
    "dayOfYear": "dayofyear({})",
    "weekday": "isodow({})",
    "hour": "hour({})",
    "minute": "minute({})",
    "isWeekend": "(isodow({}) >= 6)",
    "isMonthEnd": "(CAST({0} AS DATE) = last_day({0}))",
}
_OF_THE_DAY = ("hour", "minute")


def selected(table: Table, step: Select) -> Made:
    """Some columns, in another order."""
    field = f"{table.field}.columns"
    table.need(step.columns, field)
    return Made(f"SELECT {listed(step.columns)} FROM {table.source}", field)


def dropped(table: Table, step: Drop) -> Made:
    """All columns but some."""
    field = f"{table.field}.columns"
    table.need(step.columns, field)
    left = [name for name in table.columns if name not in step.columns]
    if not left:
        raise InvalidSpec(f"{field}: no column would be left", field=field)
    return Made(f"SELECT {listed(left)} FROM {table.source}", field)


def renamed(table: Table, step: Rename) -> Made:
    """All columns, some under other names; names may be swapped."""
    field = f"{table.field}.columns"
    table.need(step.columns, field)
    taken: dict[str, str] = {}
    for name in table.columns:
        after = step.columns.get(name, name)
        if other := taken.get(after.lower()):
            raise InvalidSpec(f"{field}: both {other!r} and {name!r} would be called {after!r}", field=field)
        taken[after.lower()] = name
    parts = ", ".join(f"{quote(name)} AS {quote(step.columns.get(name, name))}" for name in table.columns)
    return Made(f"SELECT {parts} FROM {table.source}", field)


def derived(table: Table, step: Derive) -> Made:
    """A column from an expression, new or in another's place."""
    field = f"{table.field}.expression"
    value = table.expression(step.expression, field)
    same = next((name for name in table.columns if name.lower() == step.column.lower()), None)
    what = f"*, {value} AS {quote(step.column)}" if same is None else f"* REPLACE ({value} AS {quote(same)})"
    return Made(f"SELECT {what} FROM {table.source}", field)


def filled(table: Table, step: FillNull) -> Made:
    """Columns without missing values."""
    field = f"{table.field}.columns"
    table.need(step.columns, field)
    replaced = []
    for name in step.columns:
        column, kind = quote(name), table.columns[name]
        if step.value is not None:
            field = f"{table.field}.value"
            value = f"CAST({engine.literal(_unquoted(step.value))} AS {kind})"
            table.check(f"SELECT {value}", field)
        elif step.statistic == "mode":
            value = (
                f"(SELECT {column} FROM {table.source} WHERE {column} IS NOT NULL GROUP BY {column} "
                f"ORDER BY count(*) DESC, {column} LIMIT 1)"
            )
        else:
            statistic = str(step.statistic)
            if statistic in _NUMBERS_ONLY and not engine.is_numeric(kind):
                raise ColumnType(f"{field}: the {statistic} of {name!r} needs numbers, not {kind}", field=field)
            value = f"(SELECT CAST({_STATISTICS[statistic].format(column)} AS {kind}) FROM {table.source})"
        replaced.append(f"coalesce({column}, {value}) AS {column}")
    return Made(f"SELECT * REPLACE ({', '.join(replaced)}) FROM {table.source}", field)


def _unquoted(text: str) -> str:
    """The literal's text, written as `unknown` or as `'unknown'`."""
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text


def date_parts(table: Table, step: DateParts) -> Made:
    """Columns with the parts of a time."""
    field = f"{table.field}.column"
    table.need([step.column], field)
    kind = table.columns[step.column]
    if not engine.is_time(kind):
        text = f"{field}: {step.column!r} is {kind.lower()}, not a date or timestamp: cast it before"
        raise ColumnType(text, field=field)
    prefix = f"{step.column}_" if step.prefix is None else step.prefix
    made = []
    for part in step.parts:
        if kind == "DATE" and part in _OF_THE_DAY:
            text = f"{table.field}.parts: {step.column!r} is a date and has no {part}"
            raise InvalidSpec(text, field=f"{table.field}.parts")
        table.new(prefix + part, f"{table.field}.prefix")
        made.append(f"{_PARTS[part].format(quote(step.column))} AS {quote(prefix + part)}")
    return Made(f"SELECT *, {', '.join(made)} FROM {table.source}", field)
