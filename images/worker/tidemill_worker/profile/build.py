"""The whole profile of a table, a column at a time."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import numpy as np

from tidemill.contract.profile import Profile, Sample
from tidemill.contract.profiling import ProfileOptions
from tidemill_worker.data import engine
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.data.split import ORDER, SPLIT
from tidemill_worker.errors import ColumnMissing, ColumnType
from tidemill_worker.profile import columns, correlations, missing, target, timeline
from tidemill_worker.profile.alerts import alerts
from tidemill_worker.profile.correlations import Feature
from tidemill_worker.profile.duplicates import duplicates
from tidemill_worker.profile.reader import Floats, Reader, is_bookkeeping

SAMPLE_COLUMNS, SAMPLE_CHARACTERS = 100, 80
MOST_SAID = 25
"""Of a wide table not every column is worth a line of the log."""
Say = Callable[[float, str], None]
"""Told the share that is done, and a few words."""


def build(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    types: dict[str, str],
    rows: dict[str, int],
    options: ProfileOptions,
    *,
    split_time: str | None = None,
    say: Say = lambda _share, _words: None,
) -> Profile:
    """Profile a table made by `split`. `types`: DuckDB's by column; `split_time`: the column that it was split by.

    Raises ColumnMissing and ColumnType when the options name a column that cannot serve.
    """
    _check(types, options)
    return _Builder(Reader(connection, table, types), rows, options, options.time_column or split_time, say).profile()


def _check(types: dict[str, str], options: ProfileOptions) -> None:
    for name, field in ((options.target, "spec.profile.target"), (options.time_column, "spec.profile.timeColumn")):
        if name is not None and name not in types:
            raise ColumnMissing(
                f"{field}: there is no column {name!r}; the columns are {', '.join(types)}", field=field
            )
    time = options.time_column
    if time is not None and not (engine.is_time(types[time]) or engine.is_numeric(types[time])):
        raise ColumnType(
            f"spec.profile.timeColumn: {time!r} is {types[time].lower()}, not a time or number: cast it in the transform",
            field="spec.profile.timeColumn",
        )


class _Builder:
    def __init__(
        self, reader: Reader, rows: dict[str, int], options: ProfileOptions, time_column: str | None, say: Say
    ) -> None:
        self.reader, self.rows, self.options, self.time_column, self.say = reader, rows, options, time_column, say

    def profile(self) -> Profile:
        """One pass over the columns, then what needs all of them."""
        reader, names = self.reader, list(self.reader.types)
        axis = self.axis()
        goal = self.goal() if self.options.target is not None else None
        described, relations = [], []
        related: list[Feature] = []
        absent: dict[str, np.ndarray] = {}
        for place, name in enumerate(names):
            if place % max(1, len(names) // MOST_SAID) == 0:
                self.say(0.8 * place / len(names), f"column {place + 1} of {len(names)}")
            column = columns.describe(reader, name)
            described.append(column.profile)
            if column.profile.missing:
                absent[name] = np.packbits(column.missing)
                if axis is not None:
                    axis.add(name, column.missing)
            feature = None if is_bookkeeping(name) else self.feature(column)
            if feature is None:
                continue
            if goal is not None and name != goal[0].column:
                relations.append(target.relation(feature, goal[0]))
            room = len(related) < correlations.COLUMNS or name == self.options.target
            if room and column.profile.kind != "Text" and (column.profile.distinct or 0) > 1:
                related.append(feature)
        related.sort(key=lambda feature: feature.name != self.options.target)  # the target is never left out
        self.say(0.8, "correlations")
        matrix = correlations.correlate(related)
        self.say(0.9, "duplicates")
        profile = Profile(
            rows=self.rows,
            described_rows=reader.described,
            columns=tuple(described),
            duplicates=duplicates(reader, self.time_column),
            correlations=matrix,
            interactions=correlations.interactions(related, matrix),
            missing=missing.together(absent, reader.described, step=reader.step),
            time_axis=axis.result(goal[1] if goal is not None else None, step=reader.step)
            if axis is not None
            else None,
            target=target.summary(goal[0], self.by_split(goal[1]), relations) if goal is not None else None,
            sample=self.sample() if self.options.sample_rows else None,
        )
        return profile.model_copy(update={"alerts": alerts(profile, self.equal_to_target(profile))})

    def axis(self) -> timeline.Axis | None:
        """The spans of the time column, if there is one."""
        if self.time_column is None:
            return None
        is_time = self.reader.kind(self.time_column) == "Time"
        return timeline.axis(self.time_column, self.reader.numbers(self.time_column), is_time=is_time)

    def feature(self, column: columns.Column) -> Feature | None:
        """The sampled rows of a column that can be related to others."""
        profile = column.profile
        if column.values is not None:
            return Feature(profile.name, profile.kind, column.values.floats(self.reader.every))
        wanted = profile.kind in ("Category", "Boolean") or (profile.kind == "Text" and self.options.target is not None)
        if not wanted or not profile.distinct:
            return None
        codes, labels = self.reader.codes(profile.name)
        return Feature(profile.name, profile.kind, codes, labels)

    def goal(self) -> tuple[target.Goal, Floats]:
        """The target's sampled rows, and what its mean is taken of in all rows."""
        name, reader = self.options.target or "", self.reader
        kind = reader.kind(name)
        if kind == "Nested":
            raise ColumnType(
                f"spec.profile.target: {name!r} is {reader.types[name].lower()}: a target is a number, text or boolean",
                field="spec.profile.target",
            )
        if kind in ("Number", "Time"):
            all_rows = reader.numbers(name).floats()
            all_rows[~np.isfinite(all_rows)] = np.nan
            sampled = all_rows[:: reader.every]
            known = ~np.isnan(sampled)
            different, inverse = np.unique(sampled[known], return_inverse=True)
            if len(different) > 2:
                return target.Goal(name, "Regression", f"mean of {name}", sampled, None), all_rows
            classes = np.full(len(sampled), -1, dtype=np.int64)
            classes[known] = inverse
            return target.Goal(name, "Classification", f"mean of {name}", sampled, classes), all_rows
        codes, labels = reader.codes(name)
        shown = "true" if kind == "Boolean" else labels[0] if labels else ""
        column = f"CAST({quote(name)} AS VARCHAR)"
        all_rows = np.ma.filled(reader.fetch(f"CAST(left({column}, 200) = {literal(shown)} AS DOUBLE)"), np.nan)
        classes = np.where(codes < target.CLASSES, codes, -1)
        meaning = f"share of {name} = {shown[:80]}"
        return target.Goal(name, "Classification", meaning, all_rows[:: reader.every], classes), all_rows

    def by_split(self, goal: Floats) -> dict[str, float | None]:
        """Mean of the target in each split."""
        names = list(self.rows)
        place = " ".join(f"WHEN {literal(split)} THEN {i}" for i, split in enumerate(names))
        split = self.reader.fetch(f"CASE {quote(SPLIT)} {place} END")
        found: dict[str, float | None] = {}
        for i, name in enumerate(names):
            values = goal[(split == i) & ~np.isnan(goal)]
            found[name] = float(values.mean()) if len(values) else None
        return found

    def equal_to_target(self, profile: Profile) -> frozenset[str]:
        """Columns that have the target's value in every row, among those that predict it."""
        if profile.target is None:
            return frozenset()
        goal = f"CAST({quote(profile.target.column)} AS VARCHAR)"
        suspects = [r.column for r in profile.target.relations if r.score is not None and r.score > 0.9]
        if not suspects:
            return frozenset()
        tests = ", ".join(f"bool_and(CAST({quote(name)} AS VARCHAR) IS NOT DISTINCT FROM {goal})" for name in suspects)
        return frozenset(
            name for name, same in zip(suspects, self.reader.row(tests, self.reader.table), strict=True) if same
        )

    def sample(self) -> Sample:
        """The first rows of the train split."""
        names = list(self.reader.types)[:SAMPLE_COLUMNS]
        texts = ", ".join(f"left(CAST({quote(name)} AS VARCHAR), {SAMPLE_CHARACTERS})" for name in names)
        found = self.reader.connection.execute(
            f"SELECT {texts} FROM {self.reader.table} WHERE {quote(SPLIT)} = 'train' ORDER BY {quote(ORDER)} "
            f"LIMIT {self.options.sample_rows}"
        ).fetchall()
        return Sample(columns=tuple(names), rows=tuple(tuple(row) for row in found))
