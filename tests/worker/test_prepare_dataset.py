"""PrepareDataset against a real store: formats, SQL, union, digests, idempotence."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pytest

from tidemill.contract.results import DatasetResult

from .lab import Lab
from .samples import CSV, JSONL, prepare, rows, s3


def test_a_version_has_all_files_and_a_useful_result(lab: Lab) -> None:
    uri = lab.put_table("in/a.parquet", rows(1000))
    result = lab.run(prepare(lab, s3("a", uri), profile={"target": "delay"}))
    assert isinstance(result, DatasetResult)
    assert sum(result.rows.values()) == 1000
    assert 150 < result.rows["validation"] < 250
    assert 60 < result.rows["test"] < 140
    assert [(c.name, c.type) for c in result.columns] == [("id", "bigint"), ("carrier", "varchar"), ("delay", "double")]
    assert result.columns[1].missing == pytest.approx(0.25)
    assert "top AA 33%" in result.columns[1].summary
    folder = result.artifact.uri.removeprefix(lab.root + "/")
    assert folder.endswith(result.artifact.digest.removeprefix("sha256:"))
    names = [n.removeprefix(folder + "/") for n in lab.list(folder)]
    assert sorted(n for n in names if not n.startswith("profile/")) == [
        "explore.ipynb", "manifest.json", "profile.html", "profile.json", "provenance.json", "schema.json", "test.parquet",
        "train.parquet", "validation.parquet",
    ]  # fmt: skip
    assert "profile/column-003-delay.png" in names
    splits = [lab.get_table(f"{result.artifact.uri}/{s}.parquet") for s in ("train", "validation", "test")]
    assert sorted(pa.concat_tables(splits)["id"].to_pylist()) == list(range(1000))
    page = lab.get(result.profile_uri or "").decode()
    assert page.count("<svg") >= 5
    assert "Target: delay" in page
    assert "http" not in page
    provenance = lab.get_json(f"{result.artifact.uri}/provenance.json")
    assert uri in provenance["inputs"]
    assert provenance["subjectDigest"] == result.artifact.digest


def test_equal_rows_have_an_equal_digest_whatever_order_and_files_they_came_in(lab: Lab) -> None:
    whole = pa.table(rows(3000))
    one = lab.put_table("one/a.parquet", whole)
    for i, part in enumerate([whole.slice(2000), whole.slice(500, 1500), whole.slice(0, 500)]):
        lab.put_table(f"many/{i}.parquet", part)
    first = lab.run(prepare(lab, s3("a", one)))
    second = lab.run({**prepare(lab, s3("a", f"{lab.root}/many/")), "root": f"{lab.root}/datasets/other"})
    third = lab.run(prepare(lab, s3("a", f"{lab.root}/many/*.parquet"), transform={"sql": "FROM a"}))
    assert first.artifact.digest == second.artifact.digest == third.artifact.digest
    different = lab.run(prepare(lab, s3("a", one), split={"random": {"seed": 2}}))
    assert different.artifact.digest != first.artifact.digest


def test_the_same_task_again_does_no_work(lab: Lab) -> None:
    uri = lab.put_table("in/a.parquet", rows(100))
    first = lab.run(prepare(lab, s3("a", uri)))
    lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(uri))
    assert lab.run(prepare(lab, s3("a", uri))) == first


def test_a_record_whose_artifact_is_gone_is_made_again(lab: Lab) -> None:
    uri = lab.put_table("in/a.parquet", rows(100))
    first = lab.run(prepare(lab, s3("a", uri)))
    for name in lab.list("datasets/flights/" + first.artifact.digest.removeprefix("sha256:")):
        lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(f"{lab.root}/{name}"))
    assert lab.run(prepare(lab, s3("a", uri))) == first
    assert lab.get_json(f"{first.artifact.uri}/manifest.json")["kind"] == "dataset"


@pytest.mark.parametrize(
    ("form", "name", "body"),
    [
        ("csv", "a.csv", CSV.encode()),
        ("csv", "a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("jsonl", "a.jsonl", JSONL.encode()),
        ("jsonl", "a.jsonl.gz", gzip.compress(JSONL.encode(), mtime=0)),
    ],
)
def test_text_formats(lab: Lab, form: str, name: str, body: bytes) -> None:
    result = lab.run(prepare(lab, s3("a", lab.put(f"in/{name}", body), form)))
    assert sum(result.rows.values()) == 50
    assert [(c.name, c.type) for c in result.columns] == [("id", "bigint"), ("carrier", "varchar"), ("delay", "double")]


def test_sql_sees_all_inputs(lab: Lab) -> None:
    a, b = lab.put_table("a.parquet", rows(10)), lab.put_table("b.parquet", {"carrier": ["AA"], "name": ["American"]})
    sql = "SELECT id, name,\n delay * 2 AS twice FROM a JOIN b USING (carrier);"
    result = lab.run(prepare(lab, s3("a", a), s3("b", b), transform={"sql": sql}, split={"random": {"test": 0}}))
    assert [c.name for c in result.columns] == ["id", "name", "twice"]
    assert sum(result.rows.values()) == 3


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
    result = lab.run(prepare(lab, s3("a", a), s3("b", b), split={"byTime": {"column": "id", "testRows": 1}}))
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
    first = lab.run(prepare(lab, s3("a", lab.put_table("a.parquet", rows(200)))))
    again = {"name": "base", "dataset": first.artifact.model_dump()}
    more = s3("more", lab.put_table("b.parquet", rows(50, start=200)))
    second = lab.run({**prepare(lab, again, more), "root": f"{lab.root}/datasets/second"})
    assert sum(second.rows.values()) == 250
    only = lab.run({**prepare(lab, again), "root": f"{lab.root}/datasets/third"})
    assert only.artifact.digest == first.artifact.digest


def test_nan_is_missing(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", {"x": [1.0, float("nan"), 3.0, None] * 5})
    result = lab.run(prepare(lab, s3("a", uri)))
    assert result.columns[0].missing == 0.5
    assert "mean 2" in result.columns[0].summary


def test_nan_of_a_transform_is_missing(lab: Lab) -> None:
    """Else it would pass for a value: `notNull` would hold, and `range` with `min` alone."""
    uri = lab.put_table("a.parquet", {"a": [0.0, 1.0, -1.0, None] * 5, "b": [0.0, 2.0, 0.0, 1.0] * 5})
    wish = {"name": "there", "severity": "Warn", "notNull": ["r"]}
    for transform in (
        {"sql": "SELECT *, a / b AS r FROM x"},
        {"steps": [{"derive": {"column": "r", "expression": "a / b"}}]},
    ):
        result = lab.run(prepare(lab, s3("x", uri), transform=transform, expectations=[wish]))
        assert result.expectations[0].violations == 10, "0 / 0 and null / 1"
        splits = [lab.get_table(f"{result.artifact.uri}/{name}.parquet")["r"].to_pylist() for name in result.rows]
        assert sorted({str(value) for column in splits for value in column}) == ["-inf", "0.5", "None"]


def test_numbers_that_are_not_whole_widen_the_first_inputs_type(lab: Lab) -> None:
    """Infinity and 1e30 equal their own rounding, but are no 64 bits wide."""
    a = lab.put_table("a.parquet", {"n": pa.array([1, 2], pa.int64())})
    for number in (float("inf"), 1e30, -1e19, 2.5):
        b = lab.put_table("b.parquet", {"n": [3.0, number, None]})
        result = lab.run(
            {
                **prepare(lab, s3("a", a), s3("b", b), split={"random": {"validation": 0, "test": 0}}),
                "occasion": str(number),
            }
        )
        assert [c.type for c in result.columns] == ["double"]
        found = lab.get_table(f"{result.artifact.uri}/train.parquet")["n"].to_pylist()
        assert sorted(v for v in found if v is not None) == sorted([1.0, 2.0, 3.0, number])


ODD_NAMES = [
    "with space",
    "plus+and&",
    "hash#1",
    "percent%20",
    "question",
    "ümläut ✓",
    "a=b,c;d",
    "quote's",
    "[x]{y}",
]


def test_keys_of_objects_may_hold_any_character(lab: Lab) -> None:
    for number, name in enumerate(ODD_NAMES):
        lab.put_table(f"in/{name}/part {number}.parquet", {"id": [number], "name": [name]})
    whole = lab.run(prepare(lab, s3("a", f"{lab.root}/in/"), split={"random": {"validation": 0, "test": 0}}))
    found = lab.get_table(f"{whole.artifact.uri}/train.parquet").to_pylist()
    assert {row["id"]: row["name"] for row in found} == dict(enumerate(ODD_NAMES))
    read = lab.get_json(f"{whole.artifact.uri}/provenance.json")["inputs"]
    assert sorted(read) == sorted(f"{lab.root}/in/{name}/part {i}.parquet" for i, name in enumerate(ODD_NAMES))
    for number, name in enumerate(ODD_NAMES):
        one = prepare(lab, s3("a", f"{lab.root}/in/{name}/*.parquet"), split={"random": {"validation": 0, "test": 0}})
        assert lab.run(one).rows["train"] == 1, (number, name)


def test_split_by_time(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", {"t": list(reversed(range(100))), "x": list(range(100))})
    result = lab.run(prepare(lab, s3("a", uri), split={"byTime": {"column": "t", "testRows": 20, "validation": 0.25}}))
    assert result.rows == {"train": 60, "validation": 20, "test": 20}
    by_split = {s: lab.get_table(f"{result.artifact.uri}/{s}.parquet")["t"].to_pylist() for s in result.rows}
    assert by_split == {"train": list(range(60)), "validation": list(range(60, 80)), "test": list(range(80, 100))}


def test_columns_may_be_named_as_the_profiles_own_sql_names_things(lab: Lab) -> None:
    names = ("b", "n", "v", "x", "y", "rows")
    table = {name: [float((i * 7 + k) % 50) for i in range(200)] for k, name in enumerate(names)}
    uri = lab.put_table("in/a.parquet", pa.table({**table, "text": [f"t{i % 3}" for i in range(200)]}))
    unique = [{"name": "unique", "severity": "Warn", "unique": ["n", "b"]}]
    result = lab.run(prepare(lab, s3("a", uri), profile={"target": "y"}, expectations=unique))
    profile = lab.get_json(f"{result.artifact.uri}/profile.json")
    histograms = {c["name"]: c["histogram"]["counts"] for c in profile["columns"] if "histogram" in c}
    assert {name: sum(counts) for name, counts in histograms.items()} == dict.fromkeys(names, 200)
    assert not result.expectations[0].passed
