"""From segments to objects over the agent's death: every value is counted once, every row is stored once."""

from __future__ import annotations

import asyncio
import io
import os
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.agent.models import baseline, signature
from tests.serving.test_tap_reader import frame, items, padded, schema

from tidemill_agent.consumer import Consumer
from tidemill_agent.counters import Counters
from tidemill_agent.inferencelog import HOUR, File, InferenceLog
from tidemill_agent.journal import FOLDER, Journal
from tidemill_agent.sampling import Sampling
from tidemill_agent.store import Store
from tidemill_agent.tap import segments
from tidemill_agent.trace_spool import TraceSpool

FLUSH_SECONDS = 30.0


def block(first: int, number: int, *, hour: int = 0) -> bytes:
    """Requests `r<first>` … of one row, whose distance is their number."""
    times = struct.pack(f"<{number}Q", *(hour * HOUR + i for i in range(first, first + number)))
    ids = items([b"r%d" % i for i in range(first, first + number)])
    values = padded(np.arange(first, first + number, dtype="<f4").tobytes())
    return struct.pack("<II", number, 0) + times + ids + values


@dataclass
class Bench:
    """A pod's tap and a store, which outlive the agents."""

    tap: Path
    objects: dict[str, bytes] = field(default_factory=dict)
    written: int = 0

    def segment(self, *parts: tuple[str, int, bytes]) -> None:
        """A segment of the tap; a part is a model, a version and a block."""
        self.written += 1
        path = self.tap / "segments" / f"7-{self.written:08d}.tap"
        path.parent.mkdir(exist_ok=True)
        header = struct.pack("<8sHHIQQ8x", b"TIDETAP\0", 1, 40, 7, self.written, 1)
        frames = []
        for number, (model, version, rows) in enumerate(parts):
            described = schema(model, version, [(0, 11, "distance", (1,))], batched=False)
            frames += [frame(1, number, described), frame(2, number, rows)]
        path.write_bytes(header + b"".join(frames))
        os.utime(path, ns=(self.written * 10**9,) * 2)

    def rows(self) -> Counter[tuple[str, str, int]]:
        """How often each row is in the store: deployment, request, version."""
        found: Counter[tuple[str, str, int]] = Counter()
        for uri, body in self.objects.items():
            deployment = uri.split("/inference-log/")[1].split("/")[0]
            table = pq.read_table(io.BytesIO(body))
            ids, versions = table["_tidemill_request_id"].to_pylist(), table["_tidemill_version"].to_pylist()
            found.update((deployment, i, v) for i, v in zip(ids, versions, strict=True))
        return found

    def journal(self) -> list[str]:
        """What is in the journal."""
        return sorted(path.suffix for path in (self.tap / FOLDER).iterdir())


