"""The text of the queries, and what they are worth: a real Prometheus on loopback against numpy."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from tests.unit.runtime.drift_math import jensen_shannon, psi

from tidemill.runtime import promql
from tidemill.runtime.prometheus import Prometheus, PrometheusError
from tidemill.runtime.settings import PrometheusSettings

BASE = np.array([0.25, 0.25, 0.25, 0.2, 0.05])
STEP = np.array([40.0, 10.0, 25.0, 5.0, 0.0])
"""Values that a second adds to each bin: the last one is never hit, and has no series at all."""
PODS = 2
WINDOW = 8


def test_the_text_of_psi() -> None:
    feature = "namespace, deployment, version, digest, feature"
    counted = 'increase(tidemill_feature_bin_total{x="1"}[60s])'
    base = f'max by ({feature}, bin) (tidemill_baseline_bin_ratio{{x="1"}})'
    live = (
        f"((sum by ({feature}, bin) ({counted}) or {base} * 0) / on ({feature}) group_left () "
        f"(sum by ({feature}) ({counted}) > 0))"
    )
    expected = f"sum by ({feature}) ((clamp_min({live}, 0.0001) - clamp_min({base}, 0.0001)) * ln("
    assert promql.psi(window=60, match='x="1"').startswith(expected)


def test_the_text_of_the_missing_rate() -> None:
    labels = "namespace, deployment, version, digest, feature"
    assert promql.missing_rate(window=3600) == (
        f"sum by ({labels}) (increase(tidemill_feature_missing_total[3600s])) / (sum by ({labels}) "
        f"(increase(tidemill_feature_values_total[3600s])) > 0) - max by ({labels}) (tidemill_baseline_missing_ratio)"
    )


def test_matchers_name_few_deployments_and_not_many() -> None:
    assert promql.matcher(namespaces=["b", "a"], deployments=["d"]) == 'namespace=~"a|b", deployment=~"d"'
    assert promql.matcher(namespaces=[], deployments=[str(n) for n in range(promql.MATCH_LIMIT + 1)]) == ""


def test_a_name_cannot_change_the_query() -> None:
    with pytest.raises(ValueError, match="not a DNS label"):
        promql.matcher(namespaces=[], deployments=['a"} or vector(1'])


class Exporter:
    """Two pods of one deployment; their counters grow by fixed steps each second."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def text(self, pod: int) -> str:
        seconds = int(time.monotonic() - self.started)
        labels = 'namespace="ns",deployment="d",version="1",digest="d1"'
        feature = f'{labels},feature="f"'
        lines = [f'tidemill_feature_bin_total{{{feature},bin="{b}"}} {s * seconds}' for b, s in enumerate(STEP) if s]
        lines += [f'tidemill_baseline_bin_ratio{{{feature},bin="{b}"}} {r}' for b, r in enumerate(BASE)]
        lines += [
            f"tidemill_feature_missing_total{{{feature}}} {20 * seconds}",
            f"tidemill_feature_values_total{{{feature}}} {100 * seconds}",
            f"tidemill_baseline_missing_ratio{{{feature}}} 0.05",
            f"tidemill_sampled_requests_total{{{labels}}} {100 * seconds}",
            # a feature of which nothing was seen has a baseline and no score
            f'tidemill_baseline_bin_ratio{{{labels},feature="unseen",bin="0"}} 1',
            f"tidemill_pod {pod}",
        ]
        return "\n".join(lines) + "\n"


@pytest.fixture
def prometheus_port(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A Prometheus and the port of the exporter that it scrapes each second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus on this machine: apt-get install prometheus")
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    config = tmp_path / "prometheus.yml"
    targets = "".join(
        f"\n  - job_name: pod{p}\n    metrics_path: /{p}\n    static_configs: [{{targets: ['127.0.0.1:{ports[1]}']}}]"
        for p in range(PODS)
    )
    config.write_text(f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:{targets}\n")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{ports[0]}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield ports[0], ports[1]
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.mark.slow
def test_a_real_prometheus_agrees_with_numpy(prometheus_port: tuple[int, int]) -> None:
    port, exporter_port = prometheus_port
    exporter = Exporter()
    live = STEP / STEP.sum()

    async def play() -> dict[str, dict[str, float]]:
        app = web.Application()

        async def scrape(request: web.Request) -> web.Response:
            return web.Response(text=exporter.text(int(request.match_info["pod"])))

        app.router.add_get("/{pod}", scrape)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", exporter_port).start()
        queries = {
            "PSI": promql.score("PSI", window=WINDOW, match=promql.matcher(namespaces=["ns"], deployments=["d"])),
            "JensenShannon": promql.score("JensenShannon", window=WINDOW),
            "MissingRate": promql.score("MissingRate", window=WINDOW),
            "samples": promql.samples(window=WINDOW),
        }
        async with Prometheus(PrometheusSettings(url=f"http://127.0.0.1:{port}")) as prometheus:
            deadline = time.monotonic() + 90
            while time.monotonic() < deadline:
                now = int(time.time())
                try:
                    rows = {
                        name: {
                            labels.get("feature", "-"): values[now]
                            for labels, values in await prometheus.query_range(text, start=now, end=now, step=1)
                        }
                        for name, text in queries.items()
                    }
                except PrometheusError:
                    rows = {}  # still starting
                # until both pods have filled the window
                if rows and rows["samples"].get("-", 0.0) > 0.8 * PODS * 100 * WINDOW:
                    await runner.cleanup()
                    return rows
                await asyncio.sleep(0.5)
        raise AssertionError("Prometheus has not filled the window in 90 s")

    rows = asyncio.run(play())
    # Both pods have the same shares, so extrapolation at the window's edges cancels out.
    assert rows["PSI"] == pytest.approx({"f": psi(live, BASE)}, rel=0.05)
    assert rows["JensenShannon"] == pytest.approx({"f": jensen_shannon(live, BASE)}, rel=0.05)
    assert rows["MissingRate"] == pytest.approx({"f": 0.2 - 0.05}, abs=0.005)


def test_errors_say_whether_it_was_the_network_or_the_query(prometheus_port: tuple[int, int]) -> None:
    async def play(port: int) -> str:
        async with Prometheus(PrometheusSettings(url=f"http://127.0.0.1:{port}")) as prometheus:
            for _ in range(120):
                try:
                    await prometheus.query_range("sum by (", start=0, end=1, step=1)
                except PrometheusError as error:
                    if "cannot be reached" not in str(error) and "503" not in str(error):
                        return str(error)
                await asyncio.sleep(0.25)
        raise AssertionError("Prometheus does not answer")

    async def nobody() -> None:
        async with Prometheus(PrometheusSettings(url="http://127.0.0.1:1")) as prometheus:
            await prometheus.query_range("1", start=0, end=1, step=1)

    assert "parse error" in asyncio.run(play(prometheus_port[0]))
    with pytest.raises(PrometheusError, match=r"127\.0\.0\.1:1 cannot be reached"):
        asyncio.run(nobody())
