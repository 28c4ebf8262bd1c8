"""sample, pivot, window and join beside plain Python, and what can be wrong with them."""

from __future__ import annotations

import random
from collections import defaultdict
from statistics import fmean
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tidemill.contract.split import Split
from tidemill.contract.steps import Step
from tidemill_worker.data.split import split
from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidSpec, TaskError

from .group_cases import ONE, ROWS, SCHEMA, in_order
from .stepping import Row, apply, key, refused


class TestSample:
    @settings(max_examples=30, deadline=None)
    @given(rows=ROWS, seed=st.integers(0, 99), number=st.integers(1, 50), shuffle=st.integers(0, 99))
    def test_content_and_seed_decide(
        self, connection: duckdb.DuckDBPyConnection, rows: list[Row], seed: int, number: int, shuffle: int
    ) -> None:
        shuffled = random.Random(shuffle).sample(rows, len(rows))
        for document in ({"rows": number, "seed": seed}, {"fraction": 0.5, "seed": seed}):
            found = apply(connection, rows, SCHEMA, {"sample": document})
            assert sorted(map(key, found)) == sorted(
                map(key, apply(connection, shuffled, SCHEMA, {"sample": document}))
            )
            places = iter(rows)
            assert all(any(row == other for other in places) for row in found), "the order of rows stays"
            if "rows" in document:
                assert len(found) == min(number, len(rows))
        half = {key(row) for row in apply(connection, rows, SCHEMA, {"sample": {"fraction": 0.5, "seed": seed}})}
        more = {key(row) for row in apply(connection, rows, SCHEMA, {"sample": {"fraction": 0.7, "seed": seed}})}
        assert half <= more, "a larger sample holds the smaller one"

    def test_shares_are_about_right_and_independent_of_the_split(self, connection: duckdb.DuckDBPyConnection) -> None:
        rows = [{"k": "a", "seq": i, "x": i, "y": i / 4, "b": None} for i in range(4000)]
        found = apply(connection, rows, SCHEMA, {"sample": {"fraction": 0.25, "seed": 3}})
        assert 900 < len(found) < 1100
        connection.execute("DROP TABLE IF EXISTS divided")
        shares = split(connection, "out", "divided", Split.model_validate({"random": {"test": 0.25, "seed": 3}}))
        assert 0.2 < shares["test"] / len(found) < 0.3, "not the same quarter again"

    def test_the_sample_of_known_rows_never_changes(self, connection: duckdb.DuckDBPyConnection) -> None:
        rows = [{"k": "a", "seq": i, "x": i, "y": i / 3, "b": i % 2 == 0} for i in range(40)]
        found = apply(connection, rows, SCHEMA, {"sample": {"rows": 5, "seed": 7}})
        assert [row["seq"] for row in found] == [4, 8, 16, 34, 38]


class TestPivot:
    @settings(max_examples=30, deadline=None)
    @given(rows=ROWS)
    def test_listed_values_become_columns(self, connection: duckdb.DuckDBPyConnection, rows: list[Row]) -> None:
        functions: dict[str, Any] = {
            "count": len,
            "sum": lambda v: sum(v) if v else None,
            "mean": lambda v: pytest.approx(fmean(v)) if v else None,
            "max": lambda v: max(v, default=None),
            "countDistinct": lambda v: len(set(v)),
        }
        for function, compute in functions.items():
            document = {"groupBy": ["b"], "column": "k", "values": ["a", "c"], "value": "x", "function": function}
            found = apply(connection, rows, SCHEMA, {"pivot": {**document, "prefix": "k="}})
            assert list(found[0]) == ["b", "k=a", "k=c"], "the columns do not depend on the data"
            assert len(found) == len({r["b"] for r in rows})
            for row in found:
                for value in ("a", "c"):
                    group = [r["x"] for r in rows if r["b"] == row["b"] and r["k"] == value and r["x"] is not None]
                    assert row[f"k={value}"] == compute(group)

    def test_values_are_compared_as_text(self, connection: duckdb.DuckDBPyConnection) -> None:
        rows = [{**ONE[0], "seq": n} for n in (1, 2, 2, 30)]
        document = {"groupBy": ["k"], "column": "seq", "values": ["2", "30", "it's"], "value": "b"}
        assert apply(connection, rows, SCHEMA, {"pivot": document}) == [{"k": "a", "2": 2, "30": 1, "it's": None}]


