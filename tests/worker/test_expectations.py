"""Expectations on real data: what each finds, what the report says, and what may not decide the artifact's digest."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pytest

from tidemill.contract.expectations import Expectation
from tidemill.contract.results import RESULT, DatasetResult, ExpectationResult
from tidemill.contract.tasks import ArtifactRef
from tidemill_worker import termination
from tidemill_worker.data import expectations
from tidemill_worker.errors import ColumnMissing, ColumnType, ExpectationFailed, InvalidSpec, TaskError

from .lab import Lab
from .samples import prepare, rows, s3

Document = dict[str, Any]


def wish(**fields: Any) -> Document:
    return {"name": "wish", **fields}


def report(lab: Lab, uri: str) -> Document:
    document: Document = lab.get_json(f"{uri}/expectations.json")
    return document


def refused(lab: Lab, kind: type[TaskError], document: Document) -> TaskError:
    with pytest.raises(kind) as caught:
        lab.run(document)
    assert not [n for n in lab.list("datasets/") if n.endswith("manifest.json")], "nothing may be published"
    return caught.value


def test_results_say_how_many_of_how_many(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(100))
    wishes = [
        {"name": "there", "notNull": ["delay", "carrier"], "severity": "Warn"},
        {"name": "ids", "unique": ["id"]},
        {"name": "size", "rowCount": {"min": 1}},
    ]
    result = lab.run(prepare(lab, s3("a", uri), expectations=wishes))
    there, ids, size = result.expectations
    assert (there.passed, there.violations, there.rows) == (False, 30, 100), "rows, not values: 5 lack both"
    assert there.message == "column 'delay' is null in 10 of 100 rows; column 'carrier' is null in 25 of 100 rows"
    assert (ids.passed, ids.violations, ids.rows, ids.message) == (True, 0, 100, "")
    assert (size.passed, size.violations, size.rows) == (True, None, 100)
    assert result.quarantined is None
    document = report(lab, result.artifact.uri)
    assert [e["kind"] for e in document["expectations"]] == ["notNull", "unique", "rowCount"]
    assert document["expectations"][0] == {
        "name": "there",
        "kind": "notNull",
        "severity": "Warn",
        "rows": 100,
        "violations": 30,
        "passed": False,
        "message": there.message,
    }


def test_a_version_without_expectations_has_no_report(lab: Lab) -> None:
    result = lab.run(prepare(lab, s3("a", lab.put_table("a.parquet", rows(100)))))
    assert not lab.list(f"{result.artifact.uri.removeprefix(lab.root + '/')}/expectations.json")


REFERENCED = {"name": ["AA", "UA", None], "code": [0, 1, 3]}


@pytest.mark.parametrize(
    ("referential", "words", "violations"),
    [
        ({"columns": ["carrier"], "references": ["name"]}, "column 'carrier' has no match in input airlines in 25", 25),
        (
            {"columns": ["id"], "references": ["code"]},
            "column 'id' has no match in input airlines in 97 of 100 rows",
            97,
        ),
        (
            {"columns": ["carrier", "id"], "references": ["name", "code"]},
            "columns 'carrier', 'id' have no match in input airlines in 73 of 100 rows, such as 'AA, 12'",
            73,  # AA 0 and UA 1 have theirs; 25 rows have no carrier, and pass as by a foreign key
        ),
    ],
)
def test_referential(lab: Lab, referential: Document, words: str, violations: int) -> None:
    a, b = lab.put_table("a.parquet", rows(100)), lab.put_table("b.parquet", REFERENCED)
    expected = wish(severity="Warn", referential={"input": "airlines", **referential})
    document = prepare(lab, s3("flights", a), s3("airlines", b), transform={"sql": "FROM flights"})
    (result,) = lab.run({**document, "expectations": [expected]}).expectations
    assert (result.passed, result.violations) == (False, violations)
    assert result.message.startswith(words)


def test_references_default_to_the_same_names(lab: Lab) -> None:
    a, b = lab.put_table("a.parquet", rows(100)), lab.put_table("b.parquet", {"carrier": ["AA", "UA", "DL"]})
    document = prepare(lab, s3("flights", a), s3("airlines", b), transform={"sql": "FROM flights"})
    expected = wish(referential={"input": "airlines", "columns": ["carrier"]})
    assert lab.run({**document, "expectations": [expected]}).expectations[0].passed


@pytest.mark.parametrize(
    ("referential", "kind", "field", "words"),
    [
        ({"input": "elsewhere", "columns": ["id"]}, InvalidSpec, "input", "there is no input 'elsewhere'"),
        ({"input": "b", "columns": ["nosuch"], "references": ["code"]}, ColumnMissing, "columns", "id, carrier, delay"),
        ({"input": "b", "columns": ["id"]}, ColumnMissing, "references", "its columns are name, code"),
        (
            {"input": "b", "columns": ["carrier"], "references": ["code"]},
            ColumnType,
            "columns",
            "is varchar, but 'code'",
        ),
    ],
)
def test_what_a_reference_can_lack(
    lab: Lab, referential: Document, kind: type[TaskError], field: str, words: str
) -> None:
    a, b = lab.put_table("a.parquet", rows(10)), lab.put_table("b.parquet", REFERENCED)
    document = prepare(lab, s3("a", a), s3("b", b), transform={"sql": "FROM a"})
    error = refused(lab, kind, {**document, "expectations": [wish(referential=referential)]})
    assert error.field == f"spec.expectations[0].referential.{field}"
    assert "expectation wish" in error.message
    assert words in error.message


NOW = datetime(2026, 1, 31, tzinfo=UTC)


def fresh(rows: list[str | None], max_age: str, kind: str = "TIMESTAMP") -> Any:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f'CREATE TABLE t ("at" {kind})')
    connection.executemany("INSERT INTO t VALUES (?)", [[r] for r in rows])
    expected = Expectation.model_validate(
        wish(severity="Warn", freshness={"column": "at", "maxAge": max_age}), by_alias=True
    )
    checked = expectations.check(connection, "t", [expected], now=NOW)
    return checked.results[0], checked.document()["expectations"][0]


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMPTZ", "DATE"])
@pytest.mark.parametrize(("max_age", "passed"), [("23h59m59s", False), ("24h", True), ("1000h", True)])
def test_freshness_is_that_of_the_newest_row(kind: str, max_age: str, passed: bool) -> None:
    result, said = fresh(["2026-01-30", None, "2025-01-01"], max_age, kind)
    assert result.passed is passed
    assert result.message.startswith("the newest at is 2026-01-30T00:00:00Z")
    assert ("more than" in result.message) is not passed
    assert said == {
        "name": "wish",
        "kind": "freshness",
        "severity": "Warn",
        "rows": 3,
        "measured": {"newest": "2026-01-30T00:00:00Z"},
    }


def test_rows_of_the_future_are_fresh_and_rows_without_a_time_are_not() -> None:
    assert fresh(["2027-01-01"], "1s")[0].passed
    result, said = fresh([None, None], "1000h")
    assert (result.passed, result.message) == (False, "column 'at' has no time in any row")
    assert said["measured"] == {"newest": None}
    assert not fresh(["infinity"], "1h")[0].passed


def test_the_clock_decides_on_the_status_and_never_on_the_digest(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", {"at": [datetime(2026, 1, d + 1, tzinfo=UTC) for d in range(20)]})
    ages = ["1h", "1000000h"]  # one that has passed, one that has not
    results = [
        lab.run(
            prepare(lab, s3("a", uri), expectations=[wish(severity="Warn", freshness={"column": "at", "maxAge": a})])
        )
        for a in ages
    ]
    assert [r.expectations[0].passed for r in results] == [False, True]
    assert results[0].artifact.digest == results[1].artifact.digest


def test_freshness_needs_a_time(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    expected = wish(freshness={"column": "id", "maxAge": "1h"})
    error = refused(lab, ColumnType, prepare(lab, s3("a", uri), expectations=[expected]))
    assert error.field == "spec.expectations[0].freshness.column"
    assert "column 'id' is bigint, not a time" in error.message


def test_a_stale_dataset_fails(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", {"at": [datetime.now(UTC) - timedelta(days=3)] * 10})
    expected = wish(freshness={"column": "at", "maxAge": "48h"})
    error = refused(lab, ExpectationFailed, prepare(lab, s3("a", uri), expectations=[expected]))
    assert "more than 48h ago" in error.message


def normal(shift: float = 0.0, number: int = 4000, seed: int = 1) -> Document:
    rng = np.random.default_rng(seed)
    x = rng.normal(10, 2, number) + shift
    share = [0.7, 0.2, 0.1] if not shift else [0.2, 0.3, 0.5]
    origin = np.datetime64("2026-01-01T00:00:00")
    return {
        "x": [None if i % 10 == 0 else float(v) for i, v in enumerate(x)],
        "k": (x * 1000).astype(int).tolist(),
        "c": rng.choice(["a", "b", "c"], number, p=share).tolist(),
        "flag": (x > 10).tolist(),
        "at": (origin + (x * 3600).astype("timedelta64[s]")).astype("datetime64[us]").tolist(),
    }


def versions(lab: Lab, before: Document, now: Document, distribution: Document) -> Any:
    """The second version's only result and its report, the first being the earlier version."""
    name = uuid.uuid4().hex  # a task that was done before is not done again
    first = lab.run(prepare(lab, s3("a", lab.put_table(f"{name}/one.parquet", before))))
    expected = wish(severity="Warn", distribution=distribution)
    task = prepare(lab, s3("a", lab.put_table(f"{name}/two.parquet", now)), expectations=[expected])
    second = lab.run({**task, "previous": first.artifact.model_dump()})
    return second.expectations[0], report(lab, second.artifact.uri)["expectations"][0], first


