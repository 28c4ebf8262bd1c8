"""The sampling tap against a real server: what is sampled, how much, and what happens when nobody reads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.serving.clients import Client, InferenceServerException, Protocol
from tests.serving.tapped import Tapped, wait_for
from tests.serving.zoo import Array, floats, model

TEXT = (
    "g (float[N,3] x, string[N,1] s, int64[N,1] i) => (float[N,3] y, string[N,1] t)"
    " { c = Cast <to = 1> (i)\n y = Add (x, c)\n t = StringConcat (s, s) }"
)
RELU = "g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }"
Start = Callable[..., Tapped]


def ready(server: Tapped, name: str, text: str = RELU) -> None:
    """Adds and loads a model."""
    server.add(name, model(text))
    server.load(name)


def send(server: Tapped, name: str, count: int, *, threads: int = 4, feeds: dict[str, Array] | None = None) -> None:
    """Sends `count` requests over gRPC."""

    def some(number: int) -> None:
        with Client(server, "grpc") as client:
            for _ in range(count // threads + (number < count % threads)):
                client.infer(name, feeds or {"x": floats(1, 3)})

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, range(threads)))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_values_are_what_was_sent_and_answered(tapped: Start, protocol: Protocol) -> None:
    server = tapped(default=1.0)
    ready(server, "mixed", TEXT)
    rng = np.random.default_rng(2)
    sent: dict[str, tuple[dict[str, Array], dict[str, Array]]] = {}
    before = time.time_ns()
    with Client(server, protocol) as client:
        for number in range(50):
            rows = number % 3 + 1
            words = [[f"ä{number}".encode() * row] for row in range(rows)]
            feeds: dict[str, Array] = {
                "x": rng.normal(size=(rows, 3)).astype(np.float32),
                "s": np.array(words, dtype=object),
                "i": rng.integers(-5, 5, size=(rows, 1)),
            }
            sent[f"id-{number}"] = (feeds, client.infer("mixed", feeds, request_id=f"id-{number}"))
    server.settled("mixed", 50)
    records = {record.request_id: record for record in server.records()}
    assert sorted(records) == sorted(sent)
    for request_id, (feeds, answer) in sent.items():
        record = records[request_id]
        assert (record.model, record.version) == ("mixed", 1)
        assert before <= record.time_ns <= time.time_ns()
        assert (sorted(record.inputs), sorted(record.outputs)) == (["i", "s", "x"], ["t", "y"])
        for name, array in {**feeds, **answer}.items():
            found = {**record.inputs, **record.outputs}[name]
            assert found.shape == array.shape
            assert found.tolist() == array.tolist()


def test_batches_are_columns(tapped: Start) -> None:
    server = tapped(default=1.0)
    ready(server, "mixed", TEXT)
    feeds: dict[str, Array] = {
        "x": floats(2, 3),
        "s": np.array([[b"a"], [b"bcd"]], dtype=object),
        "i": np.array([[1], [2]], dtype=np.int64),
    }
    send(server, "mixed", 40, feeds=feeds)
    server.settled("mixed", 40)
    batches = server.batches()
    assert sum(len(batch) for batch in batches) == 40
    for batch in batches:
        assert (batch.model, batch.version, batch.batched) == ("mixed", 1, True)
        count = len(batch)
        assert batch.inputs["x"].shape == (count, 2, 3)
        np.testing.assert_array_equal(batch.rows(batch.inputs["x"]), np.tile(floats(2, 3), (count, 1)))
        assert batch.rows(batch.inputs["s"]).ravel().tolist() == [b"a", b"bcd"] * count
        assert batch.rows(batch.outputs["t"]).ravel().tolist() == [b"aa", b"bcdbcd"] * count
        assert (np.diff(np.sort(batch.time_ns)) >= 0).all()


def test_every_request_of_a_joined_batch_is_sampled_for_itself(tapped: Start) -> None:
    server = tapped(default=1.0)
    server.add(
        "joined", model(RELU), config="max_batch_size: 32 dynamic_batching { max_queue_delay_microseconds: 50000 }"
    )
    server.load("joined")

    def one(number: int) -> None:
        with Client(server, "grpc") as client:
            client.infer("joined", {"x": np.full((1, 3), number, np.float32)}, request_id=str(number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(48)))
    server.settled("joined", 48)
    stats = server.call("GET", "v2/models/joined/stats")["model_stats"][0]
    assert stats["execution_count"] < 48
    records = server.records()
    assert sorted(int(record.request_id) for record in records) == list(range(48))
    for record in records:
        assert record.inputs["x"].tolist() == [[float(record.request_id)] * 3]
        assert record.outputs["y"].tolist() == [[float(record.request_id)] * 3]


@pytest.mark.slow
def test_the_rate_is_honoured_for_each_model(tapped: Start) -> None:
    server = tapped(default=0.0)
    rates = {"tenth": 0.1, "half": 0.5, "all": 1.0}
    server.set_rates(models=rates)
    for name in [*rates, "none"]:
        ready(server, name)
    wait_for(
        "the rates are followed", lambda: all(abs(server.counters(n)["rate"] - r) < 1e-6 for n, r in rates.items())
    )
    for name in [*rates, "none"]:
        send(server, name, 2000)
    for name, rate in {**rates, "none": 0.0}.items():
        counters = server.settled(name, 2000)
        assert counters["seen"] == 2000
        # Five standard deviations of a binomial.
        assert abs(counters["sampled"] - 2000 * rate) <= 5 * (2000 * rate * (1 - rate)) ** 0.5
        assert counters["dropped"] == 0
        assert sum(len(batch) for batch in server.batches() if batch.model == name) == counters["written"]


def test_a_change_of_the_control_file_is_followed_within_two_seconds(tapped: Start) -> None:
    server = tapped(default=0.0)
    ready(server, "m")
    send(server, "m", 20)
    server.set_rates(models={"m": 1.0})
    wait_for("the new rate", lambda: server.counters("m")["rate"] == 1.0, seconds=2.5)
    send(server, "m", 20)
    assert server.settled("m", 40)["sampled"] == 20
    (server.tap / "control.json").write_text("{ broken")
    wait_for("the broken file is reported", lambda: "the former sampling rates stay" in server.log)
    assert server.counters("m")["rate"] == 1.0
    (server.tap / "control.json").unlink()
    wait_for("no file, no sampling", lambda: server.counters("m")["rate"] == 0.0, seconds=2.5)
    assert server.alive()


def test_failed_requests_are_not_sampled(tapped: Start) -> None:
    server = tapped(default=1.0)
    ready(server, "gather", "g (int64[N,1] i) => (float[N,1] y) <float[3] t = {1, 2, 3}> { y = Gather (t, i) }")
    with Client(server, "http") as client:
        for index in (0, 9, 2):
            feeds: dict[str, Array] = {"i": np.array([[index]], dtype=np.int64)}
            if index == 9:
                with pytest.raises(InferenceServerException):
                    client.infer("gather", feeds)
            else:
                client.infer("gather", feeds)
    server.settled("gather", 2)
    assert sorted(record.inputs["i"].tolist() for record in server.records()) == [[[0]], [[2]]]


def test_too_large_records_are_counted_and_left_out(tapped: Start) -> None:
    server = tapped(default=1.0, TIDEMILL_TAP_MAX_RECORD_BYTES="1000")
    ready(server, "wide", "g (float[N,W] x) => (float[N,W] y) { y = Relu (x) }")
    with Client(server, "grpc") as client:
        for width in (100, 126, 5000):
            client.infer("wide", {"x": np.ones((1, width), np.float32)})
    counters = server.settled("wide", 3)
    assert (counters["sampled"], counters["written"], counters["oversize"], counters["dropped"]) == (3, 1, 2, 2)


def test_a_full_queue_drops_and_counts_and_no_answer_waits(tapped: Start) -> None:
    server = tapped(default=1.0, TIDEMILL_TAP_QUEUE_BYTES="300")
    ready(server, "m")
    send(server, "m", 2000)
    counters = server.settled("m", 2000)
    assert counters["sampled"] == 2000
    assert counters["dropped_queue"] > 0
    assert counters["written"] + counters["dropped_queue"] == 2000


def test_the_disk_is_bounded_and_a_reader_that_catches_up_gets_new_samples(tapped: Start) -> None:
    limit = 200_000
    server = tapped(default=1.0, TIDEMILL_TAP_MAX_BYTES=str(limit))
    ready(server, "wide", "g (float[N,256] x) => (float[N,256] y) { y = Relu (x) }")
    feeds: dict[str, Array] = {"x": floats(4, 256)}
    for _ in range(4):
        send(server, "wide", 100, feeds=feeds)
        assert server.disk() <= limit
    counters = server.settled("wide", 400)
    assert counters["dropped_disk"] > 0
    assert counters["written"] + counters["dropped_disk"] == 400
    assert server.disk() <= limit
    for path in (server.tap / "segments").iterdir():
        os.remove(path)
    wait_for("the freed space is seen", lambda: server.stats()["disk_bytes"] == 0)
    send(server, "wide", 10, feeds=feeds)
    assert server.settled("wide", 410)["written"] == counters["written"] + 10


def test_the_end_of_the_server_completes_the_last_segment(tapped: Start) -> None:
    server = tapped(default=1.0)
    ready(server, "m")
    send(server, "m", 30)
    assert server.process is not None
    server.process.terminate()
    server.process.wait(30)
    assert sum(len(batch) for batch in server.batches()) == 30
    assert not list((server.tap / "segments").glob("*.part"))


def test_what_a_killed_server_left_is_read_after_the_next_start(tapped: Start) -> None:
    server = tapped(default=1.0)
    ready(server, "m")
    send(server, "m", 30)
    parts = server.tap / "segments"
    wait_for("something is written", lambda: any(path.stat().st_size > 500 for path in parts.iterdir()), seconds=2)
    assert server.process is not None
    server.process.kill()
    server.process.wait(30)
    before = {path.stem.split(".")[0] for path in parts.iterdir()}
    server.start()
    ready(server, "m")
    assert not list(parts.glob("*.part"))
    assert before <= {path.stem.split(".")[0] for path in parts.iterdir()}
    assert sum(len(batch) for batch in server.batches()) == 30


def test_counters_of_unloaded_models_are_kept_in_sum(tapped: Start) -> None:
    server = tapped(default=1.0)
    for name in ("a", "b"):
        ready(server, name)
        send(server, name, 25)
        server.settled(name, 25)
        server.unload(name)
    wait_for("both are gone", lambda: server.stats()["models"] == {})
    gone = server.stats()["unloaded"]
    assert (gone["seen"], gone["sampled"], gone["written"], gone["dropped"]) == (50, 50, 50, 0)
