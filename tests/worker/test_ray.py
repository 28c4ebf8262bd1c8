"""Engine Ray on a real cluster of two nodes: the same digest as the local engine, nodes that are lost, bad input."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidemill.contract.reasons import FailureReason
from tidemill.contract.results import DatasetResult
from tidemill_worker.data import engine, part, rowwise
from tidemill_worker.errors import (
    ColumnMissing,
    ColumnType,
    InvalidData,
    InvalidSpec,
    ObjectNotFound,
    RayUnavailable,
    SourceUnavailable,
)

from .lab import Lab, free_ports
from .ray_nodes import TOKEN, Nodes, start_ray
from .samples import prepare, rows, s3

pytestmark = pytest.mark.slow
START = dt.datetime(2024, 1, 31, 22, 30)
ROWWISE: list[dict[str, Any]] = [
    {"rename": {"columns": {"body": "text"}}},
    {"filter": {"where": "id % 7 <> 0 AND nullif(shop, 'west') IS NOT NULL"}},
    {"cast": {"columns": {"stars": "integer"}}},
    {"normalizeText": {"columns": ["text"], "operations": ["stripHtml", "nfkc", "lower", "collapseSpaces"]}},
    {"fillNull": {"columns": ["stars"], "value": "3"}},
    {"dateParts": {"column": "bought", "parts": ["month", "weekday", "isMonthEnd"]}},
    {"derive": {"column": "huge", "expression": "id::HUGEINT * 10000000000000000000"}},
    {"derive": {"column": "each", "expression": "price / stars"}},
    {"sample": {"fraction": 0.9, "seed": 1}},
    {"drop": {"columns": ["extra"]}},
]  # fmt: skip
TOGETHER: list[dict[str, Any]] = [
    {"window": {"function": "mean", "column": "each", "orderBy": "bought", "rows": 50, "output": "recent"}},
    {"derive": {"column": "luck", "expression": "random() + rowid"}},
    {"fillNull": {"columns": ["price"], "statistic": "mean"}},
    {"deduplicate": {"columns": ["shop", "bought"]}},
    {"join": {"input": "shops", "using": ["shop"]}},
]  # fmt: skip


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """With the cluster's token."""
    folder = lab.environment.secret_dir / "ray"
    folder.mkdir(parents=True)
    (folder / "token").write_text(TOKEN + "\n")
    return lab


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with start_ray() as running:
        yield running


