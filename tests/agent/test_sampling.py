"""Sampling from the served request to the counter and the parquet file: nothing lost, nothing counted twice."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.agent.conftest import Api
from tests.agent.models import EDGES, expected, onnx_model
from tests.agent.placing import eventually
from tests.agent.pod import Pod
from tests.worker.conftest import Seaweed

Row = tuple[float, int, str]


def rows(number: int, seed: int) -> list[Row]:
    """Rows with missing and unknown values among them, and values on the baseline's edges."""
    draw = random.Random(seed)
    distances = [float("nan"), 100.0, 500.0, 99.5, 1234.5, *(draw.uniform(0, 1200) for _ in range(number))]
    hours, carriers = [0, 6, 9, 13, 23], ["AA", "DL", "UA", "ZZ", ""]
    return [(distances[i % len(distances)], draw.choice(hours), draw.choice(carriers)) for i in range(number)]


def logged(seaweed: Seaweed, pod: Pod, deployment: str) -> list[tuple[str, pa.Table]]:
    """The parquet files of a deployment's inference log."""
    prefix = f"{pod.placing.namespace}/inference-log/{deployment}/"
    listed = seaweed.client.list_objects_v2(Bucket="tidemill", Prefix=prefix).get("Contents", [])
    keys = sorted(item["Key"] for item in listed)
    bodies = [seaweed.client.get_object(Bucket="tidemill", Key=key)["Body"].read() for key in keys]
    return [(key.removeprefix(prefix), pq.read_table(io.BytesIO(body))) for key, body in zip(keys, bodies, strict=True)]


def logged_rows(seaweed: Seaweed, pod: Pod, deployment: str) -> int:
    """Rows in the store."""
    return sum(len(table) for _, table in logged(seaweed, pod, deployment))


def send(pod: Pod, deployment: str, sent: list[Row], *, prefix: str = "r") -> None:
    """One request a row. JSON knows no NaN, so a missing distance goes as a huge one does: by its own way."""
    for number, row in enumerate(sent):
        pod.infer(deployment, [row], request_id=f"{prefix}{number}")


def counted(pod: Pod, deployment: str) -> float:
    """Requests counted so far."""
    return sum(pod.samples("tidemill_sampled_requests_total", deployment=deployment).values())


def test_every_sampled_value_is_counted_and_logged(pod: Pod, artifacts: Callable[..., Any], seaweed: Seaweed) -> None:
    stored = artifacts(onnx_model(2.0))
    name = pod.placing.create("counted", version=5, samplingPercent=100, **stored.spec())
    pod.placing.reached(name, "Loaded")
    labels = {"deployment": "counted", "version": "5"}
    zeros = pod.samples("tidemill_feature_bin_total", feature="carrier", **labels)
    assert zeros == {"AA": 0.0, "DL": 0.0, "UA": 0.0, "_other_": 0.0}
    baseline = pod.samples("tidemill_baseline_bin_ratio", feature="carrier", **labels)
    assert baseline == pytest.approx({"AA": 400 / 980, "DL": 300 / 980, "UA": 200 / 980, "_other_": 80 / 980})
    eventually("the tap follows the control file", lambda: pod.tap_rate("counted") == 1.0)

    sent = [row for row in rows(300, seed=1) if row[0] == row[0]]
    send(pod, "counted", sent)
    pod.infer("counted", sent[:7], request_id="batch")
    everything = [*sent, *sent[:7]]
    eventually("all requests are counted", lambda: counted(pod, "counted") == len(sent) + 1)

    distances = np.array([row[0] for row in everything], dtype=np.float32)
    bins = np.bincount(np.searchsorted(EDGES, distances, side="right"), minlength=10)
    found = pod.samples("tidemill_feature_bin_total", feature="distance", **labels)
    assert [found[str(i)] for i in range(10)] == bins.tolist()
    answers = np.array([expected(2.0, *row) for row in everything], dtype=np.float32)
    bins = np.bincount(np.searchsorted(EDGES, answers, side="right"), minlength=10)
    found = pod.samples("tidemill_feature_bin_total", feature="prediction.delay", **labels)
    assert [found[str(i)] for i in range(10)] == bins.tolist()
    carriers = [row[2] for row in everything]
    found = pod.samples("tidemill_feature_bin_total", feature="carrier", **labels)
    assert found == {**{c: carriers.count(c) for c in ("AA", "DL", "UA")}, "_other_": carriers.count("ZZ")}
    missing = pod.samples("tidemill_feature_missing_total", feature="carrier", **labels)
    assert list(missing.values()) == [carriers.count("")]
    values = pod.samples("tidemill_feature_values_total", feature="carrier", **labels)
    assert list(values.values()) == [len(everything)]

    eventually("all rows are stored", lambda: logged_rows(seaweed, pod, "counted") == len(everything))
    eventually("the segments are removed", lambda: list((pod.tap / "segments").glob("*.tap")) == [])
    files = logged(seaweed, pod, "counted")
    for path, _ in files:
        day, hour, file = path.split("/")
        datetime.strptime(f"{day} {hour}", "%Y-%m-%d %H").replace(tzinfo=UTC)
        assert file.startswith(f"{pod.placing.pod}-")
    table = pa.concat_tables([table for _, table in files]).sort_by("_tidemill_request_id")
    assert table.schema.field("_tidemill_time").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("distance").type == pa.float32()
    assert table.schema.field("carrier").type == pa.string()
    assert set(table["_tidemill_version"].to_pylist()) == {5}
    by_id = {row["_tidemill_request_id"]: row for row in table.to_pylist()}
    wanted = {**{f"r{i}": row for i, row in enumerate(sent)}, **{f"batch#{i}": row for i, row in enumerate(sent[:7])}}
    assert set(by_id) == set(wanted)
    for key, row in wanted.items():
        assert (by_id[key]["distance"], by_id[key]["hour"], by_id[key]["carrier"]) == (np.float32(row[0]), *row[1:])
        assert by_id[key]["prediction.delay"] == pytest.approx(expected(2.0, *row), rel=1e-6)


