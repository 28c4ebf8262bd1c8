"""One Dataset with every kind of input and every step: the same digest twice, and what joins mean for the inputs."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tidemill.contract.steps import Step
from tidemill_worker.errors import InvalidSpec

from .input_cases import arrow, parquet, refused
from .lab import Lab
from .samples import prepare, rows, s3
from .web import Answer, Web, start_web

START = dt.datetime(2024, 1, 31, 22, 30)


@pytest.fixture
def web() -> Iterator[Web]:
    with start_web() as running:
        yield running


def reviews(number: int, start: int = 0) -> pa.Table:
    ids = range(start, start + number)
    return pa.table(
        {
            "id": list(ids),
            "shop": [("north", "south", "east")[i % 3] for i in ids],
            "stars": [str(i % 5 + 1) if i % 20 else None for i in ids],
            "price": [float("nan") if i % 11 == 0 else i / 8 for i in ids],
            "bought": [START + dt.timedelta(hours=7 * i) for i in ids],
            "body": [f"<p>Review {i % 40} of a  GOOD thing, number {i // 40}, as I said before</p>" for i in ids],
        }
    )


STEPS: list[dict[str, Any]] = [
    {"rename": {"columns": {"body": "text"}}},
    {"filter": {"where": "id % 7 <> 0"}},
    {"cast": {"columns": {"stars": "integer"}}},
    {"normalizeText": {"columns": ["text"], "operations": ["stripHtml", "nfkc", "nfc", "lower", "collapseSpaces"]}},
    {"deduplicateText": {"column": "text", "threshold": 0.9, "orderBy": "bought DESC"}},
    {"deduplicate": {"columns": ["shop", "bought"]}},
    {"fillNull": {"columns": ["stars"], "statistic": "mode"}},
    {"join": {"input": "shops", "using": ["shop"], "columns": ["area"]}},
    {"join": {"input": "days", "using": ["shop"], "how": "Inner", "many": True, "suffix": "_day"}},
    {
        "window": {
            "function": "mean", "column": "price", "partitionBy": ["shop"], "orderBy": "bought", "rows": 3, "output": "recent"
        }
    },
    {"window": {"function": "lag", "column": "stars", "orderBy": "bought", "output": "stars_before"}},
    {"dateParts": {"column": "bought", "parts": ["month", "weekday", "isWeekend", "isMonthEnd"]}},
    {"derive": {"column": "noise", "expression": "random()"}},
    {"drop": {"columns": ["noise"]}},
    {"sample": {"fraction": 0.9, "seed": 1}},
    {"sample": {"rows": 150, "seed": 1}},
    {
        "pivot": {
            "groupBy": ["id", "text", "recent", "bought_weekday", "area", "stars_before"],
            "column": "day", "values": ["open", "closed"], "value": "hours", "prefix": "hours_",
        }
    },
    {
        "aggregate": {
            "groupBy": ["id", "text", "recent", "bought_weekday", "area"],
            "aggregations": [{"column": "hours_open", "function": "sum", "output": "hours"}],
        }
    },
    {"select": {"columns": ["text", "hours", "recent", "area", "bought_weekday"]}},
]  # fmt: skip


def test_everything_at_once_gives_the_same_digest_twice(lab: Lab, web: Web, tmp_path: Path) -> None:
    assert {next(iter(step)) for step in STEPS} == {str(f.alias or n) for n, f in Step.model_fields.items()}, (
        "a step is missing"
    )
    lab = lab.with_environment(volume_dir=tmp_path / "volumes")
    (tmp_path / "volumes" / "share").mkdir(parents=True)
    (tmp_path / "volumes" / "share" / "a.arrow").write_bytes(arrow(reviews(200, 100), chunk=30))
    served = parquet(reviews(100, 300))
    url = web.serve("/reviews.parquet", Answer(served))
    base = lab.run(prepare(lab, s3("a", lab.put_table("base.parquet", reviews(60, 400)))))
    shops = lab.put("shops.csv", b"shop,area\nnorth,10\nsouth,20\neast,30\n")
    days = lab.put("days.jsonl", b'{"shop": "north", "day": "open", "hours": 8}\n{"shop": "south", "day": "open", "hours": 6}\n'
                   b'{"shop": "south", "day": "closed", "hours": 2}\n')  # fmt: skip
    document = prepare(
        lab,
        s3("stored", lab.put_table("stored.parquet", reviews(100))),
        {"name": "shared", "volume": {"claimName": "share", "path": "*.arrow", "format": "arrow"}},
        {"name": "served", "http": {"url": url, "sha256": hashlib.sha256(served).hexdigest()}},
        {"name": "base", "dataset": base.artifact.model_dump()},
        s3("shops", shops, "csv"),
        s3("days", days, "jsonl"),
        transform={"steps": STEPS},
        split={"random": {"validation": 0.2, "test": 0.2}},
    )
    first = lab.run(document)
    assert [(c.name, c.type) for c in first.columns] == [
        ("text", "varchar"), ("hours", "bigint"), ("recent", "double"), ("area", "bigint"), ("bought_weekday", "bigint"),
    ]  # fmt: skip
    assert 40 < sum(first.rows.values()) <= 150
    second = lab.with_environment(memory_bytes=300 << 20).run({**document, "root": f"{lab.root}/datasets/again"})
    assert second.artifact.digest == first.artifact.digest
    assert second.rows == first.rows
    texts = lab.get_table(f"{first.artifact.uri}/train.parquet")["text"].to_pylist()
    assert all(text.startswith("review ") and "  " not in text for text in texts)
    inputs = lab.get_json(f"{first.artifact.uri}/provenance.json")["inputs"]
    assert {u.partition("://")[0] for u in inputs} == {"s3", "volume", "http"}
    assert len(inputs) == 6
    assert not list((lab.environment.work_dir / "scratch" / "inputs").rglob("*.*")), (
        "files are removed as soon as they are read"
    )


def test_only_joined_inputs_are_no_part_of_the_union(lab: Lab) -> None:
    a, b = lab.put_table("a.parquet", rows(30)), lab.put_table("b.parquet", rows(10, start=30))
    names = lab.put_table("names.parquet", {"carrier": ["AA", "UA"], "name": ["American", "United"]})
    steps = [{"join": {"input": "names", "using": ["carrier"]}}]
    result = lab.run(prepare(lab, s3("names", names), s3("a", a), s3("b", b), transform={"steps": steps}))
    assert sum(result.rows.values()) == 40
    assert [c.name for c in result.columns] == ["id", "carrier", "delay", "name"]


def test_joins_that_cannot_be(lab: Lab) -> None:
    a = s3("a", lab.put_table("a.parquet", rows(3)))
    for name, words in (("b", "there is no input 'b'; the inputs are a"), ("a", "every input is joined")):
        steps = [{"filter": {"where": "true"}}, {"join": {"input": name, "using": ["id"]}}]
        error = refused(lab, InvalidSpec, prepare(lab, a, transform={"steps": steps}))
        assert error.field == "spec.transform.steps[1].join.input"
        assert words in error.message


def test_a_damaged_file_that_is_read_straight_into_the_union_is_named(lab: Lab) -> None:
    """Its header is right, and only the pages are not: that shows no sooner than when the union is made."""
    for name in ("a", "b"):
        lab.put_table(f"in/{name}.parquet", pa.table(rows(5000)))
    damaged = bytearray(lab.get(f"{lab.root}/in/b.parquet"))
    damaged[100:4000] = b"\xff" * 3900
    lab.put("in/b.parquet", bytes(damaged))
    steps = {"steps": [{"filter": {"where": "id > 5"}}]}
    for more in ({}, {"transform": steps}, {"transform": {"sql": "FROM a"}}):
        with pytest.raises(Exception, match=f"{lab.root}/in/b.parquet cannot be read as parquet") as caught:
            lab.run(prepare(lab, s3("a", f"{lab.root}/in/"), **more))
        assert caught.type.__name__ == "InvalidData"
