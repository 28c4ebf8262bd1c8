"""The profile as one self-contained HTML page. Pictures are inline SVG: equal bytes everywhere, no script."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment

from tidemill_worker.data.profile import Profile

DRAWN_COLUMNS = 80


def _bars(counts: list[int], width: int = 220, height: int = 60) -> str:
    top = max(counts, default=0) or 1
    step = width / max(1, len(counts))
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{height - count / top * height:.1f}" width="{max(step - 1, 1):.1f}" '
        f'height="{count / top * height:.1f}"/>'
        for i, count in enumerate(counts)
    )
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" class="bars">{bars}</svg>'


def _colour(value: float | None) -> str:
    if value is None:
        return "#eee"
    strength = min(1.0, abs(value))
    fade = int(255 - 190 * strength)
    return f"rgb({fade},{fade},255)" if value > 0 else f"rgb(255,{fade},{fade})"


def _matrix(names: list[str], matrix: list[list[float | None]], cell: int = 22) -> str:
    margin = 150
    parts = []
    for i, name in enumerate(names):
        y = i * cell
        parts.append(f'<text x="{margin - 6}" y="{y + cell * 0.7:.0f}" text-anchor="end">{_escape(name[:22])}</text>')
        for j, value in enumerate(matrix[i]):
            shown = "none" if value is None else f"{value:.2f}"
            parts.append(
                f'<rect x="{margin + j * cell}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="{_colour(value)}">'
                f"<title>{_escape(name)} and {_escape(names[j])}: {shown}</title></rect>"
            )
    size = len(names) * cell
    return f'<svg viewBox="0 0 {margin + size} {size}" width="{margin + size}" height="{size}">{"".join(parts)}</svg>'


def _line(bins: list[dict[str, Any]], width: int = 220, height: int = 60) -> str:
    """Means of the target by bin, as dots on a line."""
    means = [b["mean"] for b in bins if b["mean"] is not None]
    if len(means) < 2:
        return ""
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    points = [
        (8 + i * (width - 16) / (len(means) - 1), height - 8 - (mean - low) / span * (height - 16))
        for i, mean in enumerate(means)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" class="line">'
        f'<polyline points="{path}"/>{dots}</svg>'
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def render(profile: Profile) -> str:
    """The page. It names no Dataset: equal rows make an equal artifact, whatever they are called."""
    template = files("tidemill_worker.data").joinpath("templates/profile.html.j2").read_text()
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    correlations = profile["correlations"]
    total = sum(profile["rows"].values())
    return environment.from_string(template).render(
        title="Dataset profile",
        profile=profile,
        total=total,
        columns=[
            {
                **column,
                "picture": _bars(column["histogram"]["counts"]) if column.get("histogram") else "",
                "share": [(t["value"], t["count"] / max(1, total)) for t in column.get("top", [])],
            }
            for column in profile["columns"][:DRAWN_COLUMNS]
        ],
        left_out=max(0, len(profile["columns"]) - DRAWN_COLUMNS),
        missing=sorted((c for c in profile["columns"] if c["missing"]), key=lambda c: (-c["missing"], c["name"]))[
            :DRAWN_COLUMNS
        ],
        matrix=_matrix(correlations["columns"], correlations["matrix"]) if len(correlations["columns"]) > 1 else "",
        relations=[{**r, "picture": _line(r["bins"])} for r in profile["target"]["relations"]]
        if profile["target"]
        else [],
    )
