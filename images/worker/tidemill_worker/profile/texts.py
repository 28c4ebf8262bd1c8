"""Statistics of one column of text or booleans, in SQL: DuckDB groups equal values, and spills what memory does not hold."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tidemill.contract.profile import Elements, TextStatistics, ValueCount
from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.profile import numbers
from tidemill_worker.profile.reader import Reader
from tidemill_worker.profile.rounding import rounded

TOP = numbers.TOP
PROBED = 1_000
"""Texts that are tried to be read as a number or time, before all are."""
SHOWN_CHARACTERS = 200
WORD_CHARACTERS = 2_000
"""Of a text, only so many characters are searched for words."""


def groups(reader: Reader, name: str) -> tuple[int, int, tuple[ValueCount, ...], TextStatistics | None]:
    """Of a column as text: rows that have a value, different values, the most frequent, and statistics of the text."""
    text = quote(name)
    found = engine.first_row(
        reader.connection,
        f"WITH g AS MATERIALIZED (SELECT CAST({text} AS VARCHAR) AS v, count(*) AS n FROM {reader.source} "
        f"WHERE {text} IS NOT NULL GROUP BY 1) SELECT (SELECT sum(n) FROM g), (SELECT count(*) FROM g), "
        "(SELECT sum(n) FROM g WHERE v = ''), (SELECT sum(n) FROM g WHERE v <> trim(v, e' \\t\\n\\r')), "
        f"{_seems('DOUBLE')}, {_seems('TIMESTAMP')}, "
        f"(SELECT list((v, n) ORDER BY n DESC, v) FROM (FROM g ORDER BY n DESC, v LIMIT {TOP})), "
        "(SELECT list((l, n) ORDER BY l) FROM (SELECT length(v) AS l, sum(n) AS n FROM g GROUP BY 1))",
    )
    present, distinct, empty, padded, number, time, top, lengths = found or (0,) * 8
    if not present:
        return 0, 0, (), None
    frequent = tuple(ValueCount(value=value[:SHOWN_CHARACTERS], count=int(count)) for value, count in top)
    if frequent and frequent[0].count < 2:
        frequent = ()
    sizes = np.array([size for size, _ in lengths], dtype=np.int64)
    counts = np.array([count for _, count in lengths], dtype=np.int64)
    looks_like: Literal["Number", "Time"] | None = None
    if number and _is(reader, text, "DOUBLE"):
        looks_like = "Number"
    elif time and _is(reader, text, "TIMESTAMP"):
        looks_like = "Time"
    return (
        int(present),
        int(distinct),
        frequent,
        TextStatistics(
            min_length=int(sizes[0]),
            mean_length=rounded(int((sizes * counts).sum()) / int(present)) or 0,
            max_length=int(sizes[-1]),
            lengths=numbers.histogram(np.repeat(sizes, counts)),
            empty=int(empty or 0),
            padded=int(padded or 0),
            looks_like=looks_like,
        ),
    )


def _seems(type_: str) -> str:
    """Whether some of the texts can all be read as a type; false when these are empty."""
    some = f"(SELECT trim(v) AS v FROM g WHERE v <> '' LIMIT {PROBED})"
    return f"(SELECT coalesce(bool_and(TRY_CAST(v AS {type_}) IS NOT NULL), false) FROM {some} WHERE v <> '')"


def _is(reader: Reader, column: str, type_: str) -> bool:
    """Whether every text that is not blank can be read as a type."""
    blank = f"trim(CAST({column} AS VARCHAR)) = ''"
    (found,) = reader.row(f"bool_and(TRY_CAST(CAST({column} AS VARCHAR) AS {type_}) IS NOT NULL OR {blank})")
    return bool(found)


def words(reader: Reader, name: str) -> tuple[ValueCount, ...]:
    """The most frequent words of the sample, in lower case; those that occur once are left out."""
    text = f"lower(left(CAST({quote(name)} AS VARCHAR), {WORD_CHARACTERS}))"
    found = reader.connection.execute(
        f"SELECT w, count(*) AS n FROM (SELECT unnest(regexp_split_to_array({text}, '[^\\pL\\pN]+')) AS w "
        f"FROM {reader.sampled}) WHERE w <> '' GROUP BY w HAVING n > 1 ORDER BY n DESC, w LIMIT {TOP}"
    ).fetchall()
    return tuple(ValueCount(value=word[:SHOWN_CHARACTERS], count=count) for word, count in found)


def elements(reader: Reader, name: str, type_: str) -> Elements | None:
    """Lengths of lists, maps and blobs; None for what has no length, and when no value is there."""
    if type_.endswith("]"):
        length = f"len({quote(name)})"
    elif type_.startswith("MAP"):
        length = f"cardinality({quote(name)})"
    elif type_ == "BLOB":
        length = f"octet_length({quote(name)})"
    else:
        return None
    low, total, high, present = reader.row(f"min({length}), sum({length}), max({length}), count({quote(name)})")
    if not present:
        return None
    return Elements(min=int(low), mean=rounded(int(total) / present) or 0, max=int(high))