class TestWindow:
    @settings(max_examples=40, deadline=None)
    @given(rows=ROWS, frame=st.one_of(st.none(), st.integers(0, 4)), parted=st.booleans(), shuffle=st.integers(0, 9))
    def test_beside_plain_python(
        self, connection: duckdb.DuckDBPyConnection, rows: list[Row], frame: int | None, parted: bool, shuffle: int
    ) -> None:
        groups: dict[Any, list[int]] = defaultdict(list)
        for place in in_order(rows):
            groups[rows[place]["k"] if parted else 0].append(place)
        present: dict[str, Any] = {
            "sum": lambda v: sum(v) if v else None,
            "mean": lambda v: pytest.approx(fmean(v)) if v else None,
            "min": lambda v: min(v, default=None),
            "max": lambda v: max(v, default=None),
            "count": len,
        }
        common = {"orderBy": "seq", "output": "w", "partitionBy": ["k"] if parted else []}
        for function, compute in present.items():
            document = {**common, "function": function, "column": "x", **({} if frame is None else {"rows": frame})}
            found = apply(connection, rows, SCHEMA, {"window": document})
            assert [{k: v for k, v in r.items() if k != "w"} for r in found] == rows, "the order of rows stays"
            for places in groups.values():
                for number, place in enumerate(places):
                    seen = places[0 if frame is None else max(0, number - frame) : number + 1]
                    assert found[place]["w"] == compute([rows[i]["x"] for i in seen if rows[i]["x"] is not None])
        for function, step in (("lag", -2), ("lead", 2)):
            document = {**common, "function": function, "column": "y", "offset": 2}
            found = apply(connection, rows, SCHEMA, {"window": document})
            for places in groups.values():
                for number, place in enumerate(places):
                    there = 0 <= number + step < len(places)
                    assert found[place]["w"] == (rows[places[number + step]]["y"] if there else None)
        numbered = apply(connection, rows, SCHEMA, {"window": {**common, "function": "rowNumber"}})
        for places in groups.values():
            assert [numbered[place]["w"] for place in places] == list(range(1, len(places) + 1))
        again = random.Random(shuffle).sample(rows, len(rows))
        moved = apply(connection, again, SCHEMA, {"window": {**common, "function": "rowNumber"}})
        assert sorted(map(key, moved)) == sorted(map(key, numbered)), "the order in which rows arrive does not matter"

    def test_rows_without_a_column_and_booleans(self, connection: duckdb.DuckDBPyConnection) -> None:
        rows = [{**ONE[0], "seq": n, "b": n % 2 == 0} for n in (3, 1, 2)]
        count = {"window": {"function": "count", "orderBy": "seq DESC", "output": "n"}}
        share = {"window": {"function": "mean", "column": "b", "orderBy": "seq", "rows": 1, "output": "s"}}
        found = apply(connection, rows, SCHEMA, count, share)
        assert [(r["n"], r["s"]) for r in found] == [(1, 0.5), (3, 0.0), (2, 0.5)]

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            ({"function": "sum"}, "column is needed"),
            ({"function": "rowNumber", "column": "x"}, "column has no effect"),
            ({"function": "lag", "column": "x", "rows": 3}, "rows has no effect"),
            ({"function": "sum", "column": "x", "offset": 3}, "offset is for lag and lead"),
        ],
    )
    def test_combinations_that_make_no_sense(self, document: Row, words: str) -> None:
        with pytest.raises(ValidationError, match=words):
            Step.model_validate({"window": {"orderBy": "seq", "output": "w", **document}})


@pytest.mark.parametrize(
    ("document", "error", "field", "words"),
    [
        ({"pivot": {"groupBy": ["z"], "column": "k", "values": ["a"], "value": "x"}}, ColumnMissing, "pivot.groupBy", "'z'"),
        ({"pivot": {"groupBy": ["k"], "column": "z", "values": ["a"], "value": "x"}}, ColumnMissing, "pivot.column", "'z'"),
        ({"pivot": {"groupBy": ["k"], "column": "seq", "values": ["1"], "value": "z"}}, ColumnMissing, "pivot.value", "'z'"),
        ({"pivot": {"groupBy": ["b"], "column": "seq", "values": ["1"], "value": "k"}}, ColumnType, "pivot.value", "numbers"),
        (
            {"pivot": {"groupBy": ["k"], "column": "seq", "values": ["K"], "value": "x"}},
            InvalidSpec, "pivot.prefix", "there is a column 'k' already",
        ),
        (
            {"window": {"function": "sum", "column": "k", "orderBy": "seq", "output": "w"}},
            ColumnType, "window.column", "sum of 'k' needs numbers",
        ),
        (
            {"window": {"function": "sum", "column": "z", "orderBy": "seq", "output": "w"}},
            ColumnMissing, "window.column", "no column 'z'",
        ),
        (
            {"window": {"function": "rowNumber", "partitionBy": ["z"], "orderBy": "seq", "output": "w"}},
            ColumnMissing, "window.partitionBy", "no column 'z'",
        ),
        (
            {"window": {"function": "rowNumber", "orderBy": "seq,\n z", "output": "w"}},
            InvalidSpec, "window.orderBy", "line 2, column 2",
        ),
        (
            {"window": {"function": "rowNumber", "orderBy": "seq) , (SELECT 1", "output": "w"}},
            InvalidSpec, "window.orderBy", "line 1",
        ),
        ({"window": {"function": "rowNumber", "orderBy": "seq", "output": "X"}}, InvalidSpec, "window.output", "'x' already"),
        (
            {"aggregate": {"groupBy": ["k"], "aggregations": [{"column": "x", "function": "sum", "output": "K"}]}},
            InvalidSpec, "aggregate.aggregations", "there is a column 'k' already",
        ),
    ],
)  # fmt: skip
def test_a_wrong_step_names_its_field(
    connection: duckdb.DuckDBPyConnection, document: Row, error: type[TaskError], field: str, words: str
) -> None:
    refused(connection, ONE, SCHEMA, document, error, field, words)


def test_a_column_called_rowid_is_an_error_where_it_would_hide_the_rows_own(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    schema, rows = pa.schema([("rowid", pa.int64()), ("x", pa.int64())]), [{"rowid": 1, "x": 1}, {"rowid": 1, "x": 2}]
    with pytest.raises(InvalidSpec, match="rename it before"):
        apply(connection, rows, schema, {"sample": {"rows": 1}})
    assert apply(connection, rows, schema, {"filter": {"where": "x = 2"}}) == rows[1:]
