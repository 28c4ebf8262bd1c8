"""The heartbeat of the scale bench."""

from __future__ import annotations

import time

from tests.bench.scale.heartbeat import BEAT, heartbeat


def test_it_counts_its_beats_until_it_is_ended() -> None:
    began = time.monotonic()
    with heartbeat() as found:
        time.sleep(2)  # the interpreter's start is in it
        assert not found
    assert 1 <= found["count"] <= (time.monotonic() - began) / BEAT
    assert 0 <= found["p50Ms"] <= found["p99Ms"] <= found["maxMs"]
