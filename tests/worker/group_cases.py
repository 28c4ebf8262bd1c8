"""Rows for the tests of steps that look at several of them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from .stepping import Row

SCHEMA = pa.schema([("k", pa.string()), ("seq", pa.int64()), ("x", pa.int64()), ("y", pa.float64()), ("b", pa.bool_())])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.sampled_from(["a", "b", None]),
            "seq": st.integers(0, 20),
            "x": st.one_of(st.none(), st.integers(-1000, 1000)),
            "y": st.one_of(st.none(), st.integers(-40, 40).map(lambda n: n / 4)),
            "b": st.one_of(st.none(), st.booleans()),
        }
    ),
    min_size=1,
    max_size=40,
)


ONE = [{"k": "a", "seq": 1, "x": 1, "y": 1.0, "b": True}]


def nulls_last(row: Row, names: tuple[str, ...]) -> list[tuple[bool, Any]]:
    return [(row[name] is None, row[name] or 0) for name in names]


def in_order(rows: list[Row]) -> list[int]:
    """Places of the rows by `seq`, ties by all columns."""
    return sorted(
        range(len(rows)), key=lambda i: [(False, rows[i]["seq"]), *nulls_last(rows[i], ("k", "seq", "x", "y", "b"))]
    )
