"""Median latency of one-row inferences, alternating between the candidates so that a noisy machine is noisy for both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

WARM_UP, REPEATS = 50, 400


def medians(candidates: Sequence[Callable[[int], object]], *, repeats: int = REPEATS) -> list[float]:
    """Milliseconds by candidate; each is called with the number of the repetition."""
    for number in range(WARM_UP):
        for call in candidates:
            call(number)
    times: list[list[float]] = [[] for _ in candidates]
    for number in range(repeats):
        for place in range(len(candidates)):
            which = (place + number) % len(candidates)  # nobody always goes first
            began = time.perf_counter_ns()
            candidates[which](number)
            times[which].append((time.perf_counter_ns() - began) / 1e6)
    return [round(statistics.median(found), 6) for found in times]
