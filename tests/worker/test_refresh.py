"""Whether the sources have changed, told without reading them; and what is different in a new version."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from tidemill.contract.results import DatasetResult, UnchangedResult
from tidemill.contract.tasks import TASK, PrepareDataset
from tidemill_worker.data import changes
from tidemill_worker.errors import ExpectationFailed, InvalidData, ObjectNotFound
from tidemill_worker.tasks.prepare_dataset import _sources

from .lab import OWNER, Lab
from .samples import CSV, prepare, rows, s3

Document = dict[str, Any]


def again(first: DatasetResult, task: Document, occasion: str = "later", **more: Any) -> Document:
    """The refresh of a version."""
    known = {"knownSources": first.source_digest, "previous": first.artifact.model_dump(), "occasion": occasion}
    return {**task, **known, **more}


def listed(lab: Lab, *inputs: Document) -> str:
    task = TASK.validate_python({"owner": OWNER, **prepare(lab, *inputs)})
    assert isinstance(task, PrepareDataset)
    return _sources(task, lab.context())


def test_unchanged_objects_end_at_once_and_read_nothing(lab: Lab) -> None:
    lab.put_table("in/a.parquet", rows(100))
    lab.put_table("in/b.parquet", rows(50, start=100))
    task = prepare(lab, s3("a", f"{lab.root}/in/"))
    first = lab.run(task)
    assert first.source_digest.startswith("sha256:")
    context = lab.context()
    result = lab.run(again(first, task), context)
    assert result == UnchangedResult(source_digest=first.source_digest)
    assert context.tracker.registry.get_sample_value("tidemill_task_read_bytes_total") == 0
    assert len([n for n in lab.list("datasets/") if n.endswith("manifest.json")]) == 1


@pytest.mark.parametrize("change", ["rewritten", "added", "removed"])
def test_changed_objects_make_a_version(lab: Lab, change: str) -> None:
    lab.put_table("in/a.parquet", rows(100))
    b = lab.put_table("in/b.parquet", rows(50, start=100))
    task = prepare(lab, s3("a", f"{lab.root}/in/"))
    first = lab.run(task)
    if change == "rewritten":
        lab.put_table("in/b.parquet", rows(50, start=500))
    elif change == "added":
        lab.put_table("in/c.parquet", rows(50, start=500))
    else:
        lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(b))
    second = lab.run(again(first, task))
    assert isinstance(second, DatasetResult)
    assert second.source_digest != first.source_digest
    assert second.artifact != first.artifact
    expected = {"rewritten": (50, 50), "added": (50, 0), "removed": (0, 50)}[change]
    assert second.changes is not None
    assert (second.changes.rows_added, second.changes.rows_removed) == expected
    assert second.changes.against == first.artifact.digest


def test_the_same_rows_in_other_objects_are_the_same_version(lab: Lab) -> None:
    lab.put_table("in/a.parquet", rows(100))
    task = prepare(lab, s3("a", f"{lab.root}/in/"))
    first = lab.run(task)
    whole = pa.table(rows(100))
    lab.put_table("in/a.parquet", whole.slice(0, 30))
    lab.put_table("in/b.parquet", whole.slice(30))
    second = lab.run(again(first, task))
    assert second.artifact == first.artifact
    assert second.source_digest != first.source_digest
    assert second.changes is None


def test_an_earlier_result_is_not_taken_for_a_later_one(lab: Lab) -> None:
    """A, B, A, C: the third refresh asks what the first one asked."""
    name = "in/a.parquet"
    task = prepare(lab, s3("a", f"{lab.root}/{name}"))
    contents = [rows(100), rows(101), rows(100), rows(102)]
    newest, made = None, []
    for number, content in enumerate(contents):
        lab.put_table(name, content)
        newest = lab.run(task if newest is None else again(newest, task, occasion=str(number)))
        assert isinstance(newest, DatasetResult)
        made.append(sum(newest.rows.values()))
    assert made == [100, 101, 100, 102]


def test_of_what_the_digest_is_made(lab: Lab) -> None:
    a = lab.put_table("a.parquet", rows(100))
    csv = lab.put("labels/a.csv", CSV.encode())
    version = lab.run(prepare(lab, s3("a", a))).artifact.model_dump()
    other = lab.run(prepare(lab, s3("a", lab.put_table("b.parquet", rows(90))))).artifact.model_dump()
    log = {
        "root": f"{lab.root}/log",
        "source": {"deployment": "d", "labels": {"s3": {"uri": f"{lab.root}/labels/", "format": "csv"}}},
    }
    web = {"url": "https://example.org/a.parquet", "sha256": "0" * 64}

    def seen() -> list[str]:
        return [
            listed(lab, s3("a", a)),
            listed(lab, {"name": "a", "dataset": version}),
            listed(lab, {"name": "a", "inferenceLog": log}),
            listed(lab, {"name": "a", "http": web}),
        ]

    before = seen()
    assert len(set(before)) == 4
    assert seen() == before
    assert listed(lab, s3("b", a)) != before[0], "the name is part of the spec"
    assert listed(lab, {"name": "a", "dataset": other}) != before[1]
    lab.put_table("log/2026-01-01/07/pod.parquet", rows(3))
    assert listed(lab, {"name": "a", "inferenceLog": log}) != before[2]
    between = listed(lab, {"name": "a", "inferenceLog": log})
    lab.put("labels/b.csv", CSV.encode())
    assert listed(lab, {"name": "a", "inferenceLog": log}) != between
    assert csv.endswith("a.csv")
    assert listed(lab, {"name": "a", "http": {**web, "sha256": "1" * 64}}) != before[3]


def test_files_of_a_volume_by_size_and_time(lab: Lab) -> None:
    folder = lab.work / "volumes" / "claim" / "in"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(CSV)
    here = lab.with_environment(volume_dir=lab.work / "volumes")
    item = {"name": "a", "volume": {"claimName": "claim", "path": "in/", "format": "csv"}}
    first = listed(here, item)
    assert listed(here, item) == first
    (folder / "a.csv").write_text(CSV.replace("AA", "BB"))  # as long as before
    second = listed(here, item)
    assert second != first
    (folder / "b.csv").write_text(CSV)
    assert listed(here, item) not in (first, second)


def test_objects_that_are_gone_are_said_as_ever(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(100))
    task = prepare(lab, s3("a", uri))
    first = lab.run(task)
    lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(uri))
    with pytest.raises(ObjectNotFound) as caught:
        lab.run(again(first, task))
    assert caught.value.field == "spec.inputs[0].s3.uri"
    assert caught.value.failure().source_digest is not None
    assert caught.value.failure().source_digest != first.source_digest


def test_a_failure_says_of_which_sources_it_is(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", rows(100))
    task = prepare(lab, s3("a", uri), expectations=[{"name": "size", "rowCount": {"min": 100}}])
    first = lab.run(task)
    lab.put_table("a.parquet", rows(99))
    with pytest.raises(ExpectationFailed) as caught:
        lab.run(again(first, task))
    broken = caught.value.failure().source_digest
    assert broken == listed(lab, s3("a", uri))
    assert isinstance(lab.run(again(first, task, "next", knownSources=broken)), UnchangedResult)
    lab.put("a.parquet", b"PAR1 nothing PAR1")
    with pytest.raises(InvalidData) as corrupt:
        lab.run(again(first, task))
    assert corrupt.value.failure().source_digest not in (None, broken)


def fresh(age: str, severity: str = "Fail") -> Document:
    return {"name": "fresh", "severity": severity, "freshness": {"column": "at", "maxAge": age}}


def test_freshness_is_looked_at_when_nothing_has_changed(lab: Lab) -> None:
    newest = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5)
    uri = lab.put_table("a.parquet", {"at": [newest - timedelta(hours=h) for h in range(20)]})
    task = prepare(lab, s3("a", uri), expectations=[fresh("6h")])
    first = lab.run(task)
    known = again(first, task)
    result = lab.run(known)
    assert isinstance(result, UnchangedResult)
    assert [(e.name, e.passed) for e in result.expectations] == [("fresh", True)]
    late = lab.run({**known, "expectations": [fresh("4h", "Warn")]})  # as if two hours had passed
    assert [(e.name, e.passed) for e in late.expectations] == [("fresh", False)]
    with pytest.raises(ExpectationFailed, match=r"expectation fresh: the newest at is .* more than 4h ago") as caught:
        lab.run({**known, "expectations": [fresh("4h")]})
    assert caught.value.field == "spec.expectations[0]"


# what is different


def two(lab: Lab, before: Document, now: Document) -> Any:
    first = lab.run(prepare(lab, s3("a", lab.put_table("one.parquet", before))))
    task = prepare(lab, s3("a", lab.put_table("two.parquet", now)))
    return lab.run({**task, "previous": first.artifact.model_dump()})


def test_columns_and_rows(lab: Lab) -> None:
    before = {"id": list(range(100)), "x": [1] * 100, "old": ["a"] * 100}
    now = {"id": list(range(10, 130)), "x": [1.5] * 120, "new": ["a"] * 120}
    found = two(lab, before, now).changes
    assert found.columns_added == ("new",)
    assert found.columns_removed == ("old",)
    assert found.columns_retyped == ("x: bigint → double",)
    assert (found.rows_added, found.rows_removed) == (30, 10)
    assert found.note == "rows are compared by the 1 columns that both versions have"


def test_equal_rows_count_as_often_as_they_are_there(lab: Lab) -> None:
    found = two(lab, {"x": [1, 1, 1, *range(2, 40)]}, {"x": [1, *range(2, 40), 39, None]}).changes
    assert (found.rows_added, found.rows_removed, found.note) == (2, 2, None)


def test_nothing_in_common(lab: Lab) -> None:
    found = two(lab, {"a": list(range(30))}, {"b": list(range(40))}).changes
    assert (found.rows_added, found.rows_removed) == (40, 30)


def test_the_first_version_has_no_changes(lab: Lab) -> None:
    assert lab.run(prepare(lab, s3("a", lab.put_table("a.parquet", rows(10))))).changes is None


def test_many_columns_are_not_all_named(lab: Lab) -> None:
    before = {"id": list(range(20))}
    found = two(lab, before, {**before, **{f"{'c' * 60}{i}": [1] * 20 for i in range(12)}}).changes
    assert len(found.columns_added) == 9
    assert found.columns_added[-1] == "and 4 more"
    assert all(len(name) <= 48 for name in found.columns_added)


def test_very_many_rows_are_not_compared(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_ROWS", 100)
    found = two(lab, rows(60), rows(41)).changes
    assert (found.rows_added, found.rows_removed) == (None, None)
    assert found.note == "rows are not compared: both versions have 101, more than 100"


def test_a_version_before_that_is_gone_does_not_prevent_a_new_one(lab: Lab) -> None:
    first = lab.run(prepare(lab, s3("a", lab.put_table("one.parquet", rows(100)))))
    lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(f"{first.artifact.uri}/manifest.json"))
    task = prepare(lab, s3("a", lab.put_table("two.parquet", rows(110))))
    second = lab.run({**task, "previous": first.artifact.model_dump()})
    assert sum(second.rows.values()) == 110
    assert "does not exist" in second.changes.note
