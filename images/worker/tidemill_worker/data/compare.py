"""Two versions of a dataset side by side: rows, schema, and for each column how far its distribution has moved.

Pure: reads two profiles, and of the rows what the profiles do not tell. The second version is measured against the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import numpy as np

from tidemill.contract.base import Document
from tidemill.contract.profile import ColumnProfile, Kind, Number, Profile
from tidemill_worker.data import engine
from tidemill_worker.data.binning import DECILES, TOP_CATEGORIES, psi
from tidemill_worker.data.engine import quote
from tidemill_worker.profile.numbers import quantile
from tidemill_worker.profile.reader import Floats, Reader
from tidemill_worker.profile.rounding import places, rounded

DRAWN_BINS, LISTED = 30, 20
MODERATE, STRONG = 0.1, 0.25
"""PSI from which a shift is called moderate and strong (Siddiqi 2006, "Credit Risk Scorecards")."""
OTHERS = "all others"


class Distribution(Document):
    """Both versions in the same bins, as shares of the present values."""

    edges: tuple[Number, ...] = ()
    """Of numbers (times: seconds since 1970): equal bins between the pooled 0.5th and 99.5th percentile, outer ones open."""
    labels: tuple[str, ...] = ()
    """Of categories."""
    first: tuple[Number, ...]
    second: tuple[Number, ...]


class Changed(Document):
    """Categories that only one of the versions has."""

    count: int
    values: tuple[str, ...]
    """The most frequent twenty."""


class ColumnShift(Document):
    """How one column, that both versions have, differs."""

    column: str
    kind: Kind
    psi: Number | None = None
    """Population stability index: Σ (b − a) · ln(b / a) over the first one's deciles, or its 20 values or categories."""
    jensen_shannon: Number | None = None
    """Jensen–Shannon distance, base 2, over the same bins (Lin 1991; Endres and Schindelin 2003): 0 equal, 1 disjoint."""
    verdict: Literal["Stable", "Moderate", "Strong"] | None = None
    """By PSI: moderate from 0.1, strong from 0.25 (Siddiqi 2006)."""
    missing: tuple[Number, Number]
    """Share of missing values, before and after."""
    mean: tuple[Number, Number] | None = None
    mean_shift: Number | None = None
    """Difference of the means in standard deviations of the first version."""
    new: Changed | None = None
    lost: Changed | None = None
    distribution: Distribution | None = None


class SchemaChange(Document):
    """A column that is not the same kind of column in both versions."""

    column: str
    change: Literal["Added", "Removed", "TypeChanged"]
    before: str | None = None
    after: str | None = None


class Comparison(Document):
    """`comparison.json`."""

    first: str
    """The versions' digests, or whatever names them."""
    second: str
    rows: tuple[dict[str, int], dict[str, int]]
    """By split, before and after."""
    duplicate_rows: tuple[int, int]
    schema_changes: tuple[SchemaChange, ...]
    columns: tuple[ColumnShift, ...]
    """The greatest PSI first."""


@dataclass(frozen=True, slots=True)
class Version:
    """One side: its name, its profile, and its rows as a table of one connection that both sides share."""

    name: str
    profile: Profile
    rows: Reader


def jensen_shannon(first: Floats, second: Floats) -> float:
    """Jensen–Shannon distance with base 2 of two counts over the same bins."""
    a, b = first / first.sum(), second / second.sum()
    middle = (a + b) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = sum(float(np.nansum(np.where(p > 0, p * np.log2(p / middle), 0.0))) for p in (a, b)) / 2
    return float(np.sqrt(min(1.0, max(0.0, divergence))))


def compare(first: Version, second: Version) -> Comparison:
    """The whole comparison."""
    before = {c.name: c for c in first.profile.columns}
    after = {c.name: c for c in second.profile.columns}
    changes = [
        *(SchemaChange(column=n, change="Removed", before=c.type) for n, c in before.items() if n not in after),
        *(SchemaChange(column=n, change="Added", after=c.type) for n, c in after.items() if n not in before),
        *(
            SchemaChange(column=n, change="TypeChanged", before=c.type, after=after[n].type)
            for n, c in before.items()
            if n in after and after[n].type != c.type
        ),
    ]
    shifts = [_shift(first, second, column, after[name]) for name, column in before.items() if name in after]
    return Comparison(
        first=first.name,
        second=second.name,
        rows=(first.profile.rows, second.profile.rows),
        duplicate_rows=(first.profile.duplicates.rows, second.profile.duplicates.rows),
        schema_changes=tuple(changes),
        columns=tuple(sorted(shifts, key=lambda shift: -float(shift.psi if shift.psi is not None else -1))),
    )


def _shift(first: Version, second: Version, before: ColumnProfile, after: ColumnProfile) -> ColumnShift:
    entry = ColumnShift(column=before.name, kind=before.kind, missing=(before.missing_ratio, after.missing_ratio))
    kinds = {_comparable(before), _comparable(after)}
    if kinds == {"numbers"} or kinds == {"times"}:
        return _ordered(first, second, entry, before, after)
    return _named(first, second, entry) if kinds == {"texts"} else entry


def _comparable(column: ColumnProfile) -> str:
    """What two columns must have in common to be compared."""
    named = {"Number": "numbers", "Time": "times", "Nested": "nothing"}
    return named.get(column.kind, "texts")


