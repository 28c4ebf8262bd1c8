"""A column's distribution, held against an earlier version's: PSI over its bins, and how far the mean has moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import duckdb
import numpy as np

from tidemill.contract.expectations import Distribution, Expectation
from tidemill.contract.model import FeatureBaseline
from tidemill_worker.data import binning, engine
from tidemill_worker.data.earlier import EarlierVersion
from tidemill_worker.data.engine import quote
from tidemill_worker.data.expectations.finding import Finding, outcome
from tidemill_worker.data.expectations.rows import Rows
from tidemill_worker.errors import ColumnType
from tidemill_worker.profile.rounding import rounded

Earlier = Callable[[str], EarlierVersion | None]
"""The version that `against` means; None when there is none."""
_BATCH = 122_880


def check_distribution(
    rows: Rows, expectation: Expectation, wish: Distribution, *, field: str, earlier: Earlier
) -> Finding:
    """PSI (N. Siddiqi, Credit Risk Scorecards, 2006; missing is a bin of its own), and the distance of the means in standard
    deviations of the earlier version: Glass's Δ (G. V. Glass, Educational Researcher 5(10), 1976)."""
    kind = rows.kind(expectation, wish.column, f"{field}.distribution.column")
    now = _Column(rows.connection, quote(rows.table), wish.column, kind)
    if wish.max_shift is not None and not now.numeric:
        raise ColumnType(
            f"expectation {expectation.name}: column {wish.column!r} is {kind.lower()} and has no mean: take maxPsi",
            field=f"{field}.distribution.maxShift",
        )
    mean, sd = now.moments() if now.numeric else (None, None)
    measured = {"mean": rounded(mean), "sd": rounded(sd)} if now.numeric else {}
    version = earlier(wish.against)
    problem, note = ("", "no earlier version") if version is None else _against(version, now, wish, rows.number, mean)
    result = outcome(expectation, problem, rows=rows.number, note=note)
    return Finding(expectation=expectation, result=result, measured=measured, lasting=False)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a table, read by the same expressions wherever it lies."""

    connection: duckdb.DuckDBPyConnection
    source: str
    name: str
    kind: str

    @property
    def numeric(self) -> bool:
        """Whether it has a mean; times count as seconds since 1970."""
        return engine.is_numeric(self.kind) or engine.is_time(self.kind)

    @property
    def number(self) -> str:
        column = quote(self.name)
        return f"CAST({f'epoch({column})' if engine.is_time(self.kind) else column} AS DOUBLE)"

    def moments(self) -> tuple[float | None, float | None]:
        """Mean and sample standard deviation of the finite values."""
        query = f"SELECT avg(x), stddev_samp(x) FROM (SELECT {self.number} AS x FROM {self.source}) WHERE isfinite(x)"
        mean, sd = engine.first_row(self.connection, query) or (None, None)
        return mean, sd

    def numbers(self) -> Iterator[np.ndarray]:
        """The present values, in pieces."""
        query = f"SELECT {self.number} AS x FROM {self.source} WHERE {quote(self.name)} IS NOT NULL"
        for batch in self.connection.sql(query).to_arrow_reader(_BATCH):
            yield batch.column(0).to_numpy(zero_copy_only=False)

    def categories(self) -> dict[str, int]:
        """How often each value is there, as text."""
        text = f"CAST({quote(self.name)} AS VARCHAR)"
        query = f"SELECT {text}, count(*) FROM {self.source} WHERE {quote(self.name)} IS NOT NULL GROUP BY 1"
        return dict(self.connection.execute(query).fetchall())


def _against(
    version: EarlierVersion, now: _Column, wish: Distribution, number: int, mean: float | None
) -> tuple[str, str]:
    """What is wrong, and what is said when nothing is."""
    with version.database() as connection:
        kinds = {r[0]: r[1] for r in connection.execute(f"DESCRIBE SELECT * FROM {version.source}").fetchall()}
        if wish.column not in kinds:
            return "", f"{version.name} has no column {wish.column!r}"
        before = _Column(connection, version.source, wish.column, kinds[wish.column])
        if before.numeric != now.numeric:
            text = f"column {wish.column!r} is {now.kind.lower()}, but {before.kind.lower()} in {version.name}"
            return f"{text}: they cannot be compared", ""
        said, exceeded = [], []
        if wish.max_psi is not None:
            (total,) = engine.first_row(connection, f"SELECT count(*) FROM {version.source}") or (0,)
            index = _psi(before, now, int(total), number)
            said.append(f"PSI {index:.3g}")
            exceeded += [f"maxPsi {wish.max_psi:g}"] if index > wish.max_psi else []
        if wish.max_shift is not None:
            shift = _shift(*before.moments(), mean)
            said.append(f"mean {shift:.3g} standard deviations away")
            exceeded += [f"maxShift {wish.max_shift:g}"] if shift > wish.max_shift else []
    text = f"column {wish.column!r} against {version.name}: {', '.join(said)}"
    return (f"{text}; allowed: {', '.join(exceeded)}", "") if exceeded else ("", text)


def _psi(before: _Column, now: _Column, total: int, number: int) -> float:
    if now.numeric:
        values = list(before.numbers())
        base = binning.numeric(now.name, np.concatenate(values) if values else np.empty(0))
        live = sum((binning.count_numbers(base.edges, v) for v in now.numbers()), np.zeros(len(base.counts), np.int64))
    else:
        base = binning.categories(now.name, before.categories(), missing=0)
        live = _by_category(base, now.categories())
    return binning.psi([*base.counts, total - sum(base.counts)], [*live, number - int(np.sum(live))])


def _by_category(base: FeatureBaseline, found: dict[str, int]) -> np.ndarray:
    known = [found.pop(category, 0) for category in base.categories]
    return np.asarray([*known, sum(found.values())])


def _shift(mean: float | None, sd: float | None, now: float | None) -> float:
    """Infinite when there is nothing to measure by: a mean on one side only, or no spread and another mean."""
    if mean is None or now is None:
        return 0.0 if mean is now else math.inf
    if not sd:
        return 0.0 if math.isclose(mean, now, rel_tol=1e-9) else math.inf
    return round(abs(now - mean) / sd, 9)  # below lies what the order of a sum changes
