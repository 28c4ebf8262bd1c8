"""The end of the demo: a table, the same as JSON, and two pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from flightsdemo.months import Month

NOTE = (
    "\nMean absolute error in minutes, of all three on the very same requests. The loop learns from the first months and all"
    "\nlabelled requests, and asks its gate; blind retraining learns from the last three months, and asks nobody."
)


def summary(rows: Sequence[Month]) -> dict[str, Any]:
    """Mean errors of the three ways and the number of retrainings; blind retrains after every month but the last."""
    return {
        "meanAbsoluteErrorMinutes": {
            "loop": fmean(r.loop for r in rows),
            "neverRetrained": fmean(r.static for r in rows),
            "blindMonthly": fmean(r.blind for r in rows),
        },
        "retrainings": {
            "loop": sum(r.retrainings for r in rows),
            "promoted": sum((r.attempt or {}).get("phase") == "Promoted" for r in rows),
            "blindMonthly": sum(r.blind_retrained for r in rows),
        },
        "requests": sum(r.requests for r in rows),
        "failedRequests": sum(r.failed for r in rows),
    }


def shortfalls(rows: Sequence[Month]) -> list[str]:
    """What the loop has to show, and did not: an error below both alternatives, with fewer retrainings than blind."""
    total = summary(rows)
    mean, runs = total["meanAbsoluteErrorMinutes"], total["retrainings"]
    found = [
        f"the loop's mean error {mean['loop']:.2f} is not below {mean[other]:.2f} of {words}"
        for other, words in (("neverRetrained", "never retraining"), ("blindMonthly", "blind monthly retraining"))
        if mean["loop"] >= mean[other]
    ]
    if runs["loop"] >= runs["blindMonthly"]:
        found.append(f"the loop retrained {runs['loop']} times, blind monthly retraining {runs['blindMonthly']} times")
    if total["failedRequests"]:
        found.append(f"{total['failedRequests']} of {total['requests']} requests failed")
    return found


def table(rows: Sequence[Month]) -> str:
    """The months as text: error is the mean absolute error in minutes."""
    head = (
        "month    requests  worst feature (PSI)   error  never  blind   champion → challenger      production\n"
        "                                          loop                 on the newest labels\n"
    )
    lines = []
    for r in rows:
        attempt = r.attempt or {}
        gate = ""
        if attempt.get("championScore") is not None:
            gate = f"{attempt['championScore']:6.2f} → {attempt['challengerScore']:6.2f} {attempt['phase']}"
        elif attempt:
            gate = attempt["phase"]
        drift = f"{r.worst_feature} ({r.psi:.2f})" if r.psi is not None else "–"
        lines.append(
            f"2013-{r.month:02d}  {r.requests:8d}  {drift:<20} {r.loop:6.2f} {r.static:6.2f} {r.blind:6.2f}   "
            f"{gate:<26} v{r.production}"
        )
    total = summary(rows)
    mean, runs = total["meanAbsoluteErrorMinutes"], total["retrainings"]
    lines.append(
        f"mean     {total['requests']:8d}  {'':<20} {mean['loop']:6.2f} {mean['neverRetrained']:6.2f} "
        f"{mean['blindMonthly']:6.2f}   {runs['loop']} retrainings, {runs['promoted']} promoted; blind: {runs['blindMonthly']}"
    )
    return head + "\n".join(lines) + NOTE


def write(rows: Sequence[Month], folder: Path, extra: dict[str, Any]) -> list[Path]:
    """demo.json, drift.png and error.png in the folder; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "demo.json", folder / "drift.png", folder / "error.png"]
    document = {"summary": summary(rows), "months": [asdict(r) for r in rows], **extra}
    paths[0].write_text(json.dumps(document, indent=2) + "\n")
    labels = [f"2013-{r.month:02d}" for r in rows]
    _draw_drift(rows, labels, paths[1])
    _draw_error(rows, labels, paths[2])
    return paths


def _draw_drift(rows: Sequence[Month], labels: list[str], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    bars = axes.bar(labels, [r.psi or 0 for r in rows], color="#3b7dd8")
    axes.bar_label(bars, [r.worst_feature or "" for r in rows], fontsize=8, padding=2)
    for index, r in enumerate(rows):
        if r.retrainings:
            axes.annotate("retrained", (index, 0), ha="center", va="bottom", fontsize=8, color="white")
    axes.set(
        title="Drift: the worst feature's population stability index",
        ylabel="PSI against the served version's baseline",
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_error(rows: Sequence[Month], labels: list[str], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    axes.plot(labels, [r.static for r in rows], "--", color="#888888", label="never retrained")
    axes.plot(labels, [r.blind for r in rows], ":", color="#d8833b", label="blind monthly retraining")
    axes.plot(labels, [r.loop for r in rows], "o-", color="#2a9d5c", label="Tidemill's loop")
    for index, r in enumerate(rows):
        if (r.attempt or {}).get("phase") == "Promoted":
            axes.axvline(index + 0.5, color="#2a9d5c", linewidth=0.6)
    axes.set(title="Error of the arrival delay; lines: a new version took over", ylabel="mean absolute error, minutes")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
