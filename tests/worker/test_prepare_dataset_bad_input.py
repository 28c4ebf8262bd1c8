"""PrepareDataset and what can be wrong with its inputs, SQL, columns and credentials."""

from __future__ import annotations

import gzip
from typing import Any

import pyarrow as pa
import pytest

from tidemill_worker.errors import (
    AccessDenied,
    ColumnMissing,
    ColumnType,
    DatasetEmpty,
    ExpectationFailed,
    InvalidData,
    InvalidSpec,
    ObjectNotFound,
    TaskError,
)

from .lab import Lab
from .samples import CSV, JSONL, prepare, rows, s3


def refused(lab: Lab, kind: type[TaskError], document: dict[str, Any]) -> TaskError:
    with pytest.raises(kind) as caught:
        lab.run(document)
    assert not [n for n in lab.list("datasets/") if n.endswith("manifest.json")], "nothing may be published"
    return caught.value


def test_missing_object(lab: Lab) -> None:
    error = refused(lab, ObjectNotFound, prepare(lab, s3("a", f"{lab.root}/nowhere.parquet")))
    assert error.reason == "ObjectNotFound"
    assert error.exit_code == 65
    assert error.field == "spec.inputs[0].s3.uri"
    assert "input a" in error.message
    assert f"{lab.root}/nowhere.parquet" in error.message
    refused(lab, ObjectNotFound, prepare(lab, s3("a", "s3://no-such-bucket/x.parquet")))


def test_truncated_parquet_names_the_file(lab: Lab) -> None:
    lab.put_table("in/a.parquet", rows(1000))
    whole = lab.get(f"{lab.root}/in/a.parquet")
    lab.put("in/b.parquet", whole[: len(whole) // 2])
    error = refused(lab, InvalidData, prepare(lab, s3("a", f"{lab.root}/in/")))
    assert error.reason == "DataCorrupt"
    assert f"{lab.root}/in/b.parquet" in error.message
    damaged = bytearray(whole)
    damaged[40:90] = b"\xff" * 50
    lab.put("in/b.parquet", bytes(damaged))
    error = refused(lab, InvalidData, prepare(lab, s3("a", f"{lab.root}/in/")))
    assert error.reason == "DataCorrupt"
    assert f"{lab.root}/in/b.parquet" in error.message


@pytest.mark.parametrize(
    ("form", "name", "body", "words"),
    [
        ("csv", "a.csv", (CSV + "77;U").encode(), "Line: 52"),
        ("csv", "a.csv", CSV.replace("\n7;AA;1.75\n", "\n7\n").encode(), "Line: 9"),
        ("csv", "a.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:60], "a.csv.gz"),
        ("csv", "a.csv", b"", "is empty"),
        ("jsonl", "a.jsonl", JSONL.encode()[:-9], "line 51"),
    ],
)
def test_broken_text_names_file_and_line(lab: Lab, form: str, name: str, body: bytes, words: str) -> None:
    uri = lab.put(f"in/{name}", body)
    error = refused(lab, InvalidData, prepare(lab, s3("a", uri, form)))
    assert error.reason == "DataCorrupt"
    assert uri in error.message
    assert words in error.message
    assert str(lab.work) not in error.message


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT id,\n  nosuch FROM a", "line 2, column 3"),
        ("SELEC 1", "line 1, column 1"),
        ("SELECT 'é', nosuch FROM a", "line 1, column 13"),
        ("SELECT id FROM elsewhere", "line 1, column 16"),
        ("SELECT id,\n CAST(carrier AS INTEGER) AS c FROM a", "line 2, column 2"),
        ("SELECT 1; SELECT 2", "exactly one SELECT"),
        ("DROP TABLE a", "exactly one SELECT"),
        ("COPY a TO '/tmp/x.csv'", "exactly one SELECT"),
        ("-- nothing", "exactly one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "line 1, column 15: read_csv may not be used"),
        ("SELECT * FROM read_parquet('s3://tidemill/ready')", "nothing else"),
        ("SELECT content FROM read_text('/proc/self/environ')", "nothing else"),
        ("SELECT * FROM glob('/*')", "nothing else"),
        ("SELECT getenv('AWS_SECRET_ACCESS_KEY')", "getenv"),
        ("SELECT * FROM connection", "connection"),
        ("SELECT id FROM a) UNION (SELECT 1", "line 1"),
    ],
)
def test_sql_errors_name_line_and_column_and_the_sandbox_holds(lab: Lab, sql: str, words: str) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    error = refused(lab, InvalidSpec, prepare(lab, s3("a", uri), transform={"sql": sql}))
    assert error.reason == "SQLError"
    assert error.exit_code == 64
    assert error.field == "spec.transform.sql"
    assert words in error.message, error.message
    assert "LINE" not in error.message
    assert "CREATE TABLE" not in error.message


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (
            {"sql": "SELECT *, INTERVAL (id) DAY AS age FROM a"},
            "column 'age' is interval, which parquet cannot hold: epoch(",
        ),
        ({"steps": [{"derive": {"column": "age", "expression": "[now() - now()]"}}]}, "'age' is interval[], which"),
        ({"sql": "SELECT *, union_value(k := id) AS u FROM a"}, "column 'u' is union(k bigint), which"),
    ],
)
def test_types_that_parquet_has_no_word_for(lab: Lab, transform: dict[str, Any], words: str) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    error = refused(lab, ColumnType, prepare(lab, s3("a", uri), transform=transform))
    assert words in error.message
    assert error.field == "spec.transform"
    assert error.exit_code == 65


