"""Quarantine: bad rows leave the dataset before the split, and lie beside it with what is wrong with them."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from tidemill.contract.tasks import TASK
from tidemill_worker.errors import ExpectationFailed, InvalidSpec
from tidemill_worker.tasks import run

from .lab import OWNER, Lab
from .samples import prepare, rows, s3

Document = dict[str, Any]
SPLITS = ("train", "validation", "test")


def take(name: str, **kind: Any) -> Document:
    return {"name": name, "severity": "Quarantine", **kind}


def kept(lab: Lab, result: Any) -> list[Document]:
    tables = [lab.get_table(f"{result.artifact.uri}/{split}.parquet") for split in SPLITS]
    found: list[Document] = pa.concat_tables(tables).to_pylist()
    return found


def taken(lab: Lab, result: Any) -> list[Document]:
    found: list[Document] = lab.get_table(f"{result.artifact.uri}/quarantine.parquet").to_pylist()
    return found


def test_bad_rows_are_taken_out_and_say_all_that_is_wrong(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(100))
    wishes = [
        take("known", oneOf={"column": "carrier", "values": ["AA", "UA"]}),
        take("there", notNull=["delay", "carrier"]),
        take("early", range={"column": "delay", "max": 40}),
        {"name": "all-there", "notNull": ["delay", "carrier"]},
        {"name": "size", "rowCount": {"max": 45}},
    ]
    result = lab.run(prepare(lab, s3("a", uri), expectations=wishes))
    good = [r for r in pa.table(rows(100)).to_pylist() if r["carrier"] in ("AA", "UA") and r["delay"] is not None]
    good = [r for r in good if r["delay"] <= 40]
    assert sorted(r["id"] for r in kept(lab, result)) == [r["id"] for r in good]
    assert result.quarantined == 100 - len(good)
    assert sum(result.rows.values()) == len(good)
    bad = {r["id"]: r for r in taken(lab, result)}
    assert len(bad) == result.quarantined
    assert bad[98] == {
        "id": 98,
        "carrier": "DL",
        "delay": 42.0,
        "_tidemill_expectation": "known, early",
        "_tidemill_reason": "column 'carrier' is not one of the allowed values: DL; column 'delay' lies outside [, 40]: 42.0",
    }
    assert bad[3]["_tidemill_expectation"] == "there"
    assert bad[3]["_tidemill_reason"] == "column 'delay' is null; column 'carrier' is null"
    known, there, early, all_there, size = result.expectations
    assert (known.passed, known.violations, known.rows, known.severity) == (False, 25, 100, "Quarantine")
    assert (there.violations, early.violations) == (30, 5)
    assert (all_there.passed, all_there.rows) == (True, len(good)), "checked on what is left"
    assert (size.passed, size.rows) == (True, len(good))
    document = lab.get_json(f"{result.artifact.uri}/expectations.json")
    assert document["quarantined"] == result.quarantined


def test_the_schema_of_the_dataset_stays_and_the_profile_is_of_what_is_left(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(100))
    result = lab.run(prepare(lab, s3("a", uri), expectations=[take("there", notNull=["delay"])]))
    assert [c.name for c in result.columns] == ["id", "carrier", "delay"]
    assert next(c for c in result.columns if c.name == "delay").missing == 0
    assert lab.get_json(f"{result.artifact.uri}/schema.json")["rows"] == result.rows


def test_nothing_bad_leaves_no_file(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(100))
    result = lab.run(prepare(lab, s3("a", uri), expectations=[take("there", notNull=["id"])]))
    assert result.quarantined == 0
    assert not [n for n in lab.list("datasets/") if n.endswith("quarantine.parquet")]


def test_unique_keeps_the_first_whatever_order_the_files_have(lab: Lab) -> None:
    table = [{"key": i % 40, "x": i, "bad": i < 40 and i % 2 == 0} for i in range(100)]
    wishes = [
        take("one", unique=["key"]),
        take("good", oneOf={"column": "bad", "values": ["false"]}),
    ]
    results = []
    for seed in range(2):
        random.Random(seed).shuffle(table)
        uri = lab.put_table(f"{seed}/a.parquet", pa.Table.from_pylist(table))
        results.append(
            lab.run({**prepare(lab, s3("a", uri), expectations=wishes), "root": f"{lab.root}/datasets/{seed}"})
        )
    assert results[0].artifact.digest == results[1].artifact.digest
    found = {r["key"]: r["x"] for r in kept(lab, results[0])}
    # of even keys the first row is bad, and a bad row is nobody's original
    assert found == {key: key if key % 2 else key + 40 for key in range(40)}
    reasons = {r["_tidemill_reason"] for r in taken(lab, results[0]) if r["_tidemill_expectation"] == "one"}
    assert reasons <= {f"another row has the same key: {key}" for key in range(40)}
    one, good = results[0].expectations
    assert (one.violations, good.violations) == (40, 20)
    assert one.message == "key is not unique: 40 rows repeat 30 others"


def test_rows_without_a_match_go(lab: Lab) -> None:
    a, b = lab.put_table("a.parquet", rows(100)), lab.put_table("b.parquet", {"name": ["AA", "UA"]})
    expected = take("airline", referential={"input": "b", "columns": ["carrier"], "references": ["name"]})
    document = prepare(lab, s3("a", a), s3("b", b), transform={"sql": "FROM a"}, expectations=[expected])
    result = lab.run(document)
    assert {r["carrier"] for r in kept(lab, result)} == {"AA", "UA", None}
    assert {r["_tidemill_reason"] for r in taken(lab, result)} == {"column 'carrier' has no match in input b: DL"}


def test_regex_and_long_values(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", {"id": range(51), "text": ["fine"] * 50 + ["x" * 5000]})
    expected = take("short", regex={"column": "text", "pattern": "[a-z]{1,10}"})
    result = lab.run(prepare(lab, s3("a", uri), expectations=[expected]))
    (bad,) = taken(lab, result)
    assert bad["text"] == "x" * 5000
    assert len(bad["_tidemill_reason"]) < 200
    assert len(result.expectations[0].message) < 250


@pytest.mark.parametrize(("share", "fails"), [(0.099, True), (0.1, False)])
def test_more_than_the_bound_fails(lab: Lab, share: float, fails: bool) -> None:
    uri = lab.put_table("a.parquet", rows(100))
    document = prepare(lab, s3("a", uri), expectations=[take("there", notNull=["delay"])], maxQuarantined=share)
    if not fails:
        assert lab.run(document).quarantined == 10
        return
    with pytest.raises(ExpectationFailed) as caught:
        lab.run(document)
    assert caught.value.field == "spec.maxQuarantined"
    assert caught.value.exit_code == 66
    assert "10 of 100 rows (10.00%) would be quarantined, more than spec.maxQuarantined allows (9.90%)" in str(
        caught.value
    )
    assert "expectation there: column 'delay' is null in 10 of 100 rows" in str(caught.value)
    assert not lab.list("datasets/")


def test_all_rows_bad_is_an_error(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(20))
    wishes = [take("none", range={"column": "id", "max": 9}), take("either", range={"column": "id", "min": 10})]
    with pytest.raises(ExpectationFailed, match="all 20 rows would be quarantined: expectation none: ") as caught:
        lab.run(prepare(lab, s3("a", uri), expectations=wishes, maxQuarantined=1))
    assert caught.value.field == "spec.expectations"
    assert not lab.list("datasets/")


def test_a_wrong_pattern_is_named(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(20))
    wishes = [take("there", notNull=["id"]), take("shape", regex={"column": "carrier", "pattern": "["})]
    with pytest.raises(InvalidSpec, match="expectation shape: ") as caught:
        lab.run(prepare(lab, s3("a", uri), expectations=wishes))
    assert caught.value.field == "spec.expectations[1].regex.pattern"


def test_a_quarantine_as_input_must_lose_its_own_columns(lab: Lab) -> None:
    wishes = [take("there", notNull=["delay"])]
    first = lab.run(prepare(lab, s3("a", lab.put_table("a.parquet", rows(100))), expectations=wishes))
    bad = f"{first.artifact.uri}/quarantine.parquet"
    with pytest.raises(InvalidSpec, match="a column '_tidemill_expectation', which is what quarantine adds"):
        lab.run(prepare(lab, s3("a", bad), expectations=wishes))
    sql = "SELECT id, carrier, 0.0 AS delay FROM a"
    mended = lab.run(prepare(lab, s3("a", bad), expectations=wishes, transform={"sql": sql}))
    assert sum(mended.rows.values()) == 10


def test_a_users_trainer_does_not_get_to_see_bad_rows(lab: Lab) -> None:
    result = lab.run(
        prepare(lab, s3("a", lab.put_table("a.parquet", rows(100))), expectations=[take("e", notNull=["delay"])])
    )
    task = {"type": "FetchDataset", "owner": OWNER, "dataset": result.artifact.model_dump(), "runRoot": lab.root}
    fetched = run(TASK.validate_python(task), lab.context())
    names = sorted(path.name for path in (lab.environment.work_dir / "input").rglob("*") if path.is_file())
    assert "quarantine.parquet" not in names
    assert "train.parquet" in names
    assert len(names) == fetched.files  # type: ignore[union-attr]


def test_the_same_on_any_machine(lab: Lab) -> None:
    whole = pa.table(rows(3000))
    wishes = [take("there", notNull=["delay"]), take("one", unique=["carrier", "delay"])]
    one = lab.put_table("one/a.parquet", whole)
    for i, part in enumerate([whole.slice(2000), whole.slice(0, 2000)]):
        lab.put_table(f"many/{i}.parquet", part)
    first = lab.run(prepare(lab, s3("a", one), expectations=wishes))
    second = lab.run({**prepare(lab, s3("a", f"{lab.root}/many/"), expectations=wishes), "root": f"{lab.root}/other"})
    assert first.artifact.digest == second.artifact.digest
