"""Steps that choose rows: filter, deduplicate, sample."""

from __future__ import annotations

from tidemill.contract.steps.rows import Deduplicate, Filter, Sample
from tidemill_worker.data import rowhash
from tidemill_worker.data.steps.table import Made, Table, listed


def filtered(table: Table, step: Filter) -> Made:
    """Rows for which the predicate is true."""
    field = f"{table.field}.where"
    return Made(f"SELECT * FROM {table.source} WHERE {table.expression(step.where, field)}", field)


def deduplicated(table: Table, step: Deduplicate) -> Made:
    """The first row of those that are equal in some columns."""
    field = f"{table.field}.columns"
    table.need(step.columns, field)
    if step.order_by is not None:
        field = f"{table.field}.orderBy"
    order = table.order(step.order_by, field)
    window = f"row_number() OVER (PARTITION BY {listed(step.columns)} ORDER BY {order}) = 1"
    return Made(f"SELECT * FROM {table.source} QUALIFY {window}", field)


def sampled(table: Table, step: Sample) -> Made:
    """Rows whose number, drawn from their content and the seed, is small enough.

    The number is another one than that by which rows are split, or a sample could be all training rows.
    """
    number = rowhash.number(step.seed, table.columns, purpose="sample")
    if step.fraction is not None:
        return Made(f"SELECT * FROM {table.source} WHERE {number} < {step.fraction!r}", f"{table.field}.fraction")
    row, field = table.rowid(), f"{table.field}.rows"
    chosen = f"SELECT {row} FROM {table.source} ORDER BY {number}, {table.order(None, field)} LIMIT {step.rows}"
    return Made(f"SELECT * FROM {table.source} WHERE {row} IN ({chosen}) ORDER BY {row}", field)