def test_no_rows(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    error = refused(lab, DatasetEmpty, prepare(lab, s3("a", uri), transform={"sql": "FROM a WHERE false"}))
    assert error.reason == "DatasetEmpty"
    assert error.exit_code == 65
    empty = lab.put_table("b.parquet", pa.table(rows(10)).slice(0, 0))
    refused(lab, DatasetEmpty, prepare(lab, s3("a", empty)))
    one = lab.put_table("c.parquet", {"x": [1.0]})
    error = refused(lab, DatasetEmpty, prepare(lab, s3("a", one), split={"byTime": {"column": "x", "validation": 0.9}}))
    assert "no row for training" in error.message


def test_types_that_do_not_fit(lab: Lab) -> None:
    a, b = lab.put_table("a.parquet", {"x": [1, 2]}), lab.put_table("b.parquet", {"x": ["one", "two"]})
    error = refused(lab, ColumnType, prepare(lab, s3("a", a), s3("b", b)))
    assert "input b: column 'x' is varchar, but bigint in input a" in error.message
    t = lab.put_table("t.parquet", {"when": ["2020-01-01"], "x": [1]})
    error = refused(lab, ColumnType, prepare(lab, s3("t", t), split={"byTime": {"column": "when"}}))
    assert error.field == "spec.split.byTime.column"
    assert "varchar" in error.message


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"split": {"byTime": {"column": "when"}}}, "spec.split.byTime.column"),
        ({"profile": {"target": "nosuch"}}, "spec.profile.target"),
        ({"expectations": [{"name": "e", "notNull": ["nosuch"]}]}, "spec.expectations[0].notNull"),
        (
            {"expectations": [{"name": "e", "range": {"column": "nosuch", "min": 1}}]},
            "spec.expectations[0].range.column",
        ),
        ({"transform": {"steps": [{"fillNull": {"columns": ["nosuch"], "value": "1"}}]}}, "steps[0].fillNull.columns"),
        ({"transform": {"steps": [{"deduplicate": {"columns": ["nosuch"]}}]}}, "steps[0].deduplicate.columns"),
    ],
)
def test_missing_columns_name_the_field(lab: Lab, more: dict[str, Any], field: str) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    error = refused(lab, ColumnMissing, prepare(lab, s3("a", uri), **more))
    assert error.reason == "ColumnMissing"
    assert error.exit_code == 64
    assert (error.field or "").endswith(field)
    assert "id, carrier, delay" in error.message


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        ({"notNull": ["delay"]}, "column 'delay' is null in 10 of 100 rows"),
        ({"unique": ["carrier"]}, "carrier is not unique"),
        ({"range": {"column": "delay", "max": 30}}, "column 'delay' lies outside [, 30] in"),
        ({"oneOf": {"column": "carrier", "values": ["AA", "UA"]}}, "such as 'DL'"),
        ({"regex": {"column": "carrier", "pattern": "[A-C]+"}}, "does not match [A-C]+"),
        ({"rowCount": {"min": 101}}, "100 rows, fewer than 101"),
    ],
)
def test_expectations(lab: Lab, expectation: dict[str, Any], words: str) -> None:
    uri = lab.put_table("a.parquet", rows(100))
    wish = {"name": "wish", **expectation}
    error = refused(lab, ExpectationFailed, prepare(lab, s3("a", uri), expectations=[wish]))
    assert error.exit_code == 66
    assert error.message.startswith("expectation wish: ")
    assert words in error.message
    warned = lab.run(prepare(lab, s3("a", uri), expectations=[{**wish, "severity": "Warn"}]))
    assert not warned.expectations[0].passed
    assert words in warned.expectations[0].message


