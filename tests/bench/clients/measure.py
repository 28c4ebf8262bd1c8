"""One step of one client in a process of its own; prints JSON. Started by run.py, with the peers' interpreter.

A candidate's methods are coroutines, or plain functions that are called in threads. `process_time` counts all threads.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.clients import objects
from tests.bench.clients.catalogue import ALL, Entry

IN_FLIGHT = 16
WARM_UP = 2 * IN_FLIGHT
"""Calls that open the connections and are not counted."""
PAGE = 500


def memory(name: str = "VmRSS") -> float:
    """Megabytes of this process, now or (VmHWM) at most."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(found[1]) / 1024, 1) if found else 0.0


@contextmanager
def clocks(result: dict[str, float], count: int) -> Iterator[None]:
    """Note what `count` of something took: seconds, processor seconds, how many a second, milliseconds of CPU each."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    seconds, busy = time.perf_counter() - wall, time.process_time() - cpu
    result |= {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(busy, 3),
        "per_second": round(count / seconds, 1),
        "cpu_ms_each": round(busy * 1000 / count, 4),
    }


async def calls(call: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> None:
    """All calls, so many at a time."""
    if not inspect.iscoroutinefunction(call):
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            for _ in pool.map(lambda given: call(*given), arguments):
                pass
        return
    left = iter(arguments)

    async def work() -> None:
        for given in left:
            await call(*given)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def once(call: Callable[..., Any], *arguments: Any) -> Any:
    """One call."""
    answer = call(*arguments)
    return await answer if inspect.isawaitable(answer) else answer


async def step(entry: Entry, name: str, *, count: int, stored: int, namespace: str) -> dict[str, float]:
    """Do a step and say what it cost."""
    result: dict[str, float] = {"rss_bare_mb": memory()}
    wall, cpu = time.perf_counter(), time.process_time()
    module = entry.load()
    result["import_seconds"] = round(time.perf_counter() - wall, 3)
    result["import_cpu_seconds"] = round(time.process_time() - cpu, 3)
    result["rss_imported_mb"] = memory()
    if name == "import":
        return result
    candidate = module.Candidate(**entry.options)
    await once(candidate.open)
    try:
        await _act(candidate, name, result, count=count, stored=stored, namespace=namespace)
    finally:
        await once(candidate.close)
    result["rss_mb"], result["rss_peak_mb"] = memory(), memory("VmHWM")
    return result


async def _act(candidate: Any, name: str, result: dict[str, float], *, count: int, stored: int, namespace: str) -> None:
    if name == "watch":
        with clocks(result, stored):
            seen = await once(candidate.watch, objects.STORED, stored)
        _require(seen, stored, "events")
    elif name.startswith("list_"):
        call = candidate.list_config_maps if name == "list_models" else candidate.list_runs
        with clocks(result, stored):
            seen = await once(call, objects.STORED, None if name == "list_whole" else PAGE)
        _require(seen, stored, "objects")
    else:
        numbers = range(count + WARM_UP)
        if name == "patch":
            given: list[tuple[Any, ...]] = [(namespace, f"run-{n:05d}", objects.status(n)) for n in numbers]
        else:
            note = "created" if name == "create" else "applied"
            given = [(objects.run(namespace, n, note=note),) for n in numbers]
        call = getattr(candidate, name)
        await calls(call, given[:WARM_UP])
        with clocks(result, count):
            await calls(call, given[WARM_UP:])


def _require(seen: int, expected: int, what: str) -> None:
    if seen < expected:  # the cluster has put a ConfigMap of its own beside ours
        raise RuntimeError(f"{seen} {what} seen, {expected} are there")


def main() -> None:
    """Run one step."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("client", choices=list(ALL))
    arguments.add_argument("step")
    arguments.add_argument("--count", type=int, default=1000)
    arguments.add_argument("--stored", type=int, default=5000)
    arguments.add_argument("--namespace", default="")
    given = arguments.parse_args()
    entry = ALL[given.client]
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if entry.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        work = step(entry, given.step, count=given.count, stored=given.stored, namespace=given.namespace)
        print(json.dumps(runner.run(work)))


if __name__ == "__main__":
    main()
