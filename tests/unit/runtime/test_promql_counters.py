"""Scores over counters as they are: pods that restart and see different requests, artifacts that follow one another.

A real Prometheus answers over a history that is written into its storage, so the numbers are exact.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.runtime.drift_math import jensen_shannon, psi

from tidemill.runtime import promql
from tidemill.runtime.prometheus import Prometheus, PrometheusError
from tidemill.runtime.settings import PrometheusSettings

SCRAPE, WINDOW = 15, 300
SCRAPES = 120
SEEN = WINDOW // SCRAPE - 1
"""Growths of a counter between the scrapes in the window that is evaluated."""
AFTER = 7
"""The evaluation comes so many seconds after a scrape."""
BINS = 5
FLAT = np.full(BINS, 1 / BINS)
STEEP = np.array([0.5, 0.2, 0.2, 0.05, 0.05])


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one pod counts for one artifact: the growth of every bin, of missing values and of requests by scrape."""

    pod: str
    version: int
    digest: str
    base: NDArray[np.float64]
    rates: tuple[float, ...]
    restarts: tuple[int, ...] = ()
    """The scrapes before which the pod restarted: its counters begin at 0."""

    @property
    def growth(self) -> NDArray[np.int64]:
        """By scrape: a column a bin, the last one for missing values."""
        draw = np.random.default_rng(sum(map(ord, self.pod + self.digest)))
        return draw.poisson([*self.rates, 3.0 * self.version], size=(SCRAPES, BINS + 1))

    def counters(self) -> NDArray[np.int64]:
        """What a scrape reads."""
        found, value = [], np.zeros(BINS + 1, dtype=np.int64)
        for scrape, growth in enumerate(self.growth):
            value = growth if scrape in self.restarts else value + growth
            found.append(value)
        return np.array(found)


LATE = SCRAPES - 4
HISTORY = (
    # the larger pod sees other requests than the smaller one, which restarts twice in the window
    Counted(pod="a", version=1, digest="d1", base=FLAT, rates=(40, 30, 20, 10, 4)),
    Counted(pod="b", version=1, digest="d1", base=FLAT, rates=(2, 2, 4, 8, 16), restarts=(LATE - 6, LATE)),
    # the same number, another model: other bins, counted by a pod that still answers with it
    Counted(pod="c", version=1, digest="d2", base=STEEP, rates=(50, 20, 20, 5, 5)),
    Counted(pod="a", version=2, digest="d3", base=STEEP, rates=(4, 4, 4, 4, 100), restarts=(LATE - 1,)),
)


def exposition(started: int) -> Iterator[str]:
    """The history as OpenMetrics with times, metric by metric."""
    families: dict[str, list[str]] = {}

    def add(family: str, labels: str, value: float, scrape: int) -> None:
        families.setdefault(family, []).append(f"{family}{{{labels}}} {value} {started + scrape * SCRAPE}")

    for counted in HISTORY:
        of = f'namespace="ns",deployment="d",version="{counted.version}",digest="{counted.digest}",pod="{counted.pod}"'
        for scrape, values in enumerate(counted.counters().tolist()):
            *bins, missing = values
            add("tidemill_sampled_requests_total", of, sum(values), scrape)
            add("tidemill_feature_missing_total", f'{of},feature="f"', missing, scrape)
            add("tidemill_feature_values_total", f'{of},feature="f"', sum(values), scrape)
            add("tidemill_baseline_missing_ratio", f'{of},feature="f"', 0.01, scrape)
            for number, (value, share) in enumerate(zip(bins, counted.base.tolist(), strict=True)):
                add("tidemill_feature_bin_total", f'{of},feature="f",bin="{number}"', value, scrape)
                add("tidemill_baseline_bin_ratio", f'{of},feature="f",bin="{number}"', share, scrape)
    for family, lines in families.items():
        yield f"# TYPE {family.removesuffix('_total')} {'counter' if family.endswith('_total') else 'gauge'}"
        yield from sorted(lines, key=lambda line: line.rpartition(" ")[0].partition("}")[0])
    yield "# EOF"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A Prometheus that has the history, and the moment of the evaluation."""
    program, tool = shutil.which("prometheus"), shutil.which("promtool")
    if program is None or tool is None:
        pytest.skip("no prometheus on this machine: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    started = int(time.time()) // 3600 * 3600 - 4 * 3600
    (folder / "history").write_text("\n".join(exposition(started)) + "\n")
    (folder / "prometheus.yml").write_text("{}\n")
    made = subprocess.run(
        [tool, "tsdb", "create-blocks-from", "openmetrics", str(folder / "history"), str(folder / "data")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{port}", started + (SCRAPES - 1) * SCRAPE + AFTER
        finally:
            process.terminate()
            process.wait(timeout=20)


def ask(evaluated: tuple[str, int], expression: str) -> dict[tuple[str, str], float]:
    """The answer by version and digest."""
    url, at = evaluated

    async def play() -> dict[tuple[str, str], float]:
        async with Prometheus(PrometheusSettings(url=url)) as prometheus:
            deadline = time.monotonic() + 60
            while True:
                try:
                    rows = await prometheus.query_range(expression, start=at, end=at, step=1)
                except PrometheusError:
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(0.25)  # still starting
                else:
                    return {(labels["version"], labels["digest"]): values[at] for labels, values in rows}

    return asyncio.run(play())


def grown() -> dict[tuple[str, str], NDArray[np.float64]]:
    """What the pods together have counted in the window, by version and digest."""
    found: dict[tuple[str, str], NDArray[np.float64]] = {}
    for counted in HISTORY:
        key = str(counted.version), counted.digest
        found[key] = found.get(key, np.zeros(BINS + 1)) + counted.growth[-SEEN:].sum(axis=0)
    return found


BASES = {(str(counted.version), counted.digest): counted.base for counted in HISTORY}


def test_psi_is_that_of_the_artifacts_own_counts(evaluated: tuple[str, int]) -> None:
    expected = {key: psi(c[:-1] / c[:-1].sum(), BASES[key]) for key, c in grown().items()}
    assert len(expected) == 3
    assert ask(evaluated, promql.score("PSI", window=WINDOW)) == pytest.approx(expected, rel=1e-9)


def test_jensen_shannon_is_that_of_the_artifacts_own_counts(evaluated: tuple[str, int]) -> None:
    expected = {key: jensen_shannon(c[:-1] / c[:-1].sum(), BASES[key]) for key, c in grown().items()}
    assert ask(evaluated, promql.score("JensenShannon", window=WINDOW)) == pytest.approx(expected, rel=1e-6)


def test_the_missing_rate_is_that_of_the_artifacts_own_counts(evaluated: tuple[str, int]) -> None:
    expected = {key: c[-1] / c.sum() - 0.01 for key, c in grown().items()}
    assert ask(evaluated, promql.score("MissingRate", window=WINDOW)) == pytest.approx(expected, rel=1e-9)


def test_samples_of_restarted_pods_are_all_counted(evaluated: tuple[str, int]) -> None:
    extrapolated = WINDOW / (SEEN * SCRAPE)
    expected = {key: c.sum() * extrapolated for key, c in grown().items()}
    match = promql.matcher(namespaces=["ns"], deployments=["d"])
    assert ask(evaluated, promql.samples(window=WINDOW, match=match)) == pytest.approx(expected, rel=1e-9)