@pytest.mark.parametrize("column", ["x", "k", "c", "flag", "at"])
def test_psi_tells_equal_from_changed(lab: Lab, column: str) -> None:
    like = {"column": column, "maxPsi": 0.1}
    same, _, first = versions(lab, normal(), normal(seed=2), like)
    assert same.passed, same.message
    assert f"against version {first.artifact.digest[7:19]}: PSI 0.0" in same.message
    moved, _, _ = versions(lab, normal(), normal(shift=3), like)
    assert not moved.passed
    assert moved.message.endswith("; allowed: maxPsi 0.1")


def test_psi_is_the_textbooks(lab: Lab) -> None:
    before = {"c": ["a"] * 60 + ["b"] * 30 + [None] * 10}
    now = {"c": ["a"] * 40 + ["b"] * 20 + ["new"] * 20 + [None] * 20}
    result, _, _ = versions(lab, before, now, {"column": "c", "maxPsi": 0})
    terms = [(0.6, 0.4), (0.3, 0.2), (1e-4, 0.2), (0.1, 0.2)]  # a category that is new counts with all others
    expected = sum((b - a) * np.log(b / a) for a, b in terms)
    assert f"PSI {expected:.3g}" in result.message


def test_a_column_that_went_missing_has_drifted(lab: Lab) -> None:
    empty = {**normal(), "x": [None] * 3999 + [10.0]}
    result, _, _ = versions(lab, normal(), empty, {"column": "x", "maxPsi": 0.25})
    assert not result.passed


