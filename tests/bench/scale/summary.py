"""The figures that matter of all sizes side by side, with their bars and how they grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.scale.figures import exponent

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: where it stands in a result, and its bar at sizes (`{1000: 120}`; 0: at every size)."""

    title: str
    path: str
    bars: Mapping[int, float]
    at_least: bool = False
    """Whether the bar is a least, not a most."""
    grows: bool = False
    """Whether its growth with the size is of interest."""


FIGURES = (
    Figure(
        "TrainingRuns at once → Jobs created, 1/s", "burst.trainingRuns.childrenPerSecond", {1000: 120}, at_least=True
    ),
    Figure("TrainingRuns at once → finished, 1/s", "burst.trainingRuns.finishedPerSecond", {}),
    Figure("Deployments at once → placements, 1/s", "burst.deployments.childrenPerSecond", {1000: 120}, at_least=True),
    Figure("Deployments at once → ready, 1/s", "burst.deployments.finishedPerSecond", {}),
    Figure("mix: seconds until all is settled", "mixed.fill.settledSeconds", {}, grows=True),
    Figure("mix: resources settled, 1/s", "mixed.fill.settledPerSecond", {}),
    Figure("mix: operator CPU, s", "mixed.fill.operatorCpuSeconds", {}, grows=True),
    Figure("mix: operator CPU per object, ms", "mixed.fill.cpuMsPerObject", {0: 8}),
    Figure("mix: API calls per object", "mixed.fill.apiCallsPerObject", {0: 3}),
    Figure("mix: reconciles per object", "mixed.fill.reconcilesPerObject", {}),
    Figure("RSS of the empty operator, MB", "mixed.memoryEmpty.rssMb", {}),
    Figure("RSS after idling, MB", "mixed.idle.memory.rssMb", {1000: 130, 10_000: 220}),
    Figure("RSS beyond the empty operator's, MB", "rssOverBaseMb", {}, grows=True),
    Figure("peak RSS while filled and changed, MB", "mixed.idle.memory.peakMb", {10_000: 400}),
    Figure("spec → status p50, ms", "mixed.churn.specToStatus.p50Ms", {}),
    Figure("spec → status p99, ms", "mixed.churn.specToStatus.p99Ms", {0: 2000}, grows=True),
    Figure("change → child p50, ms", "mixed.churn.changeToChild.p50Ms", {0: 30}),
    Figure("change → child p99, ms", "mixed.churn.changeToChild.p99Ms", {0: 250}, grows=True),
    Figure("changes unanswered", "mixed.churn.unanswered", {0: 0}),
    Figure("meanwhile, a process that only sleeps wakes late: p99, ms", "mixed.churn.idleProcess.p99Ms", {}),
    Figure("… the longest, ms", "mixed.churn.idleProcess.maxMs", {}),
    Figure("operator CPU per change, ms", "mixed.churn.cpuMsPerObject", {}, grows=True),
    Figure("writes while idle", "mixed.idle.writes", {0: 0}),
    Figure("idle CPU, % of one core", "mixed.idle.cpuPercent", {}),
    Figure("all applied again by GitOps → looked at, s", "mixed.gitops.lookedAtSeconds", {}, grows=True),
    Figure("writes by that", "mixed.gitops.writes", {0: 0}),
    Figure("restart → synced, s", "mixed.restart.syncedSeconds", {}, grows=True),
    Figure("restart → first full pass, s", "mixed.restart.firstPassSeconds", {1000: 5, 10_000: 30}, grows=True),
    Figure(
        "… without the interpreter's start and imports, s", "mixed.restart.firstPassSecondsByItself", {}, grows=True
    ),
    Figure("writes in the first pass", "mixed.restart.writes", {0: 0}),
    Figure("CPU of a restart, s", "mixed.restart.cpuSeconds", {}, grows=True),
    Figure("peak RSS of a restart, MB", "mixed.restart.memory.peakMb", {10_000: 400}),
    Figure("SIGKILL → standby holds the lease, s", "mixed.failover.leaseSeconds", {0: 20}),
    Figure("SIGKILL → standby's first pass is over, s", "mixed.failover.firstPassSeconds", {0: 20}),
    Figure("other settings → last StatefulSet, s", "mixed.settings.lastStatefulSetSeconds", {}, grows=True),
    Figure("other settings → last Deployment, s", "mixed.settings.lastDeploymentSeconds", {}, grows=True),
)


def summarise(results: Sequence[Result]) -> dict[str, Any]:
    """Rows by title: values by size, whether each keeps its bar, and the exponent of growth."""
    sizes = [int(result["size"]) for result in results]
    rows = []
    for figure in FIGURES:
        values = [value_of(figure, result) for result in results]
        bars = [_bar(figure, size) for size in sizes]
        row: dict[str, Any] = {
            "figure": figure.title,
            "values": dict(zip(map(str, sizes), values, strict=True)),
            "kept": {
                str(size): value >= bar if figure.at_least else value <= bar
                for size, value, bar in zip(sizes, values, bars, strict=True)
                if value is not None and bar is not None
            },
        }
        if figure.grows:
            known = [(size, value) for size, value in zip(sizes, values, strict=True) if value is not None]
            growth = exponent([size for size, _ in known], [value for _, value in known])
            row["exponent"] = None if growth is None else round(growth, 2)
        rows.append(row)
    return {"sizes": sizes, "rows": rows}


def value_of(figure: Figure, result: Result) -> float | None:
    """The figure in a result; None when it was not measured."""
    if figure.path == "rssOverBaseMb":
        mixed = result.get("mixed")
        return round(mixed["idle"]["memory"]["rssMb"] - mixed["memoryEmpty"]["rssMb"], 1) if mixed else None
    found: Any = result
    for part in figure.path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _bar(figure: Figure, size: int) -> float | None:
    return figure.bars.get(size, figure.bars.get(0))
