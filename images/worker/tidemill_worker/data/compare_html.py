"""The comparison of two versions as one self-contained HTML page, both distributions drawn over each other."""

from __future__ import annotations

from datetime import UTC, datetime

from tidemill_worker.data.compare import ColumnShift, Comparison
from tidemill_worker.profile.page import environment, number
from tidemill_worker.profile.pictures import Bars, Histogram, Picture

DRAWN_COLUMNS = 80


def render(comparison: Comparison) -> str:
    """The page. It names the versions as the comparison does."""
    shown = comparison.columns[:DRAWN_COLUMNS]
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            comparison=comparison,
            shown=shown,
            drawn={shift.column: _picture(place, shift) for place, shift in enumerate(shown)},
            left_out=len(comparison.columns) - len(shown),
        )
    )


def _picture(place: int, shift: ColumnShift) -> Picture | None:
    found = shift.distribution
    if found is None:
        return None
    alt = f"Distributions of {shift.column} in both versions, PSI {number(shift.psi)}"
    if found.labels:
        return Picture(f"column-{place + 1}", shift.column, alt, Bars(found.labels, found.first, found.second))
    ends = (_end(found.edges[0], shift.kind), _end(found.edges[-1], shift.kind))
    shape = Histogram(found.edges, found.first, ends=ends, other=found.second)
    return Picture(f"column-{place + 1}", shift.column, alt, shape)


def _end(edge: int | float, kind: str) -> str:
    if kind != "Time":
        return number(edge)
    return datetime.fromtimestamp(float(edge), UTC).strftime("%Y-%m-%d %H:%M")
