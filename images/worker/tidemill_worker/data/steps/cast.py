"""The cast step: columns of another type, as far as values lose nothing by it.

DuckDB's CAST rounds 2.5 to 3 and takes 7 for true. Here a value fits if it means the same in the new type; what does not fit is
named, or becomes missing.
"""

from __future__ import annotations

from tidemill.contract.steps.columns import Cast
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.data.steps.table import Made, Table
from tidemill_worker.errors import ColumnType, InvalidData

_TYPES = {
    "integer": "BIGINT",
    "float": "DOUBLE",
    "boolean": "BOOLEAN",
    "text": "VARCHAR",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
_WHOLE = r"\s*[+-]?\d+(\.0*)?\s*"


def cast(table: Table, step: Cast) -> Made:
    """All columns, some converted. With `onError: Fail` the first value that does not fit is an InvalidData."""
    field = f"{table.field}.columns"
    table.need(step.columns, field)
    replaced = []
    for name, wanted in step.columns.items():
        value = converted(quote(name), table.columns[name], wanted)
        if value is None:
            text = f"{field}: {name!r} is {table.columns[name].lower()}, which no {wanted} can be made of: derive it by SQL"
            raise ColumnType(text, field=field)
        if step.on_error == "Fail":
            _must_fit(table, name, value, wanted, f"{field}.{name}")
        if wanted == "float":  # NaN is a missing value, also as a text
            value = f"CASE WHEN isnan({value}) THEN NULL ELSE {value} END"
        replaced.append(f"{value} AS {quote(name)}")
    return Made(f"SELECT * REPLACE ({', '.join(replaced)}) FROM {table.source}", field)


def converted(column: str, kind: str, wanted: str) -> str | None:
    """An expression for a column's values as another type, null where they do not fit; None when no value ever does."""
    to = _TYPES[wanted]
    plain = f"TRY_CAST({column} AS {to})"
    text, number, time = kind == "VARCHAR", engine.is_numeric(kind), engine.is_time(kind)
    if wanted == "text" or kind == to:
        return plain
    if wanted in ("date", "timestamp"):
        # DuckDB's own cast of a text to TIMESTAMP drops the offset that the text ends in
        utc = f"CAST(TRY_CAST(trim({column}) AS TIMESTAMPTZ) AS {to})"
        return utc if text else plain if time else None
    if text and wanted == "integer":
        return f"CASE WHEN regexp_full_match({column}, '{_WHOLE}') THEN TRY_CAST(trim({column}) AS {to}) END"
    if text:
        return f"TRY_CAST(trim({column}) AS {to})"
    if number and wanted == "integer":
        return f"CASE WHEN {column} = trunc({column}) THEN {plain} END"
    if number and wanted == "boolean":
        return f"CASE WHEN {column} IN (0, 1) THEN {plain} END"
    return plain if number or kind == "BOOLEAN" else None


def _must_fit(table: Table, name: str, value: str, wanted: str, field: str) -> None:
    wrong = f"FROM {table.source} WHERE {quote(name)} IS NOT NULL AND {value} IS NULL"
    found = engine.first_row(table.connection, f"SELECT CAST({quote(name)} AS VARCHAR) {wrong} LIMIT 1")
    if found is None:
        return
    (number,) = engine.first_row(table.connection, f"SELECT count(*) {wrong}") or (0,)
    many = f"{number} values are no {wanted}, the first is {found[0][:100]!r}"
    one = f"{found[0][:100]!r} is no {wanted}"
    text = f"{field}: {one if number == 1 else many}: filter them out before, or set onError to SetNull"
    raise InvalidData(text, field=field)
