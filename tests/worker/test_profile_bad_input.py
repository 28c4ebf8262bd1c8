"""Profiles of odd tables: they come out, in every form, or name the field that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tidemill.contract.profile import Profile
from tidemill.contract.profiling import ProfileOptions
from tidemill_worker.errors import ColumnMissing, ColumnType
from tidemill_worker.profile import files

from .profiles import column, kinds, profiled

LONG = "a very long name " * 40


def written(profile: Profile, folder: Path) -> str:
    """Every file of a profile; returns the page. `profile.json` must be what was profiled."""
    files.write(profile, ProfileOptions(), folder)
    text = (folder / "profile.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert Profile.model_validate_json(text).to_json() == profile.to_json()
    return (folder / "profile.html").read_text()


@pytest.mark.parametrize("target", [None, "empty", "x"])
def test_columns_without_a_value(tmp_path: Path, target: str | None) -> None:
    table = {
        "x": list(range(40)), "empty": pa.nulls(40, pa.float64()), "text": pa.nulls(40, pa.string()),
        "at": pa.nulls(40, pa.timestamp("us")), "list": pa.nulls(40, pa.list_(pa.int64())), "flag": pa.nulls(40, pa.bool_()),
    }  # fmt: skip
    profile = profiled(table, timeColumn="at", **({"target": target} if target else {}))
    assert {a.column for a in profile.alerts if a.kind == "AllMissing"} == set(table) - {"x"}
    assert profile.time_axis is None
    assert column(profile, "text").distinct == 0
    written(profile, tmp_path)


def test_infinite_and_huge_numbers(tmp_path: Path) -> None:
    table = {
        "inf": [1.0, 2.0, float("inf"), float("-inf"), None] * 20,
        "only": [float("inf")] * 100,
        "huge": [1e308 * (1 - 2 * (i % 2)) / (i + 1) for i in range(100)],
        "tiny": [5e-324 * i for i in range(100)],
        "y": [float(i) for i in range(100)],
    }
    profile = profiled(table, target="y", timeColumn="inf")
    found = column(profile, "inf").numbers
    assert found is not None
    assert (found.infinite, found.min, found.max, found.mean) == (40, 1, 2, 1.5)
    assert column(profile, "only").numbers is None
    assert "Infinite" in kinds(profile, "only")
    assert column(profile, "huge").numbers.mean is not None  # type: ignore[union-attr]
    written(profile, tmp_path)


def test_nan_from_sql_is_missing() -> None:
    profile = profiled(
        "SELECT CASE WHEN i % 4 = 0 THEN 'nan'::DOUBLE ELSE i END AS x, i::FLOAT AS f FROM range(100) r(i)"
    )
    assert column(profile, "x").missing == 25
    assert column(profile, "f").distinct == 100


def test_three_hundred_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table: dict[str, Any] = {f"n{i:03}": rng.normal(size=100) for i in range(250)}
    table |= {f"t{i:03}": rng.choice(["a", "b"], 100) for i in range(49)}
    table["y"] = table["n249"] * 2  # a leak in one of the last columns is found all the same
    said: list[tuple[float, str]] = []
    profile = profiled(table, target="y", say=lambda share, words: said.append((share, words)))
    assert len(profile.columns) == 300
    assert len(profile.target.relations) == 299  # type: ignore[union-attr]
    assert "Leakage" in kinds(profile, "n249")
    assert len(profile.correlations.columns) == 60
    page = written(profile, tmp_path)
    assert "220 more columns" in page
    assert len(list((tmp_path / "profile").iterdir())) < 150
    assert said[0] == (0.0, "column 1 of 300")
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    assert len(said) < 40


def test_names_and_values_of_any_script(tmp_path: Path) -> None:
    names = [
        "日本語",
        "a/b\\c",
        "../../etc",
        "quote \" and ' and <b>&",
        "émoji 🌊",
        "$x_1$",
        "tab\tand\nline",
        LONG,
        " ",
        "%s {} {{x}}",
    ]
    values = ["<script>alert(1)</script>", "{{ 7 * 7 }}", "日本", "", "$\\frac{1}{2}$"]
    table: dict[str, Any] = {name: [values[(i + k) % 5] for i in range(60)] for k, name in enumerate(names[:6])}
    table |= {name: [float((i * 7) % 13) for i in range(60)] for name in names[6:]}
    profile = profiled(table, target=LONG[:128] if LONG[:128] in table else None)
    page = written(profile, tmp_path)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    pictures = [path.name for path in (tmp_path / "profile").iterdir()]
    assert all(name.isascii() and len(name) < 64 for name in pictures)
    assert not [path for path in tmp_path.parent.iterdir() if path.name == "etc.png"]
    assert [c["name"] for c in json.loads((tmp_path / "profile.json").read_text())["columns"]] == names


def test_nested_and_rare_types(tmp_path: Path) -> None:
    query = """SELECT [i, i + 1] AS list, {'a': i, 'b': 'x'} AS struct, MAP {i: 'v'} AS map, 'abc'::BLOB AS blob,
        ARRAY_VALUE(i, i) AS array, CAST(i AS DECIMAL(18, 3)) AS decimal, CAST(i AS HUGEINT) * 10::HUGEINT ** 20 AS huge,
        uuid() AS uuid, CAST(i % 3 AS VARCHAR)::ENUM('0', '1', '2') AS enum, TIME '10:00:00' AS time,
        INTERVAL (i) DAY AS interval,
        DATE '2024-01-01' + i::INTEGER AS date, TIMESTAMPTZ '2024-01-01 00:00:00+00' + INTERVAL (i) HOUR AS tz,
        CASE i WHEN 0 THEN 'infinity'::TIMESTAMP ELSE TIMESTAMP '2024-01-01' END AS endless, [1.5::DECIMAL(4, 2)] AS decimals
        FROM range(60) r(i)"""
    profile = profiled(query, target="enum", timeColumn="tz")
    found = {c.name: c.kind for c in profile.columns}
    assert found == {
        "list": "Nested", "struct": "Nested", "map": "Nested", "blob": "Nested", "array": "Nested", "decimal": "Number",
        "huge": "Number", "uuid": "Text", "enum": "Category", "time": "Category", "interval": "Text", "date": "Time",
        "tz": "Time", "endless": "Time", "decimals": "Nested",
    }  # fmt: skip
    assert column(profile, "list").elements.mean == 2  # type: ignore[union-attr]
    assert column(profile, "blob").elements.max == 3  # type: ignore[union-attr]
    assert column(profile, "struct").elements is None
    assert column(profile, "huge").distinct == 60
    assert column(profile, "tz").time.max == "2024-01-03 11:00:00+00"  # type: ignore[union-attr]
    assert (column(profile, "endless").missing, column(profile, "endless").distinct) == (1, 1)
    written(profile, tmp_path)


def test_dates_that_no_timestamp_holds() -> None:
    found = column(
        profiled("SELECT CASE WHEN i < 3 THEN DATE '300000-01-01' ELSE DATE '2020-01-01' END AS d FROM range(50) t(i)"),
        "d",
    )
    assert (found.missing, found.distinct) == (3, 1)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows(tmp_path: Path, rows: int) -> None:
    table = {"x": [1.5, 2.5, 4.0][:rows], "c": ["a", "b", "b"][:rows], "t": [1, 2, 3][:rows]}
    profile = profiled(table, by={"byTime": {"column": "t", "test": 0, "validation": 0}}, target="x")
    assert profile.rows == {"train": rows, "validation": 0, "test": 0}
    assert profile.target.by_split["test"] is None  # type: ignore[union-attr]
    written(profile, tmp_path)


def test_a_table_of_one_value(tmp_path: Path) -> None:
    profile = profiled({"c": ["only"] * 50, "n": [7] * 50}, target="c")
    assert kinds(profile) == {"Constant", "Duplicates"}
    assert profile.correlations.columns == ()
    page = written(profile, tmp_path)
    assert "Constant" in page


def test_bookkeeping_columns_are_described_and_nothing_else() -> None:
    table: dict[str, Any] = {"x": [float(i) for i in range(60)], "y": [i * 2.0 for i in range(60)]}
    table["_tidemill_request_id"] = [f"r{i}" for i in range(60)]
    profile = profiled(table, target="y")
    assert column(profile, "_tidemill_request_id").distinct == 60
    assert [r.column for r in profile.target.relations] == ["x"]  # type: ignore[union-attr]
    assert kinds(profile, "_tidemill_request_id") == set()


@pytest.mark.parametrize(
    ("options", "error", "field", "words"),
    [
        ({"target": "nosuch"}, ColumnMissing, "spec.profile.target", "the columns are x, text, list"),
        ({"timeColumn": "nosuch"}, ColumnMissing, "spec.profile.timeColumn", "the columns are x, text, list"),
        (
            {"timeColumn": "text"},
            ColumnType,
            "spec.profile.timeColumn",
            "'text' is varchar, not a time or number: cast it",
        ),
        (
            {"target": "list"},
            ColumnType,
            "spec.profile.target",
            "'list' is bigint[]: a target is a number, text or boolean",
        ),
    ],
)
def test_columns_that_cannot_serve(options: dict[str, str], error: type[ColumnMissing], field: str, words: str) -> None:
    table = {"x": [1.0, 2.0], "text": ["a", "b"], "list": [[1], [2, 3]]}
    with pytest.raises(error) as caught:
        profiled(table, by={"random": {"test": 0, "validation": 0}}, **options)
    assert caught.value.field == field
    assert words in caught.value.message