def reviews(number: int, start: int, *, older: bool) -> pa.Table:
    """Files of two ages: the older ones have narrower types, one column less, and NaN for what is missing."""
    ids = range(start, start + number)
    found = {
        "id": pa.array(list(ids), pa.int32() if older else pa.int64()),
        "shop": [("north", "south", "east", "west")[i % 4] for i in ids],
        "stars": [str(i % 5 + 1) if i % 20 else None for i in ids],
        "price": pa.array(
            [float("nan") if i % 11 == 0 else i / 7 for i in ids], pa.float32() if older else pa.float64()
        ),
        "bought": [START + dt.timedelta(hours=7 * (i // 2)) for i in ids],
        "body": [f"<p>Review {i % 40} of a  GOOD thing</p>" for i in ids],
    }
    return pa.table(found if older else {**found, "extra": [i % 3 for i in ids]})


def put(lab: Lab, files: int = 5, number: int = 4001) -> dict[str, Any]:
    for i in range(files):
        place = lab.work / "part.parquet"
        pq.write_table(reviews(number, i * number, older=i % 2 == 1), place, row_group_size=500)
        lab.put(f"in/{i}.parquet", place.read_bytes())
    return s3("reviews", f"{lab.root}/in/")


def over(address: str, **more: Any) -> dict[str, Any]:
    return {"address": address, "memory": "256Mi", "wait": "120s", "secretName": "ray", **more}


def same(lab: Lab, document: dict[str, Any], options: dict[str, Any]) -> tuple[DatasetResult, DatasetResult]:
    """Local and on Ray, each with a store folder of its own, so that neither finds the other's result."""
    local = lab.run({**document, "root": f"{lab.root}/datasets/local"})
    ray = lab.run({**document, "root": f"{lab.root}/datasets/ray", "ray": options})
    return local, ray


def test_the_digest_is_the_local_engines(lab: Lab, nodes: Nodes) -> None:
    source = put(lab)
    base = lab.run(prepare(lab, s3("a", lab.put_table("base.parquet", reviews(900, 50_000, older=False)))))
    inputs = (source, {"name": "base", "dataset": base.artifact.model_dump()})
    local, ray = same(lab, prepare(lab, *inputs, transform={"steps": ROWWISE}), over(nodes.address))
    assert ray.artifact.digest == local.artifact.digest
    assert ray.rows == local.rows
    assert 10_000 < sum(ray.rows.values()) < 21_000
    provenance = [lab.get_json(f"{result.artifact.uri}/provenance.json")["inputs"] for result in (local, ray)]
    assert provenance[0] == provenance[1]
    assert len(provenance[1]) == 6
    without = prepare(lab, *inputs)
    local, ray = same(lab, without, over(nodes.address))
    assert ray.artifact.digest == local.artifact.digest
    assert sum(ray.rows.values()) == 5 * 4001 + 900


def test_what_needs_all_rows_goes_on_in_the_job(lab: Lab, nodes: Nodes) -> None:
    shops = s3("shops", lab.put("shops.csv", b"shop,area\nnorth,10\nsouth,20\n"), "csv")
    document = prepare(
        lab, put(lab), shops,
        transform={"steps": [*ROWWISE, *TOGETHER, {"filter": {"where": "recent IS NOT NULL"}}]},
        expectations=[{"name": "known", "severity": "Quarantine", "referential": {
            "input": "shops", "columns": ["shop"], "references": ["shop"]}}],
        split={"byTime": {"column": "bought", "test": 0.2}},
    )  # fmt: skip
    local, ray = same(lab, document, over(nodes.address))
    assert ray.artifact.digest == local.artifact.digest
    assert ray.quarantined == local.quarantined > 1000


def test_a_node_is_lost_on_the_way(lab: Lab, nodes: Nodes) -> None:
    document = prepare(lab, put(lab, files=12), transform={"steps": ROWWISE})
    context = lab.context()
    lost, over_now = threading.Event(), threading.Event()

    def lose() -> None:
        while "file 3 of" not in context.tracker.current.message:
            if over_now.wait(0.01):
                return
        nodes.lose_worker()
        lost.set()

    thread = threading.Thread(target=lose)
    thread.start()
    try:
        ray = lab.run({**document, "root": f"{lab.root}/datasets/ray", "ray": over(nodes.address)}, context)
    finally:
        over_now.set()
        thread.join()
        nodes.start_worker()
    assert lost.is_set()
    assert ray.artifact.digest == lab.run(document).artifact.digest


def test_a_cluster_that_is_not_there(lab: Lab) -> None:
    (port,) = free_ports(1)
    begin = time.monotonic()
    with pytest.raises(RayUnavailable, match=f"nothing answers at ray://127.0.0.1:{port} within 2s") as caught:
        lab.run({**prepare(lab, put(lab, 1)), "ray": over(f"ray://127.0.0.1:{port}", wait="2s")})
    assert time.monotonic() - begin < 20
    assert caught.value.field == "spec.ray.address"
    assert caught.value.reason == FailureReason.RAY_UNAVAILABLE
    own = over(f"ray://127.0.0.1:{port}", wait="2s", cluster={"workers": 1})
    with pytest.raises(RayUnavailable, match=r"spec\.ray\.cluster: nothing answers at ") as caught:
        lab.run({**prepare(lab, put(lab, 1)), "ray": own})
    assert caught.value.field == "spec.ray.cluster"
    endpoint = lab.seaweed.endpoint.removeprefix("http://")
    with pytest.raises(RayUnavailable, match=f"what answers at ray://{endpoint} is no Ray Client server"):
        lab.run({**prepare(lab, put(lab, 1)), "ray": over(f"ray://{endpoint}", wait="2s")})
    assert not lab.list("datasets/")


def test_no_node_has_room(lab: Lab, nodes: Nodes) -> None:
    with pytest.raises(
        RayUnavailable, match="had room for a task with 1 CPU and 900Gi within 3s; there are nodes with 1 CPUs"
    ):
        lab.run({**prepare(lab, put(lab, 1)), "ray": over(nodes.address, memory="900Gi", wait="3s")})


def test_bad_input(lab: Lab, nodes: Nodes) -> None:
    def refused(kind: type[Exception], words: str, *inputs: dict[str, Any], **more: Any) -> Any:
        with pytest.raises(kind, match=words) as caught:
            lab.run({**prepare(lab, *inputs, **more), "ray": over(nodes.address)})
        return caught.value

    source = put(lab, 2)
    csv = s3("table", lab.put("x.csv", b"a\n1\n"), "csv")
    assert refused(InvalidSpec, "S3 objects in parquet", csv).field == "spec.inputs[0]"
    refused(InvalidSpec, "SQL needs all rows in one place", source, transform={"sql": "FROM reviews"})
    refused(ObjectNotFound, "there is no object", s3("none", f"{lab.root}/nowhere/"))
    steps = [{"filter": {"where": "id > 5"}}, {"cast": {"columns": {"none": "integer"}}}]
    error = refused(ColumnMissing, "there is no column 'none'", source, transform={"steps": steps})
    assert error.field == "spec.transform.steps[1].cast.columns"
    steps = [{"filter": {"where": "id > 5"}}, {"cast": {"columns": {"shop": "integer"}}}]
    error = refused(InvalidData, "values are no integer, the first is", source, transform={"steps": steps})
    assert error.field == "spec.transform.steps[1].cast.columns.shop"
    whole = s3("whole", lab.put_table("whole.parquet", {"id": [1, 2], "delay": [1, 2]}))
    broken = s3("broken", lab.put_table("broken.parquet", {"id": [1, 2], "delay": [1.5, 2.5]}))
    refused(ColumnType, "shows only when all rows are looked at", whole, broken)
    lab.put("bad/a.parquet", b"PAR1 and nothing else")
    refused(InvalidData, "bad/a.parquet cannot be read as parquet", s3("bad", f"{lab.root}/bad/"))
    lab.put_table("damaged/a.parquet", pa.table(rows(5000)))
    damaged = bytearray(lab.get(f"{lab.root}/damaged/a.parquet"))
    damaged[100:4000] = b"\xff" * 3900
    lab.put("damaged/a.parquet", bytes(damaged))
    refused(InvalidData, "damaged/a.parquet cannot be read as parquet", s3("bad", f"{lab.root}/damaged/"))
    assert not lab.list("datasets/")


def test_a_node_with_other_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = part.Part(
        name="s3://raw/a", url="http://127.0.0.1:1/a", label="input a", sha256=None, end="", kinds={}, union={}, steps=(),
        memory_bytes=1 << 28, code=part.code(),
    )  # fmt: skip
    with pytest.raises(InvalidSpec, match="a node has another version"):
        part.make(replace(asked, code="of another version"))
    monkeypatch.setattr("tidemill_worker.data.http.WAITS", ())
    with pytest.raises(SourceUnavailable, match=r"input a: on Ray's worker: the server of s3://raw/a does not answer"):
        part.make(asked)


@pytest.mark.parametrize(
    ("expression", "rowwise_it_is"),
    [
        ("price * 2 + coalesce(stars, 1)", True),
        ("list_sum([1, price]) > 2 OR shop IN ('a', 'b') OR body SIMILAR TO 'x.*'", True),
        ("CASE WHEN nullif(price, 1) BETWEEN 1 AND 2 THEN date_trunc('day', bought) END", True),
        ("list_transform([price], lambda y: y + 1)", True),
        ("not even ( SQL", True),
        ("random()", False),
        ("list_transform([1], lambda y: y + random())", False),
        ("now() > bought", False),
        ("bought > current_timestamp", False),
        ("ago(INTERVAL 1 DAY) > bought", False),
        ("rowid % 2 = 0", False),
        ("avg(price) OVER ()", False),
        ("price > (SELECT avg(price) FROM reviews)", False),
        ("sum(price)", False),
        ("geomean(price)", False),
        ("no_such_function(price)", False),
        ("1) UNION ALL SELECT (2", False),
    ],
)
def test_what_is_rowwise(expression: str, rowwise_it_is: bool, tmp_path: Path) -> None:
    with engine.connect(tmp_path, 1 << 30) as connection:
        assert rowwise.is_rowwise(connection, expression) is rowwise_it_is