def _scored(entry: ColumnShift, a: Floats, b: Floats, changes: dict[str, Any]) -> ColumnShift:
    if a.sum() and b.sum():
        score = psi(a, b)
        verdict = "Strong" if score >= STRONG else "Moderate" if score >= MODERATE else "Stable"
        changes |= {"psi": places(score), "jensen_shannon": places(jensen_shannon(a, b)), "verdict": verdict}
    return entry.model_copy(update=changes)


def _ordered(
    first: Version, second: Version, entry: ColumnShift, before: ColumnProfile, after: ColumnProfile
) -> ColumnShift:
    x, y = (_sorted(version.rows, entry.column) for version in (first, second))
    changes: dict[str, Any] = {}
    if before.numbers is not None and after.numbers is not None:
        a, b, sd = before.numbers.mean, after.numbers.mean, before.numbers.sd
        if a is not None and b is not None:
            changes["mean"] = (a, b)
            changes["mean_shift"] = places((b - a) / sd) if sd else None
    if not len(x) or not len(y):
        return entry.model_copy(update=changes)
    changes["distribution"] = _drawn(x, y, 1_000_000 if before.kind == "Time" else 1)
    return _scored(entry, *_binned(x, y), changes)


def _sorted(rows: Reader, name: str) -> Floats:
    """The finite values of a column; times in microseconds."""
    values = rows.numbers(name).present.astype(np.float64)
    return np.sort(values[np.isfinite(values)])


def _binned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Counts of both by the deciles of the first; by its values, and all others, when there are few."""
    different = np.unique(x)
    if len(different) > TOP_CATEGORIES:
        edges = np.unique(np.quantile(x, DECILES, method="inverted_cdf"))
        return _counts(x, edges), _counts(y, edges)
    equal = [np.searchsorted(v, different, "right") - np.searchsorted(v, different, "left") for v in (x, y)]
    a, b = (np.append(count, len(v) - count.sum()).astype(np.float64) for count, v in zip(equal, (x, y), strict=True))
    return a, b


def _counts(ordered: Floats, edges: Floats) -> Floats:
    """Of sorted values by bin: bin i holds [edges[i-1], edges[i]), the outer ones are open."""
    below = np.searchsorted(ordered, edges, "left")
    return np.diff(np.concatenate([[0], below, [len(ordered)]])).astype(np.float64)


def _drawn(x: Floats, y: Floats, unit: int) -> Distribution | None:
    pooled = np.sort(np.concatenate([x, y]))
    low, high = quantile(pooled, 0.005), quantile(pooled, 0.995)
    if low == high:
        low, high = float(pooled[0]), float(pooled[-1])
    edges = np.linspace(low, high, DRAWN_BINS + 1)
    if not np.all(np.diff(edges) > 0):
        return None
    step = float(edges[1] - edges[0]) / unit
    return Distribution(
        edges=tuple(rounded(edge / unit, step) or 0 for edge in edges.tolist()),
        first=_shares(_counts(x, edges[1:-1])),
        second=_shares(_counts(y, edges[1:-1])),
    )


def _shares(counts: Floats) -> tuple[Number, ...]:
    return tuple(rounded(share) or 0 for share in (counts / (counts.sum() or 1.0)).tolist())


def _named(first: Version, second: Version, entry: ColumnShift) -> ColumnShift:
    column, connection = quote(entry.column), first.rows.connection
    select = f"SELECT CAST({column} AS VARCHAR) AS v, count(*) AS n"
    grouped = [
        f"({select} FROM {version.rows.table} WHERE {column} IS NOT NULL GROUP BY 1)" for version in (first, second)
    ]
    top = connection.execute(
        f"SELECT a.v, a.n, coalesce(b.n, 0) FROM {grouped[0]} a LEFT JOIN {grouped[1]} b USING (v) "
        f"ORDER BY a.n DESC, a.v LIMIT {TOP_CATEGORIES}"
    ).fetchall()
    totals = [version.rows.row(f"count({column})")[0] for version in (first, second)]
    a = np.array([n for _, n, _ in top] + [totals[0] - sum(n for _, n, _ in top)], dtype=np.float64)
    b = np.array([n for _, _, n in top] + [totals[1] - sum(n for _, _, n in top)], dtype=np.float64)
    changes: dict[str, Any] = {
        "lost": _only(connection, grouped[0], grouped[1]),
        "new": _only(connection, grouped[1], grouped[0]),
    }
    if totals[0] and totals[1]:
        labels = (*(value[:80] for value, _, _ in top), OTHERS)
        changes["distribution"] = Distribution(labels=labels, first=_shares(a), second=_shares(b))
    return _scored(entry, a, b, changes)


def _only(connection: duckdb.DuckDBPyConnection, here: str, there: str) -> Changed | None:
    """The categories of one side that the other has not."""
    alone = f"{here} a ANTI JOIN {there} b USING (v)"
    (count,) = engine.first_row(connection, f"SELECT count(*) FROM {alone}") or (0,)
    if not count:
        return None
    listed = connection.execute(f"SELECT v FROM {alone} ORDER BY n DESC, v LIMIT {LISTED}").fetchall()
    return Changed(count=count, values=tuple(value[:80] for (value,) in listed))
