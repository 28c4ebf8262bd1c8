"""The profile of one column, by its kind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tidemill.contract.profile import ColumnProfile, Kind, TimeStatistics, ValueCount
from tidemill_worker.data.engine import quote
from tidemill_worker.profile import numbers, texts
from tidemill_worker.profile.large import of_all_rows
from tidemill_worker.profile.reader import CATEGORIES, Flags, Reader, Values
from tidemill_worker.profile.rounding import rounded

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column's profile, and what the relations between columns are computed from."""

    profile: ColumnProfile
    missing: Flags
    """One entry a described row."""
    values: Values | None
    """Of numbers and times."""


def describe(reader: Reader, name: str) -> Column:
    """Read one column and describe it."""
    kind = reader.kind(name)
    if kind in ("Number", "Time"):
        column = _ordered(reader, name, kind)
    elif kind == "Nested":
        missing = reader.missing(name)
        entry = _entry(reader, name, kind, missing, None)
        elements = texts.elements(reader, name, reader.types[name])
        column = Column(entry.model_copy(update={"elements": elements}), missing, None)
    else:
        column = _grouped(reader, name, kind)
    return column if reader.step == 1 else replace(column, profile=of_all_rows(reader, column.profile))


def _grouped(reader: Reader, name: str, kind: Kind) -> Column:
    """Text and booleans."""
    present, distinct, top, text = texts.groups(reader, name)
    if kind == "Text" and distinct <= CATEGORIES:
        kind = "Category"
    if kind == "Text" and text is not None:
        text = text.model_copy(update={"words": texts.words(reader, name)})
    some = present < reader.described
    missing = reader.missing(name) if some else np.zeros(reader.described, dtype=np.bool_)
    entry = _entry(reader, name, kind, missing, distinct, top)
    return Column(entry if kind == "Boolean" else entry.model_copy(update={"text": text}), missing, None)


def _ordered(reader: Reader, name: str, kind: Kind) -> Column:
    """Numbers and times."""
    values = reader.numbers(name)
    ordered = np.sort(values.present)
    different, counts = numbers.runs(ordered)
    distinct = len(different)
    if not values.exact:
        distinct = int(reader.row(f"count(DISTINCT {quote(name)})")[0])
    if kind == "Time":
        entry = _entry(reader, name, kind, values.missing, distinct)
        if distinct:
            finite = f"(SELECT {quote(name)} AS v FROM {reader.table} WHERE isfinite({quote(name)}))"
            low, high = reader.row("CAST(min(v) AS VARCHAR), CAST(max(v) AS VARCHAR)", finite)
            seconds = ordered / MICROSECONDS
            span = TimeStatistics(min=low, max=high)
            entry = entry.model_copy(update={"time": span, "histogram": numbers.histogram(seconds)})
        return Column(entry, values.missing, values)
    entry = _entry(reader, name, kind, values.missing, distinct, numbers.top(different, counts))
    finite_values = numbers.finite_part(ordered)
    if len(finite_values):
        infinite = len(ordered) - len(finite_values)
        found = numbers.statistics(finite_values, numbers.finite_part(different), infinite=infinite)
        entry = entry.model_copy(update={"numbers": found, "histogram": numbers.histogram(finite_values)})
    return Column(entry, values.missing, values)


def _entry(
    reader: Reader, name: str, kind: Kind, missing: Flags, distinct: int | None, top: tuple[ValueCount, ...] = ()
) -> ColumnProfile:
    absent = int(missing.sum())
    present = reader.described - absent
    return ColumnProfile(
        name=name,
        type=reader.types[name].lower(),
        kind=kind,
        missing=absent,
        missing_ratio=rounded(absent / max(1, reader.described)) or 0,
        distinct=distinct,
        unique=rounded(distinct / present) if distinct is not None and present else None,
        top=top,
    )


def in_a_few_words(column: ColumnProfile, rows: int) -> str:
    """For the Dataset's status: `mean 6.9, sd 44.6` or `3 values, top JFK 36%`."""
    if column.numbers is not None and column.numbers.mean is not None:
        return f"mean {column.numbers.mean:.4g}, sd {column.numbers.sd or 0:.4g}"
    if column.time is not None:
        return f"{column.time.min} to {column.time.max}"
    if column.elements is not None:
        return f"{column.elements.min} to {column.elements.max} elements"
    words = "no value" if column.distinct == 0 else f"{column.distinct} values" if column.distinct else ""
    if column.top:
        share = column.top[0].count / max(1, rows - column.missing)
        words += f", top {column.top[0].value[:30]} {share:.0%}"
    return words
