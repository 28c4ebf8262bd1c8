"""select, drop, rename, cast and dateParts beside plain Python, and what can be wrong with them."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidData, InvalidSpec, TaskError

from .stepping import Row, apply, refused

SCHEMA = pa.schema([("k", pa.string()), ("x", pa.int64()), ("y", pa.float64()), ("b", pa.bool_())])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.one_of(
                st.none(), st.sampled_from(["1", " 2 ", "+3.0", "4.5", "-5.", "true", "no", "x", "", "1e3", "nan"])
            ),
            "x": st.one_of(st.none(), st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)),
            "y": st.one_of(st.none(), st.integers(-3, 3).map(float), st.floats(-1e19, 1e19, allow_nan=False)),
            "b": st.one_of(st.none(), st.booleans()),
        }
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, names=st.permutations(["k", "x", "y", "b"]), number=st.integers(1, 4))
def test_select_and_drop(connection: duckdb.DuckDBPyConnection, rows: list[Row], names: list[str], number: int) -> None:
    kept = apply(connection, rows, SCHEMA, {"select": {"columns": names[:number]}})
    assert kept == [{name: row[name] for name in names[:number]} for row in rows]
    assert list(kept[0]) == names[:number]
    if number < 4:
        left = apply(connection, rows, SCHEMA, {"drop": {"columns": names[:number]}})
        assert left == [{name: row[name] for name in row if name not in names[:number]} for row in rows]


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, names=st.permutations(["k", "x", "y", "b"]))
def test_rename_moves_no_value(connection: duckdb.DuckDBPyConnection, rows: list[Row], names: list[str]) -> None:
    """Names may be swapped."""
    pairs = {old: new for old, new in zip(SCHEMA.names, names, strict=True) if old != new} or {"k": "other"}
    found = apply(connection, rows, SCHEMA, {"rename": {"columns": pairs}})
    assert found == [{pairs.get(name, name): value for name, value in row.items()} for row in rows]


def test_rename_may_change_the_case_only(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [{"k": "a", "x": 1, "y": 1.0, "b": True}]
    found = apply(connection, rows, SCHEMA, {"rename": {"columns": {"x": "X", "k": 'it\'s "k"'}}})
    assert found == [{'it\'s "k"': "a", "X": 1, "y": 1.0, "b": True}]


def as_integer(value: Any) -> int | None:
    """What a careful reader takes a value for."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        whole, _, rest = value.strip().partition(".")
        digits = whole.lstrip("+-")
        return int(whole) if digits.isdigit() and not rest.strip("0") else None
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if -(2**63) <= int(value) < 2**63 else None


def as_boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "no": False, "1": True}.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None


def as_float(value: Any) -> float | None:
    if isinstance(value, str):
        return None if value.strip() in ("true", "no", "x", "", "nan") else float(value)
    return None if value is None else float(value)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_cast_to_null_keeps_what_means_the_same(connection: duckdb.DuckDBPyConnection, rows: list[Row]) -> None:
    for wanted, convert in (("integer", as_integer), ("float", as_float), ("boolean", as_boolean)):
        types = dict.fromkeys(["k", "x", "y", "b"], wanted)
        found = apply(connection, rows, SCHEMA, {"cast": {"columns": types, "onError": "SetNull"}})
        assert found == [{name: convert(value) for name, value in row.items()} for row in rows], wanted


@settings(max_examples=30, deadline=None)
@given(rows=ROWS)
def test_cast_to_text_and_back(connection: duckdb.DuckDBPyConnection, rows: list[Row]) -> None:
    to_text = {"cast": {"columns": dict.fromkeys(["x", "y", "b"], "text")}}
    back = {"cast": {"columns": {"x": "integer", "y": "float", "b": "boolean"}}}
    assert apply(connection, rows, SCHEMA, to_text, back) == rows


def test_cast_of_times(connection: duckdb.DuckDBPyConnection) -> None:
    schema = pa.schema([("d", pa.string()), ("t", pa.string()), ("z", pa.timestamp("us", "Europe/Berlin"))])
    summer = dt.datetime(2024, 6, 30, 23, 30, tzinfo=dt.UTC)
    rows = [
        {"d": "2024-02-29", "t": "2024-01-01T00:30:00+02:00", "z": summer},
        {"d": "2024-02-30", "t": "now?", "z": None},
    ]
    types = {"d": "date", "t": "timestamp", "z": "timestamp"}
    found = apply(connection, rows, schema, {"cast": {"columns": types, "onError": "SetNull"}})
    assert found == [
        {"d": dt.date(2024, 2, 29), "t": dt.datetime(2023, 12, 31, 22, 30), "z": dt.datetime(2024, 6, 30, 23, 30)},
        {"d": None, "t": None, "z": None},
    ]
    (day,) = apply(connection, rows[:1], schema, {"cast": {"columns": {"z": "date"}}})
    assert day["z"] == dt.date(2024, 6, 30)


