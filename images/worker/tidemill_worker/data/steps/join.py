"""The join step: columns of another input's rows."""

from __future__ import annotations

import duckdb

from tidemill.contract.names import INTERNAL_COLUMN_PREFIX, PREDICTION_PREFIX
from tidemill.contract.steps.groups import Join
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.data.steps.table import Made, Table, need
from tidemill_worker.errors import ColumnType, InvalidData, InvalidSpec

_NOTED = (INTERNAL_COLUMN_PREFIX, PREDICTION_PREFIX)


def joined(table: Table, step: Join) -> Made:
    """All rows in their order, each with the other input's columns.

    What the inference log notes beside a request (its id, time, prediction) is of the other row: taken only when named.
    """
    other = _columns_of(table, step)
    field = f"{table.field}.using"
    table.need(step.using, field)
    need(other, step.using, field, of=f"the columns of input {step.input}")
    for name in step.using:
        if not _comparable(table.columns[name], other[name]):
            ours, theirs = table.columns[name].lower(), other[name].lower()
            text = f"{field}: {name!r} is {ours}, but {theirs} in input {step.input}: cast it before"
            raise ColumnType(text, field=field)
    equal = " AND ".join(f"l.{quote(name)} = r.{quote(name)}" for name in step.using)
    if not step.many:
        _must_match_once(table, step, equal)
    wanted = step.columns or tuple(n for n in other if n not in step.using and not n.startswith(_NOTED))
    need(other, wanted, f"{table.field}.columns", of=f"the columns of input {step.input}")
    parts = ", ".join(["l.*", *(f"r.{quote(n)} AS {quote(as_)}" for n, as_ in _outputs(table, step, wanted).items())])
    select = f"SELECT {parts} FROM {table.source} l {step.how.upper()} JOIN {quote(step.input)} r ON {equal}"
    return Made(f"{select} ORDER BY l.{table.rowid()}{', r.rowid' if step.many else ''}", f"{table.field}.using")


def _columns_of(table: Table, step: Join) -> dict[str, str]:
    try:
        return engine.columns(table.connection, step.input)
    except duckdb.CatalogException as error:
        field = f"{table.field}.input"
        raise InvalidSpec(f"{field}: there is no input {step.input!r}: name one of spec.inputs", field=field) from error


def _comparable(ours: str, theirs: str) -> bool:
    both = (ours, theirs)
    return ours == theirs or all(map(engine.is_numeric, both)) or all(map(engine.is_time, both))


def _must_match_once(table: Table, step: Join, equal: str) -> None:
    """No row may match two: of a lookup table that is an error, and every sum and count after it would be wrong."""
    keys = ", ".join(f"r.{quote(name)}" for name in step.using)
    texts = ", ".join(f"CAST(r.{quote(name)} AS VARCHAR)" for name in step.using)
    found = engine.first_row(
        table.connection,
        f"SELECT count(*), {texts} FROM {quote(step.input)} r WHERE EXISTS (SELECT 1 FROM {table.source} l WHERE {equal}) "
        f"GROUP BY {keys} HAVING count(*) > 1 ORDER BY {keys} LIMIT 1",
    )
    if found is None:
        return
    field = f"{table.field}.many"
    key = ", ".join(f"{name} = {value!r}" for name, value in zip(step.using, found[1:], strict=True))
    raise InvalidData(
        f"{field}: input {step.input} has {found[0]} rows with {key}, so that one row would become {found[0]}: "
        "name more columns in using, or set many to true if that is wanted",
        field=field,
    )


def _outputs(table: Table, step: Join, wanted: tuple[str, ...]) -> dict[str, str]:
    """The taken columns, and how they are called."""
    taken = {name.lower() for name in table.columns}
    outputs = {}
    for name in wanted:
        output = name + step.suffix if name.lower() in taken and step.suffix else name
        if output.lower() in taken:
            field = f"{table.field}.suffix"
            what = "set a suffix" if step.suffix is None else "choose another suffix"
            text = f"{field}: there is a column {output!r} already: {what}, or leave it out by columns"
            raise InvalidSpec(text, field=field)
        taken.add(output.lower())
        outputs[name] = output
    if not outputs:
        field = f"{table.field}.columns"
        raise InvalidSpec(f"{field}: input {step.input} adds no column beside those of using", field=field)
    return outputs
