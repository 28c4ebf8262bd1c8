"""Charts as inline SVG: learning curves over steps, and metrics with their intervals. Colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import escape

from tidemill.contract.evaluation import Interval
from tidemill_cli.text import number

Points = Sequence[tuple[float, float]]

STYLES = 8
"""Colours of the page's style; after as many runs they come again, dashed."""
_WIDTH, _HEIGHT = 520.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 10.0, 10.0, 24.0
_DRAWN_POINTS = 400
_LOG_FROM = 30.0
"""Positive values that differ by more than this factor are drawn on a logarithmic axis."""


class _Axis:
    """Maps values to a stretch of the picture, and says where its ticks are."""

    def __init__(self, values: Iterable[float], start: float, end: float, *, may_be_log: bool = False) -> None:
        found = list(values)
        self.low, self.high = min(found), max(found)
        self.log = may_be_log and self.low > 0 and self.high / self.low > _LOG_FROM
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        """Where a value lies; one that is alone lies in the middle."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self._start + share * (self._end - self._start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round numbers in the range: 1, 2 or 5 times a power of ten; on a logarithmic axis the powers if there are three."""
        if self.log:
            exponents = range(math.floor(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            powers = [10.0**exponent for exponent in exponents if 10.0**exponent >= self.low]
            if len(powers) >= 3:
                return powers
            among = (factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5))
            return [tick for tick in among if self.low <= tick <= self.high]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / wanted
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [(first + i) * step for i in range(count)]


def curve_chart(metric: str, series: Sequence[Points], names: Sequence[str]) -> str:
    """All runs' curves of one metric: `series` has each run's (step, value); steps are whole numbers."""
    xs = [x for points in series for x, _ in points]
    ys = [y for points in series for _, y in points if math.isfinite(y)]
    if not ys:
        return ""
    across = _Axis(xs, _LEFT, _WIDTH - _RIGHT)
    up = _Axis(ys, _HEIGHT - _BOTTOM, _TOP, may_be_log=True)
    parts = [
        f'<line class="grid" x1="{_LEFT:.1f}" x2="{_WIDTH - _RIGHT:.1f}" y1="{up.place(t):.1f}" y2="{up.place(t):.1f}"/>'
        f'<text x="{_LEFT - 6:.1f}" y="{up.place(t) + 4:.1f}" text-anchor="end">{number(t)}</text>'
        for t in up.ticks()
    ]
    parts += [
        f'<text x="{across.place(t):.1f}" y="{_HEIGHT - 6:.1f}" text-anchor="middle">{t:.0f}</text>'
        for t in across.ticks()
        if t == round(t)
    ]
    for index, (points, name) in enumerate(zip(series, names, strict=True)):
        drawn = [(x, y) for x, y in points if math.isfinite(y)]
        if not drawn:
            continue
        title = f"<title>{escape(name)}: {escape(metric)} {number(drawn[-1][1])} at step {drawn[-1][0]:.0f}</title>"
        if len(drawn) == 1:
            x, y = drawn[0]
            shape = f'<circle cx="{across.place(x):.1f}" cy="{up.place(y):.1f}" r="3">{title}</circle>'
        else:
            path = " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in thin(drawn))
            shape = f'<polyline points="{path}">{title}</polyline>'
        parts.append(f'<g class="{style(index)}">{shape}</g>')
    label = f"{metric} by step{', logarithmic' if up.log else ''}"
    return _svg(label, _WIDTH, _HEIGHT, parts, "curves")


def interval_chart(label: str, values: Sequence[float | None], intervals: Sequence[Interval | None]) -> str:
    """A dot for each run's value, with its interval as a line; "" when no run has one."""
    known = [v for v in values if v is not None] + [edge for i in intervals if i is not None for edge in i]
    if not any(intervals):
        return ""
    row, width = 14.0, 220.0
    across = _Axis(known, 6.0, width - 6.0)
    parts = []
    for index, (value, interval) in enumerate(zip(values, intervals, strict=True)):
        y = row * (index + 0.5)
        shapes = ""
        if interval is not None:
            left, right = (across.place(edge) for edge in interval)
            shapes += f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        if value is not None:
            shapes += f'<circle cx="{across.place(value):.1f}" cy="{y:.1f}" r="3"/>'
        parts.append(f'<g class="{style(index)}">{shapes}</g>')
    return _svg(label, width, row * len(values), parts, "intervals")


def style(index: int) -> str:
    """The classes of a run's line: its number to switch it off by, its colour, and dashes when colours have run out."""
    return f"run{index} c{index % STYLES}{' dashed' if index // STYLES % 2 else ''}"


def thin(points: Points, most: int = _DRAWN_POINTS) -> Points:
    """About so many points: the lowest and the highest of each stretch, so that no spike is lost; first and last stay."""
    if len(points) <= most:
        return points
    inner, buckets = points[1:-1], most // 2
    kept = [points[0]]
    for i in range(buckets):
        bucket = inner[i * len(inner) // buckets : (i + 1) * len(inner) // buckets]
        if bucket:
            low, high = min(bucket, key=lambda p: p[1]), max(bucket, key=lambda p: p[1])
            kept += sorted({low, high})
    return [*kept, points[-1]]


def _svg(label: str, width: float, height: float, parts: Sequence[str], kind: str) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg {size} class="{kind}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
