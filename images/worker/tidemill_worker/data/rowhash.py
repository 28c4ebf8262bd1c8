"""A number for each row that depends on nothing but its content: by it rows are split and sampled."""

from __future__ import annotations

from collections.abc import Iterable

from tidemill_worker.data.engine import quote

_BUCKETS = 1 << 52


def number(seed: int, columns: Iterable[str], *, purpose: str = "") -> str:
    """A SQL expression: a number in [0, 1) from the MD5 of the row's text, equal on every machine and DuckDB.

    Another seed gives another number, and so does another `purpose`, so that choices with the same seed are independent.
    """
    parts = ", ".join(f"coalesce(CAST({quote(name)} AS VARCHAR), chr(30))" for name in columns)
    return f"('0x' || substr(md5(concat_ws(chr(31), '{purpose}{seed}', {parts})), 1, 13))::BIGINT / {_BUCKETS}.0"
