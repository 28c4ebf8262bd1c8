"""Typed steps, each one SELECT over the table before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import duckdb

from tidemill.contract.steps import Step
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.data.steps import columns, groups, rows, text
from tidemill_worker.data.steps.cast import cast
from tidemill_worker.data.steps.join import joined
from tidemill_worker.data.steps.near_duplicates import without_near_duplicates
from tidemill_worker.data.steps.table import Made, Table, run

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

    Raises in the user's terms, with the field: `spec.transform.steps[2].cast.columns`.
    """
    table = source
    for index, step in enumerate(steps[first:], first):
        (kind,) = (name for name in _MAKERS if getattr(step, name) is not None)
        field = f"spec.transform.steps[{index}].{Step.model_fields[kind].alias}"
        made = _MAKERS[kind](Table(connection, table, field), getattr(step, kind))
        after = target if index == len(steps) - 1 else f"_tidemill_step_{index}"
        run(connection, f"CREATE TABLE {quote(after)} AS {made.select}", made.field)
        engine.drop(connection, *made.scratch, *([table] if table != source else []))
        table = after
