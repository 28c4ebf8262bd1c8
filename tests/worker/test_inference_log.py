"""The inference log as an input: late labels, windows, defaults."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from tidemill_worker.errors import ColumnMissing, DatasetEmpty, InvalidSpec, ObjectNotFound

from .lab import Lab

START = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)


def log_file(first: int, number: int) -> pa.Table:
    """What the agent writes: inputs as the model saw them, predictions, bookkeeping."""
    ids = range(first, first + number)
    return pa.table(
        {
            "distance": pa.array([float("nan") if i % 5 == 0 else float(i) for i in ids], pa.float32()),
            "carrier": ["" if i % 4 == 0 else "UA" for i in ids],
            "prediction.prediction": pa.array([float(i) for i in ids], pa.float32()),
            "_tidemill_time": pa.array([START + timedelta(minutes=i) for i in ids], pa.timestamp("us", tz="UTC")),
            "_tidemill_request_id": [f"r{i}" for i in ids],
            "_tidemill_version": pa.array([1] * number, pa.int64()),
        }
    )


@pytest.fixture
def logged(lab: Lab) -> Lab:
    """100 requests over 100 minutes in two hours' folders, 60 of them labelled, some twice."""
    lab.put_table("log/2026-03-01/10/pod-0-1.parquet", log_file(0, 30))
    lab.put_table("log/2026-03-01/11/pod-0-2.parquet", log_file(30, 60))
    lab.put_table("log/2026-03-01/12/pod-0-3.parquet", log_file(90, 10))
    lab.put_table("labels/2.parquet", {"request_id": [f"r{i}" for i in range(60)], "arr_delay": [-1.0] * 60})
    newer = {"request_id": [f"r{i}" for i in range(40)], "arr_delay": [2.0 * i for i in range(40)]}
    store, deadline = lab.context().store, time.monotonic() + 10
    modified: dict[str, datetime] = {}
    while not modified or modified["1"] <= modified["2"]:  # the store's clock counts in seconds
        assert time.monotonic() < deadline
        lab.put_table("labels/1.parquet", newer)
        modified = {o.uri[-len("1.parquet")]: o.modified for o in store.glob(f"{lab.root}/labels/")}
    return lab


def task(lab: Lab, *before: dict[str, Any], labels: bool = True, **source: Any) -> dict[str, Any]:
    log: dict[str, Any] = {"deployment": "delay", **source}
    if labels:
        log["labels"] = {"s3": {"uri": f"{lab.root}/labels/"}}
    return {
        "type": "PrepareDataset",
        "root": f"{lab.root}/datasets/live",
        "inputs": [*before, {"name": "log", "inferenceLog": {"root": f"{lab.root}/log", "source": log}}],
        "split": {"random": {"validation": 0, "test": 0}},
    }


def rows_of(lab: Lab, document: dict[str, Any]) -> list[dict[str, Any]]:
    result = lab.run(document)
    rows: list[dict[str, Any]] = lab.get_table(f"{result.artifact.uri}/train.parquet").to_pylist()
    return sorted(rows, key=lambda r: int((r["_tidemill_request_id"] or "r-1")[1:]))


def test_labels_are_joined_and_the_newest_wins(logged: Lab) -> None:
    rows = rows_of(logged, task(logged))
    assert [r["_tidemill_request_id"] for r in rows] == [f"r{i}" for i in range(60)]
    assert [r["arr_delay"] for r in rows] == [2.0 * i for i in range(40)] + [-1.0] * 20
    assert set(rows[0]) == {
        "distance", "carrier", "arr_delay", "_tidemill_time", "_tidemill_request_id", "_tidemill_version",
    }  # fmt: skip
    assert rows[20]["distance"] is None
    assert rows[20]["carrier"] is None
    assert rows[21]["carrier"] == "UA"


def test_a_label_without_an_id_is_no_requests(logged: Lab) -> None:
    """Requests that gave no id are logged with an empty one."""
    nameless = log_file(0, 5).set_column(4, "_tidemill_request_id", pa.array([""] * 5))
    logged.put_table("log/2026-03-01/12/pod-0-4.parquet", nameless)
    logged.put_table("labels/3.parquet", {"request_id": ["", None], "arr_delay": [7.0, 8.0]})
    assert len(rows_of(logged, task(logged))) == 60
    assert len(rows_of(logged, task(logged, labels=False))) == 105


def test_without_labels_all_requests_count(logged: Lab) -> None:
    assert len(rows_of(logged, task(logged, labels=False))) == 100


@pytest.mark.parametrize(
    ("source", "first", "last"),
    [
        ({"newest_rows": 10}, 50, 59),
        ({"since": "2026-03-01T11:00:00Z"}, 30, 59),
        ({"until": "2026-03-01T10:40:00Z"}, 0, 9),
        ({"since": "2026-03-01T11:00:00+00:00", "until": "2026-03-01T11:05:00Z", "newestRows": 3}, 32, 34),
    ],
)
def test_windows(logged: Lab, source: dict[str, Any], first: int, last: int) -> None:
    rows = rows_of(logged, task(logged, **source))
    assert [r["_tidemill_request_id"] for r in rows] == [f"r{i}" for i in range(first, last + 1)]