def test_cast_names_the_first_bad_value_and_how_many(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [{"k": str(i) if i % 3 else f"n/a {i}", "x": i, "y": i / 2, "b": None} for i in range(1, 10)]
    field, document = "cast.columns.k", {"cast": {"columns": {"k": "integer"}}}
    refused(connection, rows, SCHEMA, document, InvalidData, field, "3 values are no integer, the first is 'n/a 3'")
    document = {"cast": {"columns": {"y": "integer"}}}
    refused(
        connection, rows, SCHEMA, document, InvalidData, "cast.columns.y", "5 values are no integer, the first is '0.5'"
    )
    document = {"cast": {"columns": {"k": "timestamp"}}}
    refused(connection, rows[2:3], SCHEMA, document, InvalidData, "cast.columns.k", "'n/a 3' is no timestamp")


@settings(max_examples=60, deadline=None)
@given(times=st.lists(st.one_of(st.none(), st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))), min_size=1))
def test_date_parts(connection: duckdb.DuckDBPyConnection, times: list[dt.datetime | None]) -> None:
    parts = ["year", "quarter", "month", "week", "day", "dayOfYear", "weekday", "isWeekend", "isMonthEnd"]
    clock = [*parts, "hour", "minute"]

    def expected(time: dt.datetime) -> Row:
        tomorrow = time + dt.timedelta(days=1)
        return {
            "year": time.year, "quarter": math.ceil(time.month / 3), "month": time.month, "week": time.isocalendar().week,
            "day": time.day, "dayOfYear": time.timetuple().tm_yday, "weekday": time.isoweekday(),
            "isWeekend": time.isoweekday() >= 6, "isMonthEnd": tomorrow.month != time.month, "hour": time.hour,
            "minute": time.minute,
        }  # fmt: skip

    kinds: list[tuple[pa.DataType, list[str]]] = [
        (pa.timestamp("us"), clock), (pa.timestamp("us", "UTC"), clock), (pa.date32(), parts),
    ]  # fmt: skip
    for kind, wanted in kinds:
        rows = [{"at": time.date() if time and kind == pa.date32() else time} for time in times]
        found = apply(
            connection, rows, pa.schema([("at", kind)]), {"dateParts": {"column": "at", "parts": wanted, "prefix": ""}}
        )
        for row, time in zip(found, times, strict=True):
            whole = dict.fromkeys(wanted) if time is None else expected(time)
            assert {part: row[part] for part in wanted} == {part: whole[part] for part in wanted}


def test_date_parts_are_named_after_their_column(connection: duckdb.DuckDBPyConnection) -> None:
    document = {"dateParts": {"column": "at", "parts": ["year", "isWeekend"]}}
    rows = [{"at": dt.datetime(2024, 6, 1)}]
    assert apply(connection, rows, pa.schema([("at", pa.timestamp("us"))]), document) == [
        {"at": dt.datetime(2024, 6, 1), "at_year": 2024, "at_isWeekend": True}
    ]


def test_a_column_of_another_case_is_replaced_not_doubled(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [{"k": "a", "x": 1, "y": 1.0, "b": True}]
    assert apply(connection, rows, SCHEMA, {"derive": {"column": "X", "expression": "x + 1"}}) == [{**rows[0], "x": 2}]


@pytest.mark.parametrize(
    ("document", "error", "field", "words"),
    [
        (
            {"select": {"columns": ["k", "z"]}},
            ColumnMissing,
            "select.columns",
            "no column 'z'; the columns are k, x, y, b",
        ),
        ({"drop": {"columns": ["z"]}}, ColumnMissing, "drop.columns", "no column 'z'"),
        ({"drop": {"columns": ["k", "x", "y", "b"]}}, InvalidSpec, "drop.columns", "no column would be left"),
        ({"rename": {"columns": {"z": "a"}}}, ColumnMissing, "rename.columns", "no column 'z'"),
        ({"rename": {"columns": {"k": "X"}}}, InvalidSpec, "rename.columns", "both 'k' and 'x' would be called"),
        ({"rename": {"columns": {"k": "a", "x": "a"}}}, InvalidSpec, "rename.columns", "both 'k' and 'x'"),
        ({"cast": {"columns": {"z": "text"}}}, ColumnMissing, "cast.columns", "no column 'z'"),
        (
            {"cast": {"columns": {"x": "date"}}},
            ColumnType,
            "cast.columns",
            "'x' is bigint, which no date can be made of",
        ),
        ({"cast": {"columns": {"b": "timestamp"}}}, ColumnType, "cast.columns", "derive it by SQL"),
        ({"dateParts": {"column": "z", "parts": ["year"]}}, ColumnMissing, "dateParts.column", "no column 'z'"),
        (
            {"dateParts": {"column": "k", "parts": ["year"]}},
            ColumnType,
            "dateParts.column",
            "'k' is varchar, not a date",
        ),
    ],
)
def test_a_wrong_step_names_its_field(
    connection: duckdb.DuckDBPyConnection, document: Row, error: type[TaskError], field: str, words: str
) -> None:
    refused(connection, [{"k": "a", "x": 1, "y": 1.0, "b": True}], SCHEMA, document, error, field, words)


def test_wrong_date_parts_name_their_field(connection: duckdb.DuckDBPyConnection) -> None:
    schema = pa.schema([("d", pa.date32()), ("d_year", pa.int64())])
    rows = [{"d": dt.date(2024, 1, 1), "d_year": 1}]
    hour = {"dateParts": {"column": "d", "parts": ["hour"]}}
    refused(connection, rows, schema, hour, InvalidSpec, "dateParts.parts", "'d' is a date and has no hour")
    year = {"dateParts": {"column": "d", "parts": ["year"]}}
    refused(connection, rows, schema, year, InvalidSpec, "dateParts.prefix", "there is a column 'd_year' already")
