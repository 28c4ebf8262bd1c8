"""Typed steps, each one SELECT over the table before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import duckdb

from tidemill.contract.steps import Step
from tidemill_worker.data import engine, rowwise
from tidemill_worker.data.engine import quote
from tidemill_worker.data.steps import columns, groups, rows, text
from tidemill_worker.data.steps.cast import cast
from tidemill_worker.data.steps.join import joined
from tidemill_worker.data.steps.near_duplicates import without_near_duplicates
from tidemill_worker.data.steps.table import Made, Table, run
from tidemill_worker.errors import InvalidSpec

_MAKERS: dict[str, Callable[[Table, Any], Made]] = {
    "filter": rows.filtered,
    "select": columns.selected,
    "drop": columns.dropped,
    "rename": columns.renamed,
    "cast": cast,
    "derive": columns.derived,
    "fill_null": columns.filled,
    "date_parts": columns.date_parts,
    "normalize_text": text.normalized,
    "deduplicate": rows.deduplicated,
    "deduplicate_text": without_near_duplicates,
    "sample": rows.sampled,
    "aggregate": groups.aggregated,
    "pivot": groups.pivoted,
    "window": groups.windowed,
    "join": joined,
}


def apply(
    connection: duckdb.DuckDBPyConnection, steps: Sequence[Step], source: str, target: str, *, first: int = 0
) -> None:
    """Run the steps from `first` on over the table `source`; the last one makes `target`. Tables between are dropped at once.

    Steps that work row by row become one statement with those behind them: each table less is one that is neither written
    nor read. Raises in the user's terms, with the field: `spec.transform.steps[2].cast.columns`.
    """
    table = base = source
    views: dict[str, Made] = {}
    for index, step in enumerate(steps[first:], first):
        (kind,) = (name for name in _MAKERS if getattr(step, name) is not None)
        field = f"spec.transform.steps[{index}].{Step.model_fields[kind].alias}"
        made = _MAKERS[kind](Table(connection, table, field), getattr(step, kind))
        after = target if index == len(steps) - 1 else f"_tidemill_step_{index}"
        if after != target and all(rowwise.works(connection, s) for s in steps[index : index + 2]):
            run(connection, f"CREATE VIEW {quote(after)} AS {made.select}", made.field)
            views[after] = made
        else:
            _make(connection, after, made, views)
            engine.drop(connection, *made.scratch, *([base] if base != source else []))
            views, base = {}, after
        table = after


def _make(connection: duckdb.DuckDBPyConnection, table: str, made: Made, views: dict[str, Made]) -> None:
    """Make a step's table, and drop the views of the steps before it.

    When it fails they run one by one: the failure is then that of the step that fails by itself, and there may be none, as
    DuckDB may ask two filters in another order, where one keeps from the other what that cannot take.
    """
    try:
        run(connection, f"CREATE TABLE {quote(table)} AS {made.select}", made.field)
    except InvalidSpec:
        if not views:
            raise
        before: list[str] = []
        for name, earlier in views.items():
            connection.execute(f"DROP VIEW {quote(name)}")
            run(connection, f"CREATE TABLE {quote(name)} AS {earlier.select}", earlier.field)
            engine.drop(connection, *before)
            before = [name]
        run(connection, f"CREATE TABLE {quote(table)} AS {made.select}", made.field)
        engine.drop(connection, *before)
        return
    for name in reversed(views):
        connection.execute(f"DROP VIEW {quote(name)}")