def read_files(lab: Lab, document: dict[str, Any]) -> list[str]:
    """The files of the log that are read."""
    context = lab.context()
    lab.run(document, context)
    return sorted(uri.split("/log/")[1] for uri in context.inputs if "/log/" in uri)


@pytest.mark.parametrize(
    ("source", "folders"),
    [
        ({"newestRows": 5}, ["03-01/11", "03-01/12"]),  # no request of hour 12 has its label yet
        ({"newestRows": 31}, ["02-28/23", "03-01/10", "03-01/11", "03-01/12"]),  # two hours at once, after two
        ({"newestRows": 5, "until": "2026-03-01T11:00:00Z"}, ["03-01/10"]),
        ({"newestRows": 500, "since": "2026-03-01T11:10:00Z"}, ["03-01/11", "03-01/12"]),
        ({"since": "2026-03-01T11:10:00Z", "until": "2026-03-01T11:20:00Z"}, ["03-01/11"]),
    ],
)
def test_no_more_hours_are_read_than_the_rows_need(logged: Lab, source: dict[str, Any], folders: list[str]) -> None:
    logged.put_table("log/2026-02-28/23/pod-0-0.parquet", log_file(-690, 10))
    logged.put_table("log/2026-02-27/23/pod-0-0.parquet", log_file(-2130, 10))
    assert [file[len("2026-") :][:8] for file in read_files(logged, task(logged, **source))] == folders


def test_columns_that_only_older_hours_have_are_kept(logged: Lab) -> None:
    older = log_file(-690, 10).append_column("origin", pa.array(["JFK"] * 10))
    logged.put_table("log/2026-02-28/23/pod-0-0.parquet", older)
    rows = rows_of(logged, task(logged, labels=False, newestRows=105))
    assert [row["origin"] for row in rows] == ["JFK"] * 5 + [None] * 100


def test_a_row_that_was_stored_twice_counts_once(logged: Lab) -> None:
    twice = log_file(85, 8)
    logged.put_table("log/2026-03-01/11/pod-0-9.parquet", twice.slice(0, 5))
    logged.put_table("log/2026-03-01/12/pod-0-9.parquet", twice.slice(5))
    other = log_file(85, 1).set_column(5, "_tidemill_version", pa.array([2], pa.int64()))
    logged.put_table("log/2026-03-01/11/pod-1-9.parquet", other)
    nameless = log_file(80, 2).set_column(4, "_tidemill_request_id", pa.array(["", ""]))
    logged.put_table("log/2026-03-01/11/pod-2-9.parquet", pa.concat_tables([nameless, nameless]))
    rows = logged.run(task(logged, labels=False, newestRows=15)).rows
    assert sum(rows.values()) == 15
    result = logged.run(task(logged, labels=False))
    assert sum(result.rows.values()) == 100 + 1 + 4, "another version's and those without an id are other requests"


def test_appended_to_a_base_its_columns_count_and_predictions_are_left_out(logged: Lab) -> None:
    base = {"distance": pa.array([7, 8], pa.int64()), "carrier": ["AA", "AA"], "arr_delay": [1.5, 2.5]}
    uri = logged.put_table("base.parquet", base)
    document = task(logged, {"name": "base", "s3": {"uri": uri}})
    result = logged.run(document)
    assert [(c.name, c.type) for c in result.columns] == [
        ("distance", "bigint"),
        ("carrier", "varchar"),
        ("arr_delay", "double"),
        ("_tidemill_time", "timestamp with time zone"),
        ("_tidemill_request_id", "varchar"),
        ("_tidemill_version", "bigint"),
    ]
    assert sum(result.rows.values()) == 62


def test_sql_can_ask_for_predictions(logged: Lab) -> None:
    sql = 'SELECT _tidemill_request_id, abs("prediction.prediction" - arr_delay) AS error FROM log'
    rows = rows_of(logged, {**task(logged), "transform": {"sql": sql}})
    assert rows[3]["error"] == 3.0


def test_split_by_time_of_the_request(logged: Lab) -> None:
    document = {**task(logged), "split": {"byTime": {"column": "_tidemill_time", "testRows": 5, "validation": 0}}}
    result = logged.run(document)
    test = logged.get_table(f"{result.artifact.uri}/test.parquet")
    assert sorted(test["_tidemill_request_id"].to_pylist()) == [f"r{i}" for i in range(55, 60)]


def test_nothing_logged_yet(lab: Lab) -> None:
    with pytest.raises(DatasetEmpty, match="Deployment delay has logged no request yet"):
        lab.run(task(lab, labels=False))


def test_what_can_be_wrong(logged: Lab) -> None:
    with pytest.raises(DatasetEmpty, match="in that time"):
        logged.run(task(logged, since="2027-01-01T00:00:00Z"))
    with pytest.raises(InvalidSpec, match="is not a time") as caught:
        logged.run(task(logged, since="yesterday"))
    assert caught.value.field == "spec.inputs[0].inferenceLog.since"
    document = task(logged)
    labels = document["inputs"][0]["inferenceLog"]["source"]["labels"]
    labels["requestIdColumn"] = "id"
    with pytest.raises(ColumnMissing, match="has no column 'id'"):
        logged.run(document)
    labels["s3"]["uri"] = f"{logged.root}/nowhere/"
    with pytest.raises(ObjectNotFound, match="log, labels"):
        logged.run(document)