def test_expectations_that_hold(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(100))
    wishes = [
        {"name": "ids", "unique": ["id"]},
        {"name": "there", "notNull": ["id"]},
        {"name": "bounds", "range": {"column": "id", "min": 0, "max": 99}},
        {"name": "known", "oneOf": {"column": "carrier", "values": ["AA", "UA", "DL"]}},
        {"name": "shape", "regex": {"column": "carrier", "pattern": "[A-Z]{2}"}},
        {"name": "size", "rowCount": {"min": 100, "max": 100}},
    ]
    result = lab.run(prepare(lab, s3("a", uri), expectations=wishes))
    assert [e.passed for e in result.expectations] == [True] * 6


def test_credentials(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    for variables in (
        {"AWS_SECRET_ACCESS_KEY": "wrong"},
        {"AWS_ACCESS_KEY_ID": "nobody"},
        {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"},
    ):
        code, result, log = lab.process(prepare(lab, s3("a", uri)), **variables)
        assert code == 67, log
        assert result is not None
        assert result.type == "Failure"
        assert result.reason == "AccessDenied"
        assert "tidemill-secret" not in log
        assert "reader-secret" not in log


def test_store_that_does_not_answer_is_tried_again(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    code, result, _ = lab.process(prepare(lab, s3("a", uri)), TIDEMILL_STORE_ENDPOINT="http://127.0.0.1:9")
    assert code == 1
    assert result is not None
    assert result.type == "Failure"
    assert result.reason == "StoreUnavailable"


def test_an_input_with_its_own_secret(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    source = {"name": "a", "s3": {"uri": uri, "secretName": "partner", "endpoint": lab.seaweed.endpoint}}
    with pytest.raises(TaskError) as caught:
        lab.run(prepare(lab, source))
    assert caught.value.exit_code == 67
    assert "Secret partner" in caught.value.message
    folder = lab.environment.secret_dir / "partner"
    folder.mkdir(parents=True)
    (folder / "AWS_ACCESS_KEY_ID").write_text("tidemill\n")
    (folder / "AWS_SECRET_ACCESS_KEY").write_text("wrong\n")
    error = refused(lab, AccessDenied, prepare(lab, source))
    assert error.field == "spec.inputs[0].s3.secretName"
    assert "check the keys in Secret partner" in error.message
    (folder / "AWS_SECRET_ACCESS_KEY").write_text("tidemill-secret\n")
    assert sum(lab.run(prepare(lab, source)).rows.values()) == 10
