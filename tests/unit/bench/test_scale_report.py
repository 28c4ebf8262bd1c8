"""The scale bench's summary and report, on a result of known numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.bench.scale.report import (
    DOCUMENT,
    GUIDE,
    between,
    calls_text,
    figures_text,
    machine_text,
    mix_text,
    shares_text,
    write,
)
from tests.bench.scale.run import arguments
from tests.bench.scale.summary import FIGURES, summarise, value_of


def _result(size: int) -> dict[str, Any]:
    """Costs that are linear in the size, but for the restart, which is quadratic."""
    half = {"childrenPerSecond": 100.0, "finishedPerSecond": 20.0}
    memory = {"rssMb": 80 + size / 100, "peakMb": 90 + size / 100}
    spread = {"count": 2, "p50Ms": 5.0, "p99Ms": 20.0, "maxMs": 20.0}
    fill = {
        "objects": size,
        "settledSeconds": size / 10,
        "settledPerSecond": 10.0,
        "operatorCpuSeconds": size / 100,
        "cpuMsPerObject": 10.0,
        "reconcilesPerObject": 8.0,
        "apiCallsPerObject": 7.0,
        "apiCalls": {"create": size, "list": 0},
        "auditedByCall": {"create jobs.batch": size},
        "othersCpuSeconds": {"etcd": size / 100, "kube-apiserver": size / 50},
    }
    return {
        "size": size,
        "commit": "abc",
        "at": "2026-01-01T00:00:00Z",
        "machine": {
            "cpu": "CPU",
            "cores": 2,
            "memoryGiB": 24.0,
            "kernel": "6.1",
            "python": "3.11.7",
            "operatorLibraries": "its own",
            "loadBefore": [0.5, 1, 2],
        },
        "burst": {"kubernetes": "v1.35.4", "trainingRuns": half, "deployments": half},
        "mixed": {
            "kubernetes": "v1.35.4",
            "mix": {"Dataset": size // 10, "TrainingRun": size - size // 10},
            "objects": {"Dataset": size // 10, "TrainingRun": size - size // 10, "Job": size, "Pod": 0},
            "memoryEmpty": {"rssMb": 80.0, "peakMb": 80.0},
            "fill": fill,
            "churn": {
                "seconds": 120.2,
                "specToStatus": spread,
                "changeToChild": spread,
                "idleProcess": {**spread, "over100Ms": 0},
                "unanswered": 0,
                "cpuMsPerObject": 5.0,
            },
            "idle": {"seconds": 300.0, "writes": 1, "cpuPercent": 0.3, "memory": memory},
            "gitops": {"lookedAtSeconds": size / 100, "writes": 0},
            "restart": {
                "syncedSeconds": 1.0,
                "firstPassSeconds": (size / 100) ** 2,
                "writes": 0,
                "cpuSeconds": 2.0,
                "firstPassSecondsByItself": 0.5,
                "memory": memory,
            },
            "failover": {"leaseSeconds": 16.0, "firstPassSeconds": 17.0},
            "settings": {"lastStatefulSetSeconds": 3.0, "lastDeploymentSeconds": 3.5},
        },
    }


RESULTS = [_result(100), _result(1000)]


def _row(title: str) -> dict[str, Any]:
    return next(row for row in summarise(RESULTS)["rows"] if row["figure"] == title)


def test_every_figure_is_found_in_a_complete_result() -> None:
    assert {figure.title for figure in FIGURES if value_of(figure, RESULTS[0]) is None} == set()


def test_what_was_not_measured_has_no_value_and_keeps_no_bar() -> None:
    rows = summarise([{**RESULTS[0], "burst": None}, RESULTS[1]])["rows"]
    assert rows[0]["values"] == {"100": None, "1000": 100.0}
    assert rows[0]["kept"] == {"1000": False}


def test_bars_are_of_a_size_or_of_all() -> None:
    assert _row("TrainingRuns at once → Jobs created, 1/s")["kept"] == {"1000": False}
    assert _row("change → child p99, ms")["kept"] == {"100": True, "1000": True}
    assert _row("writes while idle")["kept"] == {"100": False, "1000": False}
    assert _row("restart → first full pass, s")["kept"] == {"1000": False}


def test_the_growth_is_measured() -> None:
    assert _row("mix: operator CPU, s")["exponent"] == 1
    assert _row("restart → first full pass, s")["exponent"] == 2
    assert _row("RSS beyond the empty operator's, MB")["exponent"] == 1


def test_tables_show_sizes_bars_and_what_misses_them() -> None:
    text = figures_text(summarise(RESULTS))
    assert "|  | 100 | 1,000 | bar | growth |" in text
    assert "| TrainingRuns at once → Jobs created, 1/s | 100 | **100** | ≥ 120 at 1,000 |  |" in text
    assert "| restart → first full pass, s | 1 | **100** | ≤ 5 at 1,000; ≤ 30 at 10,000 | n^2.00 |" in text
    assert "| 1,000 | 100 | 900 | 1,000: 1,000 Job |" in mix_text(RESULTS)
    assert "| 100 | 25% | 25% | 50% |" in shares_text(RESULTS)
    assert "| 100 | create 1.00 | create jobs.batch 1.00 |" in calls_text(RESULTS)
    assert "2 cores of CPU, 24 GiB, Linux 6.1" in machine_text(RESULTS)
    assert machine_text(RESULTS).endswith(" Changed for 120 s, left alone for 300 s.")


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    text = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n"
    once = between(text, "x", "new \\1")
    assert once == "a\n<!-- begin x -->\nnew \\1\n<!-- end x -->\nb\n"
    assert between(once, "x", "new \\1") == once
    with pytest.raises(ValueError, match="begin y"):
        between(text, "y", "new")


def test_the_projects_documents_take_a_report_twice_and_stay_the_same(tmp_path: Path) -> None:
    for result in RESULTS:
        (tmp_path / f"size-{result['size']}.json").write_text(json.dumps(result))
    document, guide = tmp_path / "performance.md", tmp_path / "operations.md"
    chart = tmp_path / "images" / "chart.png"
    document.write_text(DOCUMENT.read_text())
    guide.write_text(GUIDE.read_text())
    write(tmp_path, document, guide, chart)
    first = document.read_text(), guide.read_text()
    assert "n^2.00" in first[0]
    assert "| 1,000 | 1,000 |" in first[1]
    write(tmp_path, document, guide, chart)
    assert (document.read_text(), guide.read_text()) == first
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert chart.stat().st_size < 150_000


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no size-"):
        write(tmp_path)


def test_quick_is_small_and_each_flag_wins_over_it() -> None:
    quick = arguments(["--quick", "--idle-seconds", "3"])
    assert (quick.sizes, quick.churn_seconds, quick.idle_seconds) == ([100, 300], 10, 3)
    full = arguments(["--sizes", "1000,100"])
    assert (full.sizes, full.churn_seconds, full.idle_seconds) == ([100, 1000], 120, 300)


def test_wrong_sizes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--sizes", "many"])
    assert "--sizes: whole numbers" in capsys.readouterr().err