class Agent:
    """The sampling part of one agent's life; it is killed by being used no more."""

    def __init__(self, bench: Bench, *, buffer_bytes: int = 1 << 20) -> None:
        self.bench = bench
        journal = Journal(bench.tap)
        self.counters = Counters("ns")
        for model in ("a", "b"):
            for version in (1, 2):
                self.counters.track(model, version, f"sha256:{version}", signature(), baseline())
        self.log = InferenceLog(
            bucket="tidemill", namespace="ns", pod="pool-0", pod_uid="uid", flush_rows=1000, flush_seconds=FLUSH_SECONDS,
            buffer_bytes=buffer_bytes, journal=journal,
        )  # fmt: skip
        spool = TraceSpool(bench.tap, 1 << 20, batched=lambda _: None, dropped=lambda *_: None)
        self.consumer = Consumer(bench.tap, self.counters, self.log, spool, journal)

    def read(self, now: float = 0.0) -> int:
        """Read all that is there; says how many requests this process counted so far."""
        while self.consumer.poll(now):
            pass
        lines = [ln for ln in self.counters.render().splitlines() if ln.startswith("tidemill_sampled_requests_total{")]
        return sum(int(line.rsplit(" ", 1)[1]) for line in lines)

    def put(self, file: File) -> None:
        """The store takes a file; the agent has not heard of it yet."""
        self.log.storing(file)
        self.bench.objects[file.uri] = file.encode()

    def store(self, now: float = FLUSH_SECONDS) -> int:
        """Store what is due, and hear of it."""
        files = self.log.take(now)
        for file in files:
            self.put(file)
            self.log.stored(file)
        return len(files)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty pod."""
    return Bench(tmp_path)


def once(*rows: tuple[str, range, int]) -> Counter[tuple[str, str, int]]:
    """Each of these rows, once."""
    return Counter({(model, f"r{i}", version): 1 for model, ids, version in rows for i in ids})


def test_segments_are_merged_stored_and_removed(bench: Bench) -> None:
    for number in range(5):
        bench.segment(("a", 1, block(10 * number, 10)), ("a", 2, block(10 * number, 10)))
    agent = Agent(bench)
    assert agent.read() == 100
    assert agent.store(now=1.0) == 0, "nothing is due yet"
    assert agent.store() == 2
    assert bench.rows() == once(("a", range(50), 1), ("a", range(50), 2))
    assert segments(bench.tap) == []
    assert bench.journal() == []


def test_what_was_counted_is_not_counted_by_the_next_agent(bench: Bench) -> None:
    bench.segment(("a", 1, block(0, 10)))
    assert Agent(bench).read() == 10
    bench.segment(("a", 1, block(10, 5)))
    second = Agent(bench)
    assert second.read() == 5, "only what the first has not counted"
    second.store()
    assert bench.rows() == once(("a", range(15), 1))
    # A restarted server uses the name of a removed segment again.
    bench.written = 0
    bench.segment(("a", 1, block(20, 3)))
    assert Agent(bench).read() == 3


def test_a_lost_answer_and_a_kill_store_the_same_object_again(bench: Bench) -> None:
    for number in range(20):
        bench.segment(("a", 1, block(10 * number, 10)))
    first = Agent(bench)
    first.read()
    (file,) = first.log.take(FLUSH_SECONDS)
    first.put(file)
    first.log.failed(file)  # the answer timed out
    bench.segment(("a", 1, block(200, 10)))
    first.read(now=1.0)
    bench.segment(("a", 1, block(210, 10)))

    second = Agent(bench)
    second.consumer.poll(2.0)
    assert second.log.take(2.0) == [], "the planned object is not whole before all of its segments are read"
    second.read(now=2.0)
    (again,) = second.log.take(2.0)
    before = dict(bench.objects)
    second.put(again)
    assert bench.objects == before, "the same object with the same rows"
    second.log.stored(again)
    assert bench.rows() == once(("a", range(200), 1))
    assert len(segments(bench.tap)) == 2
    second.store(now=2 * FLUSH_SECONDS)
    assert bench.rows() == once(("a", range(220), 1))
    assert bench.journal() == []


def test_without_a_kill_a_lost_answer_stores_the_same_object_again(bench: Bench) -> None:
    bench.segment(("a", 1, block(0, 10)))
    agent = Agent(bench)
    agent.read()
    (file,) = agent.log.take(FLUSH_SECONDS)
    agent.put(file)
    agent.log.failed(file)
    bench.segment(("a", 1, block(10, 10)))
    agent.read(now=1.0)
    assert agent.store(now=2 * FLUSH_SECONDS) == 2
    assert bench.rows() == once(("a", range(20), 1))


def test_a_segment_that_is_stored_in_part_is_not_stored_again(bench: Bench) -> None:
    bench.segment(("a", 1, block(0, 10)), ("b", 1, block(0, 4)), ("a", 1, block(50, 2, hour=1)))
    first = Agent(bench)
    first.read()
    files = {file.uri: file for file in first.log.take(FLUSH_SECONDS)}
    assert len(files) == 3
    stored = next(uri for uri in files if "/a/1970-01-01/00/" in uri)
    first.put(files[stored])
    first.log.stored(files[stored])
    assert len(segments(bench.tap)) == 1
    body = bench.objects.pop(stored)

    second = Agent(bench)
    assert second.read() == 0
    assert second.store() == 2
    assert stored not in bench.objects
    bench.objects[stored] = body
    assert bench.rows() == once(("a", range(10), 1), ("b", range(4), 1), ("a", range(50, 52), 1))
    assert segments(bench.tap) == []
    assert bench.journal() == []


def test_rows_of_one_kind_in_two_schemas_of_a_segment_share_an_object(bench: Bench) -> None:
    bench.segment(("a", 1, block(0, 3)), ("a", 1, block(3, 3)))
    agent = Agent(bench)
    agent.read()
    assert agent.store() == 1
    assert bench.rows() == once(("a", range(6), 1))


def test_given_up_rows_do_not_overwrite_what_may_be_stored(bench: Bench) -> None:
    bench.segment(("a", 1, block(0, 10)), ("b", 1, block(0, 40)))
    first = Agent(bench, buffer_bytes=1800)
    first.read()
    file = next(f for f in first.log.take(FLUSH_SECONDS) if "/a/" in f.uri)
    first.put(file)
    first.log.failed(file)
    bench.segment(("b", 1, block(100, 20)))
    first.read(now=1.0)
    assert first.log.given_up_rows == 10
    assert first.log.bytes <= 1800
    body = bench.objects[file.uri]
    second = Agent(bench)
    second.read()
    second.store()
    assert bench.objects[file.uri] == body
    assert bench.rows() == once(("a", range(10), 1), ("b", range(40), 1), ("b", range(100, 120), 1))


def test_a_damaged_plan_is_left_out(bench: Bench) -> None:
    bench.segment(("a", 1, block(0, 10)))
    first = Agent(bench)
    first.read()
    (file,) = first.log.take(FLUSH_SECONDS)
    first.log.storing(file)
    (plan,) = (bench.tap / FOLDER).glob("*.planned")
    plan.write_bytes(b"")
    second = Agent(bench)
    second.read()
    assert second.store() == 1
    assert bench.rows() == once(("a", range(10), 1))


def test_a_journal_that_cannot_be_written_does_not_end_the_agent(bench: Bench) -> None:
    bench.segment(("a", 1, block(0, 10)))
    agent = Agent(bench)
    agent.read()
    (bench.tap / FOLDER).rename(bench.tap / "away")
    (bench.tap / FOLDER).write_text("not a folder")
    bench.segment(("a", 1, block(10, 5)))
    assert agent.read() == 15
    sampling = Sampling(
        consumer=agent.consumer, inference_log=agent.log, store=Store(endpoint="http://127.0.0.1:9", region="us-east-1")
    )
    asyncio.run(sampling.finish())
    assert len(segments(bench.tap)) == 2
    assert bench.objects == {}
