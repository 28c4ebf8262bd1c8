"""What is different in a new version from the one before: rows that came and went, columns that were added or retyped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from tidemill.contract.results import VersionChanges
from tidemill_worker import log
from tidemill_worker.data import engine
from tidemill_worker.data.earlier import SPLITS, EarlierVersion, parquet
from tidemill_worker.data.engine import quote
from tidemill_worker.errors import ArtifactCorrupt, ObjectNotFound

MOST_ROWS = 20_000_000
"""Of both versions together. Beyond it rows are not compared: a hash of each must be kept until all are read."""
_NAMED = 8
_LONGEST = 48


def changes(before: EarlierVersion, folder: Path, *, rows: int) -> VersionChanges:
    """Compare the new version's files in a local folder, `rows` in all, with the earlier one's.

    Rows are compared as multisets of their hashes over the columns that both versions have with the same type, streamed. Two
    rows of the same 64-bit hash would count as one: of twenty million the chance for any two is one in 90,000.
    """
    with before.database() as connection:
        new = parquet([folder / f"{split}.parquet" for split in SPLITS])
        try:
            theirs = _columns(connection, before.source)
        except (ObjectNotFound, ArtifactCorrupt) as error:  # a version that is gone is no reason not to make a new one
            log.warn("the version before cannot be compared", error=error.message)
            return VersionChanges(against=before.ref.digest, note=error.message[:256])
        ours = _columns(connection, new)
        retyped = [
            f"{n}: {theirs[n].lower()} → {ours[n].lower()}" for n in ours if n in theirs and ours[n] != theirs[n]
        ]
        found = VersionChanges(
            against=before.ref.digest,
            columns_added=_some([n for n in ours if n not in theirs]),
            columns_removed=_some([n for n in theirs if n not in ours]),
            columns_retyped=_some(retyped),
        )
        common = [name for name in ours if theirs.get(name) == ours[name]]
        (total,) = engine.first_row(connection, f"SELECT count(*) FROM {before.source}") or (0,)
        if total + rows > MOST_ROWS:
            many = f"rows are not compared: both versions have {total + rows}, more than {MOST_ROWS:,}"
            return found.model_copy(update={"note": many})
        if not common:
            return found.model_copy(update={"rows_added": rows, "rows_removed": int(total)})
        added, removed = _rows(connection, new, before.source, common)
        note = (
            f"rows are compared by the {len(common)} columns that both versions have"
            if len(common) < len(ours)
            else None
        )
        return found.model_copy(update={"rows_added": added, "rows_removed": removed, "note": note})


def _columns(connection: duckdb.DuckDBPyConnection, source: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}


def _rows(connection: duckdb.DuckDBPyConnection, new: str, old: str, columns: Sequence[str]) -> tuple[int, int]:
    """Rows that only the new one has, and rows that only the old one has; equal rows count as often as they are there."""
    listed = ", ".join(map(quote, columns))
    query = (
        f"SELECT sum(greatest(n, 0)), sum(greatest(-n, 0)) FROM (SELECT sum(side) AS n FROM ("
        f"SELECT hash({listed}) AS h, 1 AS side FROM {new} UNION ALL SELECT hash({listed}), -1 FROM {old}) GROUP BY h)"
    )
    added, removed = engine.first_row(connection, query) or (0, 0)
    return int(added or 0), int(removed or 0)


def _some(names: Sequence[str]) -> tuple[str, ...]:
    """The first few, shortened, and how many more there are."""
    shown = tuple(name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in names[:_NAMED])
    return (*shown, f"and {len(names) - _NAMED} more") if len(names) > _NAMED else shown
