"""Typed steps beside plain Python, and properties of steps and splits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.contract.split import Split
from tidemill.contract.steps import Step
from tidemill_worker.data import engine, steps
from tidemill_worker.data.split import ORDER, SPLIT, split
from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidSpec, TaskError

Row = dict[str, Any]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.sampled_from(["a", "b", "c", None]),
            "x": st.one_of(st.none(), st.integers(-1000, 1000)),
            "y": st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False)),
        }
    ),
    min_size=1,
    max_size=60,
)
SCHEMA = pa.schema([("k", pa.string()), ("x", pa.int64()), ("y", pa.float64())])


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    opened = engine.connect(tmp_path_factory.mktemp("spill"), 1 << 30)
    yield opened
    opened.close()


def load(connection: duckdb.DuckDBPyConnection, rows: list[Row]) -> None:
    for table in ("t", "out"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    steps_left = "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '_tidemill_step_%'"
    for left in connection.execute(steps_left).fetchall():
        connection.execute(f"DROP TABLE {left[0]}")
    connection.register("rows", pa.Table.from_pylist(rows, schema=SCHEMA))
    connection.execute("CREATE TABLE t AS SELECT * FROM rows")
    connection.unregister("rows")


def apply(connection: duckdb.DuckDBPyConnection, rows: list[Row], *documents: Row) -> list[Row]:
    load(connection, rows)
    steps.apply(connection, [Step.model_validate(d) for d in documents], "t", "out")
    result: list[Row] = connection.sql("SELECT * FROM out").to_arrow_table().to_pylist()
    return result


def key(row: Row) -> str:
    return repr(sorted(row.items(), key=lambda item: item[0]))


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, bound=st.integers(-1000, 1000))
def test_filter_keeps_exactly_the_rows_that_hold(
    connection: duckdb.DuckDBPyConnection, rows: list[Row], bound: int
) -> None:
    kept = apply(connection, rows, {"filter": {"where": f"x > {bound}"}})
    assert sorted(map(key, kept)) == sorted(key(r) for r in rows if r["x"] is not None and r["x"] > bound)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_derive_replaces_or_adds(connection: duckdb.DuckDBPyConnection, rows: list[Row]) -> None:
    found = apply(
        connection,
        rows,
        {"derive": {"column": "z", "expression": "x * 2 -- twice"}},
        {"derive": {"column": "x", "expression": "0"}},
    )
    assert [r["z"] for r in found] == [None if r["x"] is None else r["x"] * 2 for r in rows]
    assert {r["x"] for r in found} == {0}
    assert list(found[0]) == ["k", "x", "y", "z"]


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_fill_null_leaves_no_null_and_touches_nothing_else(
    connection: duckdb.DuckDBPyConnection, rows: list[Row]
) -> None:
    found = apply(
        connection,
        rows,
        {"fillNull": {"columns": ["k"], "value": "it's"}},
        {"fillNull": {"columns": ["x"], "value": "'7'"}},
        {"fillNull": {"columns": ["y"], "statistic": "max"}},
    )
    present = [r["y"] for r in rows if r["y"] is not None]
    assert [r["k"] for r in found] == [r["k"] or "it's" for r in rows]
    assert [r["x"] for r in found] == [7 if r["x"] is None else r["x"] for r in rows]
    assert [r["y"] for r in found] == [max(present, default=None) if r["y"] is None else r["y"] for r in rows]


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 99))
def test_deduplicate_keeps_one_of_each_whatever_the_order(
    connection: duckdb.DuckDBPyConnection, rows: list[Row], seed: int
) -> None:
    document = {"deduplicate": {"columns": ["k"], "orderBy": "x DESC NULLS LAST"}}
    found = apply(connection, rows, document)
    assert sorted(str(r["k"]) for r in found) == sorted({str(r["k"]) for r in rows})
    for row in found:
        same = [r["x"] for r in rows if r["k"] == row["k"] and r["x"] is not None]
        assert row["x"] == max(same, default=None)
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert sorted(map(key, apply(connection, shuffled, document))) == sorted(map(key, found))


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_aggregate(connection: duckdb.DuckDBPyConnection, rows: list[Row]) -> None:
    items = [{"column": "x", "function": f, "output": f} for f in ("count", "sum", "min", "max", "countDistinct")]
    found = apply(connection, rows, {"aggregate": {"groupBy": ["k"], "aggregations": items}})
    assert len(found) == len({r["k"] for r in rows})
    for row in found:
        group = [r["x"] for r in rows if r["k"] == row["k"] and r["x"] is not None]
        assert row["count"] == len(group)
        assert row["countDistinct"] == len(set(group))
        assert row["sum"] == (sum(group) if group else None)
        assert row["min"] == min(group, default=None)


@pytest.mark.parametrize(
    ("document", "error", "field", "words"),
    [
        ({"filter": {"where": "nosuch > 1"}}, InvalidSpec, "steps[0].filter.where", "line 1, column 1"),
        ({"filter": {"where": "x >\n\n 1 +"}}, InvalidSpec, "steps[0].filter.where", "SQLError"),
        ({"filter": {"where": "true) UNION (SELECT 1"}}, InvalidSpec, "steps[0].filter.where", "SQLError"),
        (
            {"derive": {"column": "z", "expression": "x +\n  foo(1)"}},
            InvalidSpec,
            "derive.expression",
            "line 2, column 3",
        ),
        ({"derive": {"column": "z", "expression": "1; DROP TABLE t"}}, InvalidSpec, "derive.expression", "SQLError"),
        ({"derive": {"column": "z", "expression": "CAST(k AS INTEGER)"}}, InvalidSpec, "derive.expression", "INT32"),
        ({"fillNull": {"columns": ["x"], "value": "seven"}}, InvalidSpec, "fillNull.value", "seven"),
        ({"fillNull": {"columns": ["k"], "statistic": "mean"}}, ColumnType, "fillNull.columns", "needs numbers"),
        (
            {"deduplicate": {"columns": ["k"], "orderBy": "nosuch"}},
            InvalidSpec,
            "deduplicate.orderBy",
            "line 1, column 1",
        ),
        (
            {"aggregate": {"groupBy": ["x"], "aggregations": [{"column": "k", "function": "sum", "output": "s"}]}},
            ColumnType,
            "aggregate.aggregations",
            "needs numbers",
        ),
    ],
)
def test_a_wrong_step_names_its_field(
    connection: duckdb.DuckDBPyConnection, document: Row, error: type[TaskError], field: str, words: str
) -> None:
    with pytest.raises(error) as caught:
        apply(connection, [{"k": "a", "x": 1, "y": 1.0}], document)
    assert field in (caught.value.field or "")
    assert words in f"{caught.value.reason} {caught.value.message}"
    assert "_tidemill_step" not in caught.value.message


def divide(connection: duckdb.DuckDBPyConnection, rows: list[Row], document: Row) -> list[Row]:
    load(connection, rows)
    split(connection, "t", "out", Split.model_validate(document))
    result: list[Row] = connection.sql(f"SELECT * FROM out ORDER BY {ORDER}").to_arrow_table().to_pylist()
    return result


def has_training_rows(connection: duckdb.DuckDBPyConnection, rows: list[Row], document: Row) -> list[Row]:
    try:
        return divide(connection, rows, document)
    except TaskError as error:
        if "no row for training" not in error.message and "nothing of" not in error.message:
            raise
        return []


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 2**31), shuffle=st.integers(0, 99))
def test_a_row_always_lands_in_the_same_split(
    connection: duckdb.DuckDBPyConnection, rows: list[Row], seed: int, shuffle: int
) -> None:
    document = {"random": {"validation": 0.3, "test": 0.3, "seed": seed}}
    whole = has_training_rows(connection, rows, document)
    shuffled = has_training_rows(connection, random.Random(shuffle).sample(rows, len(rows)), document)
    assert whole == shuffled
    assert len(whole) in (0, len(rows))
    place = {(r["k"], r["x"], r["y"]): r[SPLIT] for r in whole}
    for row in has_training_rows(connection, rows[: len(rows) // 2 + 1], document) if whole else []:
        assert place[(row["k"], row["x"], row["y"])] == row[SPLIT]


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, validation=st.floats(0, 0.9), test_rows=st.integers(1, 30))
def test_split_by_time_never_trains_on_the_future(
    connection: duckdb.DuckDBPyConnection, rows: list[Row], validation: float, test_rows: int
) -> None:
    document = {"byTime": {"column": "x", "validation": validation, "testRows": test_rows}}
    found = has_training_rows(connection, rows, document)
    if not found:
        return
    times = {
        name: [r["x"] if r["x"] is not None else -(10**9) for r in found if r[SPLIT] == name]
        for name in ("train", "validation", "test")
    }
    assert len(times["test"]) == test_rows
    assert sum(map(len, times.values())) == len(rows)
    assert max(times["train"]) <= min(times["validation"] or times["test"])
    assert not times["validation"] or max(times["validation"]) <= min(times["test"])


def test_validation_rows_may_be_any_so_that_the_newest_are_learnt_from(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [{"k": "a", "x": i, "y": i / 3} for i in range(2000)]
    wish = {"byTime": {"column": "x", "validation": 0.1, "validationRows": "Random", "testRows": 200}}
    found = divide(connection, rows, wish)
    times = {name: [r["x"] for r in found if r[SPLIT] == name] for name in ("train", "validation", "test")}
    assert times["test"] == list(range(1800, 2000))
    assert 140 < len(times["validation"]) < 220
    assert min(times["validation"]) < 100, "from the whole time before"
    assert max(times["train"]) >= 1790, "only the rows of the test split are kept from training"
    assert divide(connection, rows[::-1], wish) == found, "whatever the order in which rows arrive"


def test_shares_are_about_right_and_depend_on_the_seed(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [{"k": "a", "x": i, "y": i / 3} for i in range(5000)]
    found = {
        seed: divide(connection, rows, {"random": {"validation": 0.2, "test": 0.1, "seed": seed}}) for seed in (1, 2)
    }
    for each in found.values():
        assert 900 < sum(r[SPLIT] == "validation" for r in each) < 1100
        assert 420 < sum(r[SPLIT] == "test" for r in each) < 580
    assert [r[SPLIT] for r in found[1]] != [r[SPLIT] for r in found[2]]


def test_the_split_of_known_rows_never_changes(connection: duckdb.DuckDBPyConnection) -> None:
    """A golden assignment: another DuckDB or another machine must not move rows between train and test."""
    rows = [{"k": "a", "x": i, "y": i / 3} for i in range(12)]
    found = divide(connection, rows, {"random": {"validation": 0.3, "test": 0.3, "seed": 5}})
    assert "".join(r[SPLIT][1] for r in found) == "araerrarerer", "r is train, a validation, e test"


def test_rows_of_a_group_are_never_on_both_sides(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [{"k": f"customer {i % 400}" if i % 7 else None, "x": i, "y": i / 3} for i in range(4000)]
    wish = {"validation": 0.2, "test": 0.2, "seed": 3}
    found = divide(connection, rows, {"random": {**wish, "groupBy": ["k"]}})
    sides: dict[Any, set[str]] = {}
    for row in found:
        sides.setdefault(row["k"], set()).add(row[SPLIT])
    assert all(len(side) == 1 for side in sides.values()), "rows without a customer are a group, too"
    shares = [sum(side == {name} for side in sides.values()) for name in ("train", "validation", "test")]
    assert all(count > 50 for count in shares)
    assert divide(connection, rows[::-1], {"random": {**wish, "groupBy": ["k"]}}) == found
    alone = divide(connection, rows, {"random": wish})
    assert len({row[SPLIT] for row in alone if row["k"] == "customer 1"}) > 1, "which a split by rows does not keep"
    with pytest.raises(ColumnMissing) as caught:
        divide(connection, rows, {"random": {"groupBy": ["k", "nosuch"]}})
    assert caught.value.field == "spec.split.random.groupBy"


@pytest.mark.parametrize("name", [SPLIT, ORDER.upper()])
def test_a_column_named_as_the_splits_own_is_an_error(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    connection.execute(f"CREATE OR REPLACE TABLE t AS SELECT 1 AS x, 'a' AS {name}")
    with pytest.raises(InvalidSpec, match=f"{name}.*rename it in the transform"):
        split(connection, "t", "out", Split.model_validate({"random": {}}))


def test_sums_and_means_of_booleans_and_whole_numbers(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [{"k": "a", "x": i, "y": None} for i in range(8)]
    functions = ("sum", "mean", "median", "stddev")
    items = [
        {"column": c, "function": f, "output": f"{c}_{f}"} for c, f in [("x", "sum"), *(("late", f) for f in functions)]
    ]
    late = {"derive": {"column": "late", "expression": "x >= 6"}}
    (found,) = apply(connection, rows, late, {"aggregate": {"groupBy": ["k"], "aggregations": items}})
    assert found == {
        "k": "a", "x_sum": 28, "late_sum": 2, "late_mean": 0.25, "late_median": 0.0,
        "late_stddev": pytest.approx(0.46291, abs=1e-5),
    }  # fmt: skip
    assert engine.columns(connection, "out")["x_sum"] == "BIGINT", "as a window's and a pivot's"
