"""Distributions against an earlier version: PSI, and the shift of the mean."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest

from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidSpec, TaskError

from .expectation_cases import Document, refused, report, wish
from .lab import Lab
from .samples import prepare, rows, s3


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
