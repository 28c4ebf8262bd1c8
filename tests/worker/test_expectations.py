"""Expectations on real data: what each finds, what the report says, and what may not decide the artifact's digest."""

from __future__ import annotations

import pytest

from tidemill.contract.expectations import Expectation
from tidemill.contract.results import RESULT, DatasetResult, ExpectationResult
from tidemill.contract.tasks import ArtifactRef
from tidemill_worker import termination
from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidSpec, TaskError

from .expectation_cases import Document, refused, report, wish
from .lab import Lab
from .samples import prepare, rows, s3


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