def test_duckdb_reads_the_log(pod: Pod, artifacts: Callable[..., Any], seaweed: Seaweed, tmp_path: Any) -> None:
    duckdb = pytest.importorskip("duckdb")
    name = pod.placing.create("ducks", version=1, samplingPercent=100, **artifacts(onnx_model(2.0)).spec())
    pod.placing.reached(name, "Loaded")
    eventually("the tap follows the control file", lambda: pod.tap_rate("ducks") == 1.0)
    send(pod, "ducks", [(1.0, 1, "AA"), (2.0, 2, "Ünïcode")])
    eventually("all rows are stored", lambda: logged_rows(seaweed, pod, "ducks") == 2)
    for number, (_, table) in enumerate(logged(seaweed, pod, "ducks")):
        pq.write_table(table, tmp_path / f"{number}.parquet")
    query = f"SELECT carrier, \"prediction.delay\" FROM '{tmp_path}/*.parquet' ORDER BY distance"
    assert duckdb.sql(query).fetchall() == [("AA", 5.0), ("Ünïcode", 8.0)]


def test_nothing_is_sampled_at_zero_and_the_rate_follows_the_spec(pod: Pod, artifacts: Callable[..., Any]) -> None:
    name = pod.placing.create("quiet", version=1, samplingPercent=0, **artifacts(onnx_model(2.0)).spec())
    pod.placing.reached(name, "Loaded")
    send(pod, "quiet", rows(20, seed=2)[1:])
    pod.placing.change(name, samplingPercent=100)
    pod.placing.reached(name, "Loaded")
    eventually("the tap follows the control file", lambda: pod.tap_rate("quiet") == 1.0)
    send(pod, "quiet", rows(30, seed=2)[1:4])
    eventually("the later requests are counted", lambda: counted(pod, "quiet") > 0)
    assert counted(pod, "quiet") == 3


def test_both_versions_are_counted_across_a_swap(pod: Pod, artifacts: Callable[..., Any]) -> None:
    name = pod.placing.create("two", version=1, samplingPercent=100, **artifacts(onnx_model(1.0)).spec())
    pod.placing.reached(name, "Loaded")
    eventually("the tap follows the control file", lambda: pod.tap_rate("two") == 1.0)
    send(pod, "two", [(1.0, 1, "AA")] * 5)
    pod.placing.change(name, version=2, samplingPercent=100, **artifacts(onnx_model(2.0)).spec())
    pod.placing.reached(name, "Loaded", version=2)
    send(pod, "two", [(1.0, 1, "AA")] * 7)

    def by_version() -> list[float]:
        metric = "tidemill_sampled_requests_total"
        return [sum(pod.samples(metric, deployment="two", version=v).values()) for v in ("1", "2")]

    eventually("both are counted", lambda: by_version() == [5.0, 7.0])


