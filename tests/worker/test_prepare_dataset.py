"""PrepareDataset against a real store: formats, SQL, union, digests, idempotence."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pyarrow as pa
import pytest

from tidemill.contract.results import DatasetResult
from tidemill_worker.errors import (
    ColumnMissing,
    ColumnType,
    DatasetEmpty,
    ExpectationFailed,
    InvalidData,
    InvalidSpec,
    ObjectNotFound,
    TaskError,
)

from .conftest import Lab


def rows(number: int, start: int = 0) -> dict[str, Any]:
    return {
        "id": list(range(start, start + number)),
        "carrier": [("AA", "UA", "DL", None)[i % 4] for i in range(number)],
        "delay": [None if i % 10 == 3 else i * 0.5 - 7 for i in range(number)],
    }


def task(lab: Lab, *inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "PrepareDataset",
        "root": f"{lab.root}/datasets/flights",
        "inputs": list(inputs),
        "split": {"random": {"validation": 0.2, "test": 0.1, "seed": 1}},
        **more,
    }


def s3(name: str, uri: str, form: str = "parquet") -> dict[str, Any]:
    return {"name": name, "s3": {"uri": uri, "format": form}}


def test_a_version_has_all_files_and_a_useful_result(lab: Lab) -> None:
    uri = lab.put_table("in/a.parquet", rows(1000))
    result = lab.run(task(lab, s3("a", uri), profile={"target": "delay"}))
    assert isinstance(result, DatasetResult)
    assert sum(result.rows.values()) == 1000
    assert 150 < result.rows["validation"] < 250 and 60 < result.rows["test"] < 140
    assert [(c.name, c.type) for c in result.columns] == [("id", "bigint"), ("carrier", "varchar"), ("delay", "double")]
    assert result.columns[1].missing == pytest.approx(0.25) and "top AA 33%" in result.columns[1].summary
    folder = result.artifact.uri.removeprefix(lab.root + "/")
    assert folder.endswith(result.artifact.digest.removeprefix("sha256:"))
    names = [n.removeprefix(folder + "/") for n in lab.list(folder)]
    assert sorted(names) == [
        "manifest.json", "profile.html", "profile.json", "provenance.json", "schema.json", "test.parquet",
        "train.parquet", "validation.parquet",
    ]  # fmt: skip
    splits = [lab.get_table(f"{result.artifact.uri}/{s}.parquet") for s in ("train", "validation", "test")]
    assert sorted(pa.concat_tables(splits)["id"].to_pylist()) == list(range(1000))
    page = lab.get(result.profile_uri or "").decode()
    assert page.count("<svg") >= 5 and "Relation to delay" in page and "http" not in page
    provenance = lab.get_json(f"{result.artifact.uri}/provenance.json")
    assert uri in provenance["inputs"] and provenance["subjectDigest"] == result.artifact.digest


def test_equal_rows_have_an_equal_digest_whatever_order_and_files_they_came_in(lab: Lab) -> None:
    whole = pa.table(rows(3000))
    one = lab.put_table("one/a.parquet", whole)
    for i, part in enumerate([whole.slice(2000), whole.slice(500, 1500), whole.slice(0, 500)]):
        lab.put_table(f"many/{i}.parquet", part)
    first = lab.run(task(lab, s3("a", one)))
    second = lab.run({**task(lab, s3("a", f"{lab.root}/many/")), "root": f"{lab.root}/datasets/other"})
    third = lab.run(task(lab, s3("a", f"{lab.root}/many/*.parquet"), transform={"sql": "FROM a"}))
    assert first.artifact.digest == second.artifact.digest == third.artifact.digest
    different = lab.run(task(lab, s3("a", one), split={"random": {"seed": 2}}))
    assert different.artifact.digest != first.artifact.digest


def test_the_same_task_again_does_no_work(lab: Lab) -> None:
    uri = lab.put_table("in/a.parquet", rows(100))
    first = lab.run(task(lab, s3("a", uri)))
    lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(uri))
    assert lab.run(task(lab, s3("a", uri))) == first


def test_a_record_whose_artifact_is_gone_is_made_again(lab: Lab) -> None:
    uri = lab.put_table("in/a.parquet", rows(100))
    first = lab.run(task(lab, s3("a", uri)))
    for name in lab.list("datasets/flights/" + first.artifact.digest.removeprefix("sha256:")):
        lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(f"{lab.root}/{name}"))
    assert lab.run(task(lab, s3("a", uri))) == first
    assert lab.get_json(f"{first.artifact.uri}/manifest.json")["kind"] == "dataset"


CSV = "id;carrier;delay\n" + "".join(f"{i};{'AA' if i % 2 else 'UA'};{i / 4}\n" for i in range(50))
JSONL = "".join(json.dumps({"id": i, "carrier": "AA", "delay": i / 4}) + "\n" for i in range(50))


@pytest.mark.parametrize(
    ("form", "name", "body"),
    [
        ("csv", "a.csv", CSV.encode()),
        ("csv", "a.csv.gz", gzip.compress(CSV.encode())),
        ("jsonl", "a.jsonl", JSONL.encode()),
        ("jsonl", "a.jsonl.gz", gzip.compress(JSONL.encode())),
    ],
)
def test_text_formats(lab: Lab, form: str, name: str, body: bytes) -> None:
    result = lab.run(task(lab, s3("a", lab.put(f"in/{name}", body), form)))
    assert sum(result.rows.values()) == 50
    assert [(c.name, c.type) for c in result.columns] == [("id", "bigint"), ("carrier", "varchar"), ("delay", "double")]


def test_sql_sees_all_inputs(lab: Lab) -> None:
    a, b = lab.put_table("a.parquet", rows(10)), lab.put_table("b.parquet", {"carrier": ["AA"], "name": ["American"]})
    sql = "SELECT id, name,\n delay * 2 AS twice FROM a JOIN b USING (carrier);"
    result = lab.run(task(lab, s3("a", a), s3("b", b), transform={"sql": sql}, split={"random": {"test": 0}}))
    assert [c.name for c in result.columns] == ["id", "name", "twice"] and sum(result.rows.values()) == 3


def test_union_takes_the_first_inputs_columns_and_bookkeeping(lab: Lab) -> None:
    a = lab.put_table("a.parquet", {"id": pa.array([1, 2], pa.int64()), "late": [True, False], "x": [1.0, 2.0]})
    b = lab.put_table(
        "b.parquet",
        {
            "id": pa.array([3.0], pa.float32()),
            "late": pa.array([1.0], pa.float32()),
            "other": ["dropped"],
            "_tidemill_version": [7],
        },
    )
    result = lab.run(task(lab, s3("a", a), s3("b", b), split={"byTime": {"column": "id", "testRows": 1}}))
    assert [(c.name, c.type) for c in result.columns] == [
        ("id", "bigint"),
        ("late", "boolean"),
        ("x", "double"),
        ("_tidemill_version", "bigint"),
    ]
    assert lab.get_table(f"{result.artifact.uri}/test.parquet").to_pylist() == [
        {"id": 3, "late": True, "x": None, "_tidemill_version": 7}
    ]


def test_a_dataset_can_be_an_input(lab: Lab) -> None:
    first = lab.run(task(lab, s3("a", lab.put_table("a.parquet", rows(200)))))
    again = {"name": "base", "dataset": first.artifact.model_dump()}
    more = s3("more", lab.put_table("b.parquet", rows(50, start=200)))
    second = lab.run({**task(lab, again, more), "root": f"{lab.root}/datasets/second"})
    assert sum(second.rows.values()) == 250
    only = lab.run({**task(lab, again), "root": f"{lab.root}/datasets/third"})
    assert only.artifact.digest == first.artifact.digest


def test_nan_is_missing(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", {"x": [1.0, float("nan"), 3.0, None] * 5})
    result = lab.run(task(lab, s3("a", uri)))
    assert result.columns[0].missing == 0.5 and "mean 2" in result.columns[0].summary


def test_split_by_time(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", {"t": list(reversed(range(100))), "x": list(range(100))})
    result = lab.run(task(lab, s3("a", uri), split={"byTime": {"column": "t", "testRows": 20, "validation": 0.25}}))
    assert result.rows == {"train": 60, "validation": 20, "test": 20}
    by_split = {s: lab.get_table(f"{result.artifact.uri}/{s}.parquet")["t"].to_pylist() for s in result.rows}
    assert by_split == {"train": list(range(60)), "validation": list(range(60, 80)), "test": list(range(80, 100))}


def refused(lab: Lab, kind: type[TaskError], document: dict[str, Any]) -> TaskError:
    with pytest.raises(kind) as caught:
        lab.run(document)
    assert not [n for n in lab.list("datasets/") if n.endswith("manifest.json")], "nothing may be published"
    return caught.value


def test_missing_object(lab: Lab) -> None:
    error = refused(lab, ObjectNotFound, task(lab, s3("a", f"{lab.root}/nowhere.parquet")))
    assert error.reason == "ObjectNotFound" and error.exit_code == 65 and error.field == "spec.inputs[0].s3.uri"
    assert "input a" in error.message and f"{lab.root}/nowhere.parquet" in error.message
    refused(lab, ObjectNotFound, task(lab, s3("a", "s3://no-such-bucket/x.parquet")))


def test_truncated_parquet_names_the_file(lab: Lab) -> None:
    lab.put_table("in/a.parquet", rows(1000))
    whole = lab.get(f"{lab.root}/in/a.parquet")
    lab.put("in/b.parquet", whole[: len(whole) // 2])
    error = refused(lab, InvalidData, task(lab, s3("a", f"{lab.root}/in/")))
    assert error.reason == "DataCorrupt" and f"{lab.root}/in/b.parquet" in error.message
    damaged = bytearray(whole)
    damaged[40:90] = b"\xff" * 50
    lab.put("in/b.parquet", bytes(damaged))
    error = refused(lab, InvalidData, task(lab, s3("a", f"{lab.root}/in/")))
    assert error.reason == "DataCorrupt" and f"{lab.root}/in/b.parquet" in error.message


@pytest.mark.parametrize(
    ("form", "name", "body", "words"),
    [
        ("csv", "a.csv", (CSV + "77;U").encode(), "Line: 52"),
        ("csv", "a.csv", CSV.replace("\n7;AA;1.75\n", "\n7\n").encode(), "Line: 9"),
        ("csv", "a.csv.gz", gzip.compress(CSV.encode())[:60], "a.csv.gz"),
        ("csv", "a.csv", b"", "is empty"),
        ("jsonl", "a.jsonl", JSONL.encode()[:-9], "line 51"),
    ],
)
def test_broken_text_names_file_and_line(lab: Lab, form: str, name: str, body: bytes, words: str) -> None:
    uri = lab.put(f"in/{name}", body)
    error = refused(lab, InvalidData, task(lab, s3("a", uri, form)))
    assert error.reason == "DataCorrupt" and uri in error.message and words in error.message
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
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled"),
        ("SELECT * FROM read_parquet('s3://tidemill/ready')", "disabled"),
        ("SELECT content FROM read_text('/proc/self/environ')", "disabled"),
        ("SELECT * FROM glob('/*')", "disabled"),
        ("SELECT getenv('AWS_SECRET_ACCESS_KEY')", "getenv"),
        ("SELECT * FROM connection", "connection"),
        ("SELECT id FROM a) UNION (SELECT 1", "line 1"),
    ],
)
def test_sql_errors_name_line_and_column_and_the_sandbox_holds(lab: Lab, sql: str, words: str) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    error = refused(lab, InvalidSpec, task(lab, s3("a", uri), transform={"sql": sql}))
    assert error.reason == "SQLError" and error.exit_code == 64 and error.field == "spec.transform.sql"
    assert words in error.message, error.message
    assert "LINE" not in error.message and "CREATE TABLE" not in error.message


def test_no_rows(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    error = refused(lab, DatasetEmpty, task(lab, s3("a", uri), transform={"sql": "FROM a WHERE false"}))
    assert error.reason == "DatasetEmpty" and error.exit_code == 65
    empty = lab.put_table("b.parquet", pa.table(rows(10)).slice(0, 0))
    refused(lab, DatasetEmpty, task(lab, s3("a", empty)))
    one = lab.put_table("c.parquet", {"x": [1.0]})
    error = refused(lab, DatasetEmpty, task(lab, s3("a", one), split={"byTime": {"column": "x", "validation": 0.9}}))
    assert "no row for training" in error.message


def test_types_that_do_not_fit(lab: Lab) -> None:
    a, b = lab.put_table("a.parquet", {"x": [1, 2]}), lab.put_table("b.parquet", {"x": ["one", "two"]})
    error = refused(lab, ColumnType, task(lab, s3("a", a), s3("b", b)))
    assert "input b: column 'x' is varchar, but bigint in input a" in error.message
    t = lab.put_table("t.parquet", {"when": ["2020-01-01"], "x": [1]})
    error = refused(lab, ColumnType, task(lab, s3("t", t), split={"byTime": {"column": "when"}}))
    assert error.field == "spec.split.byTime.column" and "varchar" in error.message


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
    error = refused(lab, ColumnMissing, task(lab, s3("a", uri), **more))
    assert error.reason == "ColumnMissing" and error.exit_code == 64
    assert (error.field or "").endswith(field) and "id, carrier, delay" in error.message


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        ({"notNull": ["delay"]}, "column 'delay' is null in 10 of 100 rows"),
        ({"unique": ["carrier"]}, "carrier together are not unique"),
        ({"range": {"column": "delay", "max": 30}}, "column 'delay' lies outside [, 30] in"),
        ({"oneOf": {"column": "carrier", "values": ["AA", "UA"]}}, "such as 'DL'"),
        ({"regex": {"column": "carrier", "pattern": "[A-C]+"}}, "does not match [A-C]+"),
        ({"rowCount": {"min": 101}}, "100 rows, fewer than 101"),
    ],
)
def test_expectations(lab: Lab, expectation: dict[str, Any], words: str) -> None:
    uri = lab.put_table("a.parquet", rows(100))
    wish = {"name": "wish", **expectation}
    error = refused(lab, ExpectationFailed, task(lab, s3("a", uri), expectations=[wish]))
    assert error.exit_code == 66 and error.message.startswith("expectation wish: ") and words in error.message
    warned = lab.run(task(lab, s3("a", uri), expectations=[{**wish, "severity": "Warn"}]))
    assert not warned.expectations[0].passed and words in warned.expectations[0].message


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
    result = lab.run(task(lab, s3("a", uri), expectations=wishes))
    assert [e.passed for e in result.expectations] == [True] * 6


def test_credentials(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    for variables in (
        {"AWS_SECRET_ACCESS_KEY": "wrong"},
        {"AWS_ACCESS_KEY_ID": "nobody"},
        {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"},
    ):
        code, result, log = lab.process(task(lab, s3("a", uri)), **variables)
        assert code == 67 and result is not None and result.type == "Failure" and result.reason == "AccessDenied", log
        assert "tidemill-secret" not in log and "reader-secret" not in log


def test_store_that_does_not_answer_is_tried_again(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    code, result, _ = lab.process(task(lab, s3("a", uri)), TIDEMILL_STORE_ENDPOINT="http://127.0.0.1:9")
    assert code == 1 and result is not None and result.type == "Failure" and result.reason == "StoreUnavailable"


def test_an_input_with_its_own_secret(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    source = {"name": "a", "s3": {"uri": uri, "secretName": "partner", "endpoint": lab.seaweed.endpoint}}
    with pytest.raises(TaskError) as caught:
        lab.run(task(lab, source))
    assert caught.value.exit_code == 67 and "Secret partner" in caught.value.message
    folder = lab.environment.secret_dir / "partner"
    folder.mkdir(parents=True)
    (folder / "AWS_ACCESS_KEY_ID").write_text("tidemill\n")
    (folder / "AWS_SECRET_ACCESS_KEY").write_text("tidemill-secret\n")
    assert sum(lab.run(task(lab, source)).rows.values()) == 10
