"""Divides rows into train, validation and test, in an order that depends on nothing but the rows."""

from __future__ import annotations

import duckdb

from tidemill.contract.split import RandomSplit, Split, TimeSplit
from tidemill_worker.data import engine, rowhash
from tidemill_worker.data.engine import quote
from tidemill_worker.errors import ColumnMissing, ColumnType, DatasetEmpty, InvalidSpec

SPLIT, ORDER = "_tidemill_split", "_tidemill_order"


def split(connection: duckdb.DuckDBPyConnection, table: str, target: str, wish: Split) -> dict[str, int]:
    """Make `target`: the rows in their order, with SPLIT and ORDER. Returns rows by split."""
    kinds = engine.columns(connection, table)
    for name in kinds:
        if name.lower() in (SPLIT, ORDER):
            text = f"the rows have a column {name!r}, which is what the split adds: rename it in the transform"
            raise InvalidSpec(text, field="spec.transform")
    everything = ", ".join(f"{quote(name)} ASC NULLS FIRST" for name in kinds)
    if wish.by_time is not None:
        order, assignment = _by_time(connection, table, wish.by_time, kinds, everything)
    else:
        order, assignment = everything, _random(wish.random or RandomSplit(), kinds)
    # numbered as they come out of the sort, which needs no window over all rows and so less memory
    connection.execute(
        f"CREATE TABLE {quote(target)} AS SELECT *, {assignment} AS {SPLIT} FROM ("
        f"SELECT *, row_number() OVER () AS {ORDER} FROM (SELECT * FROM {quote(table)} ORDER BY {order}))"
    )
    found = dict(connection.execute(f"SELECT {SPLIT}, count(*) FROM {quote(target)} GROUP BY 1").fetchall())
    rows = {name: int(found.get(name, 0)) for name in ("train", "validation", "test")}
    if not rows["train"]:
        raise DatasetEmpty(
            f"the split leaves no row for training: {rows['validation']} for validation, {rows['test']} for test",
            field="spec.split",
        )
    return rows


def _random(wish: RandomSplit, kinds: dict[str, str]) -> str:
    if wish.validation + wish.test >= 1:
        raise InvalidSpec("spec.split.random: validation + test must stay below 1", field="spec.split.random")
    field = "spec.split.random.groupBy"
    for name in wish.group_by or ():
        if name not in kinds:
            text = f"{field}: there is no column {name!r}; the columns are {', '.join(kinds)}"
            raise ColumnMissing(text, field=field)
    number = rowhash.number(wish.seed, wish.group_by or kinds)
    return (
        f"CASE WHEN {number} < {wish.test!r} THEN 'test' "
        f"WHEN {number} < {wish.test + wish.validation!r} THEN 'validation' ELSE 'train' END"
    )


def _by_time(
    connection: duckdb.DuckDBPyConnection, table: str, wish: TimeSplit, kinds: dict[str, str], everything: str
) -> tuple[str, str]:
    field = "spec.split.byTime"
    if wish.column not in kinds:
        raise ColumnMissing(
            f"{field}.column: there is no column {wish.column!r}; the columns are {', '.join(kinds)}",
            field=f"{field}.column",
        )
    kind = kinds[wish.column]
    if not engine.is_time(kind) and not engine.is_numeric(kind):
        raise ColumnType(
            f"{field}.column: {wish.column!r} is {kind.lower()}, not a time or number: cast it in the transform",
            field=f"{field}.column",
        )
    if wish.test is not None and wish.test_rows is not None:
        raise InvalidSpec(f"{field}: set test or testRows, not both", field=f"{field}.testRows")
    total = engine.count(connection, table)
    test = wish.test_rows if wish.test_rows is not None else round(total * (0.1 if wish.test is None else wish.test))
    if test >= total:
        raise InvalidSpec(
            f"{field}.testRows: {test} test rows leave nothing of {total} rows to train on", field=f"{field}.testRows"
        )
    order = f"{quote(wish.column)} ASC NULLS FIRST, {everything}"
    if wish.validation_rows == "Random":
        validated = f"{rowhash.number(0, kinds)} < {wish.validation!r}"
    else:
        validated = f"{ORDER} > {total - test - round((total - test) * wish.validation)}"
    return order, f"CASE WHEN {ORDER} > {total - test} THEN 'test' WHEN {validated} THEN 'validation' ELSE 'train' END"