@pytest.mark.parametrize("column", ["x", "k", "at"])
def test_the_mean_in_standard_deviations(lab: Lab, column: str) -> None:
    result, said, _ = versions(lab, normal(), normal(shift=3), {"column": column, "maxShift": 1})
    assert not result.passed
    assert "mean 1.5 standard deviations away" in result.message, "3 / 2, to three digits"
    assert said["measured"].keys() == {"mean", "sd"}
    assert "passed" not in said, "what an earlier version decides is no part of the artifact"
    assert "message" not in said
    assert versions(lab, normal(), normal(shift=3), {"column": column, "maxShift": 2})[0].passed


def test_a_constant_has_moved_as_soon_as_it_is_another(lab: Lab) -> None:
    like = {"column": "x", "maxShift": 3}
    before = {"x": [1.5] * 20, "id": range(20)}
    assert versions(lab, before, {"x": [1.5] * 30, "id": range(30)}, like)[0].passed
    result = versions(lab, before, {"x": [1.6] * 20, "id": range(20)}, like)[0]
    assert "mean inf standard deviations away" in result.message
    gone = versions(lab, before, {"x": [None] * 19 + [float("inf")], "id": range(20)}, like)[0]
    assert not gone.passed


def test_without_an_earlier_version_it_passes_and_the_digest_is_the_same_with_one(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", normal())
    task = prepare(lab, s3("a", uri), expectations=[wish(distribution={"column": "x", "maxPsi": 0.2, "maxShift": 1})])
    first = lab.run(task)
    assert (first.expectations[0].passed, first.expectations[0].message) == (True, "no earlier version")
    again = lab.run({**task, "previous": first.artifact.model_dump()})
    assert "PSI 0, mean 0 standard deviations away" in again.expectations[0].message
    assert again.artifact == first.artifact


def test_against_a_fixed_version(lab: Lab) -> None:
    old = lab.run(prepare(lab, s3("a", lab.put_table("old.parquet", normal()))))
    new = lab.run(prepare(lab, s3("a", lab.put_table("new.parquet", normal(shift=3)))))
    uri = lab.put_table("a.parquet", normal(shift=3, seed=3))
    expected = wish(severity="Warn", distribution={"column": "x", "maxPsi": 0.2, "against": old.artifact.digest})
    task = {**prepare(lab, s3("a", uri), expectations=[expected]), "previous": new.artifact.model_dump()}
    result = lab.run({**task, "earlier": [old.artifact.model_dump()]})
    assert not result.expectations[0].passed
    assert old.artifact.digest[7:19] in result.expectations[0].message
    with pytest.raises(InvalidSpec, match="there is no earlier version sha256:"):
        lab.run({**task, "occasion": "another"})


def test_what_cannot_be_compared(lab: Lab) -> None:
    retyped = {**normal(), "x": ["text"] * 4000}
    result, _, _ = versions(lab, normal(), retyped, {"column": "x", "maxPsi": 0.2})
    assert not result.passed
    assert "column 'x' is varchar, but double in version" in result.message
    added = {**normal(), "new": [1.0] * 4000}
    result, _, first = versions(lab, normal(), added, {"column": "new", "maxPsi": 0.2})
    assert result.passed
    assert result.message == f"version {first.artifact.digest[7:19]} has no column 'new'"


@pytest.mark.parametrize(
    ("distribution", "kind", "words"),
    [
        ({"column": "nosuch", "maxPsi": 0.1}, ColumnMissing, "id, carrier, delay"),
        ({"column": "carrier", "maxShift": 0.1}, ColumnType, "is varchar and has no mean: take maxPsi"),
    ],
)
def test_distributions_of_what_is_not_there(
    lab: Lab, distribution: Document, kind: type[TaskError], words: str
) -> None:
    uri = lab.put_table("a.parquet", rows(10))
    error = refused(lab, kind, prepare(lab, s3("a", uri), expectations=[wish(distribution=distribution)]))
    assert (error.field or "").startswith("spec.expectations[0].distribution.")
    assert words in error.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "set exactly one of: "),
        ({"notNull": ["id"], "unique": ["id"]}, "set exactly one of: "),
        ({"severity": "Quarantine", "rowCount": {"min": 1}}, "tell which rows are bad"),
        ({"severity": "Quarantine", "freshness": {"column": "at", "maxAge": "1h"}}, "tell which rows are bad"),
        ({"severity": "Quarantine", "distribution": {"column": "x", "maxPsi": 1}}, "tell which rows are bad"),
        ({"referential": {"input": "b", "columns": ["x"], "references": ["y", "z"]}}, "as many columns"),
        ({"freshness": {"column": "at", "maxAge": "1d"}}, "should match pattern"),
        ({"distribution": {"column": "x", "maxPsi": 1, "against": "yesterday"}}, "should match pattern"),
    ],
)
def test_documents_that_make_no_sense(fields: Document, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Expectation.model_validate(wish(**fields))


def test_what_does_not_fit_into_the_status_is_said_to_be_left_out() -> None:
    everything = tuple(
        ExpectationResult(
            name=f"{'e' * 55}-{i}", passed=i != 40, severity="Warn", violations=i, rows=10**9, message="m" * 300
        )
        for i in range(64)
    )
    result = DatasetResult(
        artifact=ArtifactRef(uri="s3://bucket/" + "x" * 200, digest="sha256:" + "0" * 64),
        rows={"train": 1, "validation": 2, "test": 3},
        columns=(),
        column_count=3,
        expectations=everything,
    )
    text = termination.fit(result)
    assert len(text.encode()) <= 4096
    shown = RESULT.validate_json(text)
    assert isinstance(shown, DatasetResult)
    names = [e.name for e in shown.expectations]
    assert everything[40].name in names, "what does not hold goes last"
    assert names == [e.name for e in everything if e.name in names], "in the order of the spec"
    assert shown.note == (
        f"{len(names)} of 64 expectations are shown, those that do not hold first: all are in expectations.json"
    )
    assert len(names) > 10