def test_a_store_outage_loses_no_row_and_no_count(pod: Pod, artifacts: Callable[..., Any], seaweed: Seaweed) -> None:
    name = pod.placing.create("outage", version=1, samplingPercent=100, **artifacts(onnx_model(2.0)).spec())
    pod.placing.reached(name, "Loaded")
    eventually("the tap follows the control file", lambda: pod.tap_rate("outage") == 1.0)
    pod.store.close()
    try:
        send(pod, "outage", [(1.0, 1, "AA")] * 20)
        eventually("counting goes on", lambda: counted(pod, "outage") == 20)
        eventually("the outage is noticed", lambda: any("cannot be stored" in line["message"] for line in pod.log))
        assert pod.http("/healthz")[0] == 200
        assert pod.http("/readyz")[0] == 200
        assert list((pod.tap / "segments").glob("*.tap")), "segments of rows that are not stored are kept"
    finally:
        pod.store.open()
    eventually("the rows arrive", lambda: logged_rows(seaweed, pod, "outage") == 20, seconds=90)
    assert counted(pod, "outage") == 20


def test_a_killed_agent_loses_no_row_and_counts_none_twice(
    make_pod: Callable[..., Pod], api: Api, artifacts: Callable[..., Any], seaweed: Seaweed
) -> None:
    pod = make_pod(api, TIDEMILL_FLUSH_SECONDS="600")
    name = pod.placing.create("killed", version=1, samplingPercent=100, **artifacts(onnx_model(2.0)).spec())
    pod.placing.reached(name, "Loaded")
    eventually("the tap follows the control file", lambda: pod.tap_rate("killed") == 1.0)
    send(pod, "killed", [(1.0, 1, "AA")] * 20)
    eventually("all are counted", lambda: counted(pod, "killed") == 20)
    pod.kill_agent()
    pod.start_agent()
    # `increase()` takes what a process counts from zero for new samples: those of before the kill are not among them.
    send(pod, "killed", [(2.0, 2, "DL")] * 5, prefix="later")
    eventually("those after are counted", lambda: counted(pod, "killed") >= 5)
    assert counted(pod, "killed") == 5
    assert logged(seaweed, pod, "killed") == []
    assert pod.terminate_agent() == 0
    assert logged_rows(seaweed, pod, "killed") == 25
    assert list((pod.tap / "segments").glob("*.tap")) == []
    pod.start_agent()


def test_rows_beyond_the_memory_budget_are_given_up_and_counted(
    make_pod: Callable[..., Pod], api: Api, artifacts: Callable[..., Any]
) -> None:
    pod = make_pod(api, TIDEMILL_LOG_BUFFER_BYTES="2000")
    name = pod.placing.create("full", version=1, samplingPercent=100, **artifacts(onnx_model(2.0)).spec())
    pod.placing.reached(name, "Loaded")
    eventually("the tap follows the control file", lambda: pod.tap_rate("full") == 1.0)
    pod.store.close()
    try:
        for number in range(4):
            send(pod, "full", [(1.0, 1, "AA")] * 30)
            wanted = 30 * (number + 1)
            eventually("all are counted", lambda wanted=wanted: counted(pod, "full") == wanted)

        def given_up() -> float:
            return sum(pod.samples("tidemill_agent_log_rows_given_up_total").values())

        eventually("old rows are given up", lambda: given_up() > 0)
        assert sum(pod.samples("tidemill_agent_log_buffer_bytes").values()) <= 2000
    finally:
        pod.store.open()


def test_a_server_without_a_tap_says_so(make_pod: Callable[..., Pod], api: Api, artifacts: Callable[..., Any]) -> None:
    pod = make_pod(api, tap=False)
    stored = artifacts(onnx_model(2.0))
    asked = pod.placing.create("asked", version=1, samplingPercent=10, **stored.spec())
    unasked = pod.placing.create("unasked", version=1, samplingPercent=0, **stored.spec())

    def sampling(name: str) -> list[dict[str, Any]]:
        return [c for c in pod.placing.status(name).get("conditions", ()) if c["type"] == "Sampling"]

    (condition,) = eventually("the condition is there", lambda: sampling(asked))
    assert (condition["status"], condition["reason"]) == ("False", "ServerTooOld")
    for part in ("2.51.0", "2.58", "image", "runtime CPU"):
        assert part in condition["message"]
    assert pod.placing.reached(asked, "Loaded", version=1)
    assert pod.placing.reached(unasked, "Loaded", version=1)
    assert sampling(unasked) == []
