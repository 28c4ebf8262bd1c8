"""Pictures as inline SVG: equal bytes everywhere, no script, colours from the page so that they suit light and dark."""

from __future__ import annotations

from html import escape

from tidemill.contract.profile import Number
from tidemill_worker.profile.pictures import Bars, Dots, Heat, Histogram, Line, Picture, brief

_WIDTH, _HEIGHT = 260, 92
_LABEL = 24
"""Characters of a name that are shown beside a bar or cell; the title has all of them."""


def draw(picture: Picture) -> str:
    """An `<svg>` with the picture's alternative text."""
    shape = picture.shape
    if isinstance(shape, Histogram):
        width, height, body = _histogram(shape)
    elif isinstance(shape, Bars):
        width, height, body = _bars(shape)
    elif isinstance(shape, Line):
        width, height, body = _line(shape)
    elif isinstance(shape, Dots):
        width, height, body = _dots(shape)
    else:
        width, height, body = _heat(shape)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(picture.alt)}">{body}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    shown = text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(shown)}</text>'


def _steps(counts: tuple[Number, ...], top: float, width: float, height: float) -> str:
    """The outline of bars, as a closed path."""
    step = width / len(counts)
    tops = [height - float(count) / top * height for count in counts]
    lines = " ".join(f"V{y:.1f}H{(i + 1) * step:.1f}" for i, y in enumerate(tops))
    return f"M0 {height:g}{lines}V{height:g}Z"


def _histogram(shape: Histogram) -> tuple[int, int, str]:
    height = _HEIGHT - 16
    total, other = float(sum(shape.counts)) or 1.0, float(sum(shape.other)) or 1.0
    first = tuple(float(count) / total for count in shape.counts)
    second = tuple(float(count) / other for count in shape.other)
    top = max((*first, *second)) or 1.0
    body = f'<path class="fill" d="{_steps(first, top, _WIDTH, height)}"/>'
    if second:
        body += f'<path class="second" d="{_steps(second, top, _WIDTH, height)}"/>'
    step = _WIDTH / len(first)
    for place, count, words in ((0, shape.below, "below"), (len(first) - 1, shape.above, "above")):
        if count:
            tall = float(count) / total / top * height
            body += (
                f'<rect class="far" x="{place * step:.1f}" y="{height - tall:.1f}" width="{step:.1f}" height="{tall:.1f}">'
                f"<title>{count} {words} this range</title></rect>"
            )
    low, high = shape.ends
    return _WIDTH, _HEIGHT, body + _text(0, _HEIGHT - 3, low) + _text(_WIDTH, _HEIGHT - 3, high, "end")


def _bars(shape: Bars) -> tuple[int, int, str]:
    margin, line = 130, 17
    top = max((*shape.shares, *shape.other), default=0) or 1
    scale = (_WIDTH - margin) / float(top)
    body = ""
    for place, (label, share) in enumerate(zip(shape.labels, shape.shares, strict=True)):
        y = place * line
        body += f"<g><title>{escape(label)}: {share:.2%}</title>{_text(margin - 6, y + 12, label, 'end')}"
        tall = line - 4 if not shape.other else (line - 4) // 2
        body += f'<rect class="fill" x="{margin}" y="{y + 1}" width="{float(share) * scale:.1f}" height="{tall}"/>'
        if shape.other:
            wide = float(shape.other[place]) * scale
            body += f'<rect class="second" x="{margin}" y="{y + 1 + tall}" width="{wide:.1f}" height="{tall}"/>'
        body += f"{_text(_WIDTH + 46, y + 12, f'{share:.1%}', 'end')}</g>"
    return _WIDTH + 48, len(shape.labels) * line, body


def _line(shape: Line) -> tuple[int, int, str]:
    height, left = _HEIGHT - 22, 8
    known = [float(value) for value in shape.values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    span = (high - low) or 1.0
    step = (_WIDTH - 2 * left) / max(1, len(shape.values) - 1)
    path, marks, pen = "", "", "M"
    for place, value in enumerate(shape.values):
        if value is None:
            pen = "M"
            continue
        x, y = left + place * step, 6 + (high - float(value)) / span * (height - 6)
        path += f"{pen}{x:.1f} {y:.1f}"
        pen = "L"
        said = escape(f"{shape.labels[place]}: {value}")
        marks += f'<circle class="fill" cx="{x:.1f}" cy="{y:.1f}" r="2.2"><title>{said}</title></circle>'
    ends = _text(0, _HEIGHT - 3, shape.labels[0]) + _text(_WIDTH, _HEIGHT - 3, shape.labels[-1], "end")
    return _WIDTH, _HEIGHT, f'<path class="line" d="{path}"/>{marks}{ends}'


def _dots(shape: Dots) -> tuple[int, int, str]:
    margin, line = 130, 17
    low, high = float(min(shape.values)), float(max(shape.values))
    scale = (_WIDTH - margin - 8) / ((high - low) or 1.0)
    body = ""
    for place, (label, value) in enumerate(zip(shape.labels, shape.values, strict=True)):
        x, y = margin + 4 + (float(value) - low) * scale, place * line
        body += (
            f"<g><title>{escape(label)}: {value}</title>{_text(margin - 6, y + 12, label, 'end')}"
            f'<path class="rule" d="M{margin} {y + 8}H{_WIDTH}"/><circle class="fill" cx="{x:.1f}" cy="{y + 8}" r="4"/>'
            f"{_text(_WIDTH + 50, y + 12, brief(value), 'end')}</g>"
        )
    return _WIDTH + 52, len(shape.labels) * line, body


def _heat(shape: Heat) -> tuple[int, int, str]:
    named = any(shape.rows)
    cell = 22 if named and len(shape.columns) <= 20 else 12
    margin, foot = (150 if named else 4), 0
    high = len(shape.rows) * cell
    body = ""
    for i, row in enumerate(shape.values):
        y = (len(shape.rows) - 1 - i if shape.lowest_first else i) * cell
        if named:
            body += f"<g><title>{escape(shape.rows[i])}</title>{_text(margin - 6, y + cell * 0.72, shape.rows[i], 'end')}</g>"
        for j, value in enumerate(row):
            x = margin + j * cell
            if value is None:
                if named:
                    body += f'<rect class="none" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}"/>'
                continue
            sign = "plus" if value >= 0 else "minus"
            said = f"<title>{escape(f'{shape.rows[i]}, {shape.columns[j]}: {value:.3g}')}</title>" if named else ""
            body += (
                f'<rect class="{sign}" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
                f'fill-opacity="{min(1.0, abs(float(value)) / shape.top):.2f}">{said}</rect>'
            )
    width = margin + len(shape.columns) * cell
    if any(shape.ends):
        left, right, bottom, top = shape.ends
        foot = 14
        body += _text(margin, high + 12, left) + _text(width, high + 12, right, "end")
        body += f"<title>{escape(f'from {bottom} at the bottom to {top} at the top')}</title>"
    elif named and shape.columns != shape.rows:
        foot = 14
        body += _text(margin, high + 12, shape.columns[0]) + _text(width, high + 12, shape.columns[-1], "end")
    return width, high + foot, body
