"""Joins held against Python loops over the same rows."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidData, InvalidSpec, TaskError

from .group_cases import ONE, ROWS, SCHEMA
from .stepping import Row, apply, load, refused

LOOKUP = pa.schema([("k", pa.string()), ("seq", pa.int64()), ("name", pa.string()), ("x", pa.int64())])


class TestJoin:
    def lookup(self, connection: duckdb.DuckDBPyConnection, rows: list[Row], schema: pa.Schema = LOOKUP) -> None:
        load(connection, "other", rows, schema)

    @settings(max_examples=40, deadline=None)
    @given(
        rows=ROWS,
        theirs=st.dictionaries(
            st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 20)),
            st.text("pqr", max_size=3),
            max_size=30,
        ),
    )
    def test_beside_plain_python(
        self, connection: duckdb.DuckDBPyConnection, rows: list[Row], theirs: dict[tuple[str | None, int], str]
    ) -> None:
        self.lookup(connection, [{"k": k, "seq": n, "name": name, "x": n} for (k, n), name in theirs.items()])
        document = {"input": "other", "using": ["k", "seq"], "columns": ["name", "x"], "suffix": "_there"}
        expected = []
        for row in rows:
            name = None if row["k"] is None else theirs.get((row["k"], row["seq"]))
            expected.append({**row, "name": name, "x_there": None if name is None else row["seq"]})
        assert apply(connection, rows, SCHEMA, {"join": document}) == expected, "in the order of the rows"
        inner = apply(connection, rows, SCHEMA, {"join": {**document, "how": "Inner"}})
        assert inner == [row for row in expected if row["name"] is not None]

    def test_many_matches_are_an_error_unless_wanted(self, connection: duckdb.DuckDBPyConnection) -> None:
        names = [("b", 1, "p"), ("a", 1, "q"), ("a", 1, "r"), ("z", 9, "s"), ("z", 9, "t")]
        self.lookup(connection, [{"k": k, "seq": n, "name": name, "x": 0} for k, n, name in names])
        document = {"join": {"input": "other", "using": ["k", "seq"], "columns": ["name"]}}
        words = "input other has 2 rows with k = 'a', seq = '1'"
        refused(connection, ONE, SCHEMA, document, InvalidData, "join.many", words)
        many = apply(connection, ONE, SCHEMA, {"join": {**document["join"], "many": True}})
        assert [row["name"] for row in many] == ["q", "r"]
        other = [{**ONE[0], "k": "b"}]
        found = apply(connection, other, SCHEMA, document)
        assert [row["name"] for row in found] == ["p"], "rows that nobody asks for do not matter"

    def test_what_the_inference_log_notes_is_taken_only_when_named(self, connection: duckdb.DuckDBPyConnection) -> None:
        noted = [("_tidemill_time", pa.int64()), ("prediction.y", pa.int64())]
        schema = pa.schema([("k", pa.string()), ("name", pa.string()), *noted])
        self.lookup(connection, [{"k": "a", "name": "n", "_tidemill_time": 5, "prediction.y": 7}], schema)
        document = {"input": "other", "using": ["k"]}
        assert apply(connection, ONE, SCHEMA, {"join": document}) == [{**ONE[0], "name": "n"}]
        named = apply(connection, ONE, SCHEMA, {"join": {**document, "columns": ["prediction.y"]}})
        assert named == [{**ONE[0], "prediction.y": 7}]

    @pytest.mark.parametrize(
        ("document", "error", "field", "words"),
        [
            ({"input": "nowhere"}, InvalidSpec, "join.input", "there is no input 'nowhere'"),
            (
                {"using": ["b"]},
                ColumnMissing,
                "join.using",
                "no column 'b'; the columns of input other are k, seq, name, x",
            ),
            ({"using": ["name"]}, ColumnMissing, "join.using", "no column 'name'; the columns are k, seq"),
            ({"columns": ["z"]}, ColumnMissing, "join.columns", "no column 'z'; the columns of input other"),
            ({}, InvalidSpec, "join.suffix", "there is a column 'seq' already: set a suffix"),
            ({"columns": ["x"]}, InvalidSpec, "join.suffix", "there is a column 'x' already"),
        ],
    )
    def test_wrong_joins_name_their_field(
        self, connection: duckdb.DuckDBPyConnection, document: Row, error: type[TaskError], field: str, words: str
    ) -> None:
        self.lookup(connection, [{"k": "a", "seq": 1, "name": "n", "x": 1}])
        refused(connection, ONE, SCHEMA, {"join": {"input": "other", "using": ["k"], **document}}, error, field, words)

    def test_columns_that_cannot_be_compared(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.lookup(connection, [{"k": 1, "v": 2}], pa.schema([("k", pa.int64()), ("v", pa.int64())]))
        document = {"join": {"input": "other", "using": ["k"]}}
        refused(
            connection, ONE, SCHEMA, document, ColumnType, "join.using", "'k' is varchar, but bigint in input other"
        )
        self.lookup(connection, [{"k": "a"}], pa.schema([("k", pa.string())]))
        refused(connection, ONE, SCHEMA, document, InvalidSpec, "join.columns", "adds no column beside those of using")
