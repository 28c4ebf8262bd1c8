"""The chart of cost against size, on logarithmic axes, with the measured exponent of each line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # the backend must be chosen first

LINES = (
    ("mix: operator CPU, s", "operator CPU to fill, s"),
    ("mix: seconds until all is settled", "time to fill, s"),
    ("RSS beyond the empty operator's, MB", "RSS beyond the empty operator's, MB"),
    ("restart → synced, s", "restart to synced, s"),
    ("restart → first full pass, s", "restart to first full pass, s"),
    ("CPU of a restart, s", "CPU of a restart, s"),
    ("spec → status p99, ms", "spec → status p99, ms"),
)
_MARKERS = "osD^v<>"


def draw(summary: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    rows = {row["figure"]: row for row in summary["rows"]}
    figure, axes = plt.subplots(figsize=(7.5, 5), dpi=90)
    for (title, label), marker in zip(LINES, _MARKERS, strict=True):
        row = rows[title]
        points = [(int(size), value) for size, value in row["values"].items() if value is not None and value > 0]
        if points:
            growth = row.get("exponent")
            text = label if growth is None else f"{label}  (n^{growth:.2f})"
            axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, linewidth=1.2, label=text)
    axes.set(xscale="log", yscale="log", xlabel="resources", ylabel="cost")
    axes.set_xticks(summary["sizes"], [f"{size:,}" for size in summary["sizes"]])
    axes.minorticks_off()
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
