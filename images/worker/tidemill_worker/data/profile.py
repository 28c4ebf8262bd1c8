"""The profile of a dataset: per column missing values, distribution, top values; correlations; relation to the target.

Numbers are rounded to six significant digits, so that the last bits of a sum never change an artifact's digest.
"""

from __future__ import annotations

from typing import Any

import duckdb

from tidemill.contract.names import INTERNAL_COLUMN_PREFIX
from tidemill.contract.results import ColumnInfo
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.errors import ColumnMissing

HISTOGRAM_BINS = 20
TOP = 10
CORRELATED_COLUMNS = 30
RELATED_COLUMNS = 60
CORRELATION_ROWS = 50_000
Profile = dict[str, Any]


def rounded(value: Any) -> Any:
    """A number with six significant digits; everything else as it is."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        return None
    return int(number) if number == int(number) and abs(number) < 1e15 else float(f"{number:.6g}")


class _Profiler:
    def __init__(self, connection: duckdb.DuckDBPyConnection, table: str, kinds: dict[str, str]) -> None:
        self.connection, self.table, self.kinds = connection, quote(table), kinds
        self.rows = engine.count(connection, table)
        self.numeric = [name for name, kind in kinds.items() if engine.is_numeric(kind)]

    def one(self, select: str, source: str | None = None) -> tuple[Any, ...]:
        return engine.first_row(self.connection, f"SELECT {select} FROM {source or self.table}") or ()

    def column(self, name: str, kind: str) -> Profile:
        column = quote(name)
        present, distinct = self.one(f"count({column}), count(DISTINCT {column})")
        missing = self.rows - present
        entry: Profile = {
            "name": name,
            "type": kind.lower(),
            "missing": missing,
            "missingRatio": rounded(missing / self.rows if self.rows else 0),
            "distinct": distinct,
        }
        if present and engine.is_numeric(kind):
            entry |= self.numbers(f"CAST({column} AS DOUBLE)")
        elif present and engine.is_time(kind):
            low, high = self.one(f"CAST(min({column}) AS VARCHAR), CAST(max({column}) AS VARCHAR)")
            entry |= {"min": low, "max": high}
            entry["histogram"] = self.histogram(f"CAST(epoch(CAST({column} AS TIMESTAMP)) AS DOUBLE)")
        elif present:
            entry["top"] = self.top(f"CAST({column} AS VARCHAR)")
        return entry

    def numbers(self, value: str) -> Profile:
        finite = f"FILTER (WHERE isfinite({value}))"
        low, high, mean, sd = self.one(
            f"min({value}), max({value}), avg({value}) {finite}, stddev_samp({value}) {finite}"
        )
        (quantiles,) = self.one(f"quantile_cont({value}, [0.05, 0.25, 0.5, 0.75, 0.95]) {finite}")
        names = ("p5", "p25", "p50", "p75", "p95")
        return {
            "min": rounded(low),
            "max": rounded(high),
            "mean": rounded(mean),
            "sd": rounded(sd),
            "quantiles": dict(zip(names, map(rounded, quantiles or [None] * 5), strict=True)),
            "histogram": self.histogram(value),
        }

    def histogram(self, value: str) -> Profile:
        """Equal bins between the 0.5th and 99.5th percentile; what lies outside counts in the outer bins."""
        (bounds,) = self.one(f"quantile_cont({value}, [0.005, 0.995]) FILTER (WHERE isfinite({value}))")
        if not bounds:
            return {"edges": [], "counts": []}
        low, high = bounds
        if high <= low:
            return {"edges": [rounded(low), rounded(high)], "counts": [self.rows]}
        step = (high - low) / HISTOGRAM_BINS
        place = f"least({HISTOGRAM_BINS - 1}, greatest(0, floor(({value} - {low!r}) / {step!r})))"
        found = self.connection.execute(
            f"SELECT CAST({place} AS INTEGER), count(*) FROM {self.table} WHERE isfinite({value}) GROUP BY 1"
        ).fetchall()
        counts = dict(found)
        edges = [rounded(low + i * step) for i in range(HISTOGRAM_BINS + 1)]
        return {"edges": edges, "counts": [counts.get(i, 0) for i in range(HISTOGRAM_BINS)]}

    def top(self, text: str) -> list[Profile]:
        found = self.connection.execute(
            f"SELECT {text}, count(*) FROM {self.table} WHERE {text} IS NOT NULL "
            f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {TOP}"
        ).fetchall()
        return [{"value": value[:200], "count": count} for value, count in found]

    def correlations(self) -> Profile:
        """Pearson, pairwise, on evenly spread rows."""
        names = [n for n in self.numeric if not n.startswith(INTERNAL_COLUMN_PREFIX)][:CORRELATED_COLUMNS]
        if len(names) < 2:
            return {"columns": names, "matrix": [[1]] * len(names)}
        every = max(1, self.rows // CORRELATION_ROWS)
        values = [f"CAST({quote(n)} AS DOUBLE)" for n in names]
        pairs = [(i, j) for i in range(len(names)) for j in range(i)]
        sample = f"(SELECT * FROM {self.table} WHERE rowid % {every} = 0)"
        found = self.one(", ".join(_correlation(values[i], values[j]) for i, j in pairs), sample)
        matrix: list[list[Any]] = [[1 if i == j else None for j in range(len(names))] for i in range(len(names))]
        for (i, j), value in zip(pairs, found, strict=True):
            matrix[i][j] = matrix[j][i] = None if value is None else rounded(round(value, 4))
        return {"columns": names, "matrix": matrix}

    def target(self, target: str) -> Profile:
        """How the other columns relate to the target: correlation, and its mean (or top class's share) by bin."""
        kind = self.kinds[target]
        if engine.is_numeric(kind) or kind == "BOOLEAN":
            value, meaning = f"CAST({quote(target)} AS DOUBLE)", f"mean of {target}"
        else:
            top = self.top(f"CAST({quote(target)} AS VARCHAR)")
            first = top[0]["value"] if top else ""
            value = f"CAST(CAST({quote(target)} AS VARCHAR) = {engine.literal(first)} AS DOUBLE)"
            meaning = f"share of {target} = {first}"
        relations = []
        for name in list(self.kinds)[:RELATED_COLUMNS]:
            if name == target or name.startswith(INTERNAL_COLUMN_PREFIX):
                continue
            relations.append(self.relation(name, value))
        return {"column": target, "meaning": meaning, "relations": relations}

    def relation(self, name: str, target: str) -> Profile:
        column = quote(name)
        if engine.is_numeric(self.kinds[name]):
            number = f"CAST({column} AS DOUBLE)"
            (correlation,) = self.one(_correlation(number, target))
            found = self.connection.execute(
                f"SELECT min(x), max(x), avg(y), count(*) FROM (SELECT {number} AS x, {target} AS y, "
                f"ntile(10) OVER (ORDER BY {number}, {target}) AS b FROM {self.table} "
                f"WHERE {number} IS NOT NULL AND {target} IS NOT NULL) GROUP BY b ORDER BY b"
            ).fetchall()
            bins = [(f"{rounded(low)} – {rounded(high)}", mean, count) for low, high, mean, count in found]
        else:
            correlation = None
            bins = self.connection.execute(
                f"SELECT CAST({column} AS VARCHAR), avg({target}), count(*) FROM {self.table} "
                f"WHERE {column} IS NOT NULL AND {target} IS NOT NULL GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT {TOP}"
            ).fetchall()
        return {
            "column": name,
            "correlation": None if correlation is None else rounded(round(correlation, 4)),
            "bins": [{"label": str(label)[:80], "mean": rounded(mean), "count": count} for label, mean, count in bins],
        }


def _correlation(x: str, y: str) -> str:
    """NULL instead of NaN when one side is constant."""
    return f"CASE WHEN stddev_pop({x}) > 0 AND stddev_pop({y}) > 0 THEN corr({x}, {y}) END"


def profile(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    kinds: dict[str, str],
    rows: dict[str, int],
    target: str | None,
) -> Profile:
    """The whole profile as JSON types."""
    if target is not None and target not in kinds:
        raise ColumnMissing(
            f"spec.profile.target: there is no column {target!r}; the columns are {', '.join(kinds)}",
            field="spec.profile.target",
        )
    profiler = _Profiler(connection, table, kinds)
    return {
        "rows": rows,
        "columns": [profiler.column(name, kind) for name, kind in kinds.items()],
        "correlations": profiler.correlations(),
        "target": profiler.target(target) if target is not None else None,
    }


def column_info(entry: Profile, rows: int) -> ColumnInfo:
    """A column in a few words, for the Dataset's status."""
    summary = f"{entry['distinct']} values"
    if entry.get("mean") is not None:
        summary = f"mean {entry['mean']:.4g}, sd {entry['sd'] or 0:.4g}"
    elif entry.get("min") is not None:
        summary = f"{entry['min']} to {entry['max']}"
    elif entry.get("top"):
        first = entry["top"][0]
        share = first["count"] / max(1, rows - entry["missing"])
        summary += f", top {first['value'][:30]} {share:.0%}"
    return ColumnInfo(name=entry["name"], type=entry["type"], missing=entry["missingRatio"], summary=summary[:100])
