"""Pictures as PNG files by matplotlib: always the same bytes from the same libraries on the same kind of processor.

Agg draws without a screen; neither a user's settings nor the machine's fonts are looked at; the file holds no time and no
version. Runs of equal pixels are packed (zlib's Z_RLE): what other strategies find differs between builds of zlib.
"""

from __future__ import annotations

import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text

from tidemill_worker.profile.pictures import Bars, Dots, Heat, Histogram, Line, Picture, brief

DPI = 100
BLUE, ORANGE, GREY, RED = "#2f6fb3", "#c2571a", "#5b6875", "#b3322f"
_DIVERGING = LinearSegmentedColormap.from_list("tidemill", [RED, "#ffffff", BLUE])
_FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
_LABEL = 28
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.parse_math": False,
}


def write(picture: Picture, folder: Path) -> None:
    """As `<folder>/<name>.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{picture.name}.png").write_bytes(draw(picture))


def draw(picture: Picture) -> bytes:
    """The file's bytes; it carries the title and the alternative text."""
    defaults = matplotlib.rcParamsDefault
    with matplotlib.rc_context(defaults), matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing")  # a box stands for it; the page has the text
        figure = _figure(picture)
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            text.get_fontproperties().set_file(_FONT)
        file = BytesIO()
        metadata = {"Software": None, "Title": picture.title, "Description": picture.alt}
        options = {"compress_type": zlib.Z_RLE}
        figure.savefig(file, format="png", dpi=DPI, metadata=metadata, pil_kwargs=options)
    return file.getvalue()


def _figure(picture: Picture) -> Figure:
    shape = picture.shape
    if isinstance(shape, Histogram):
        figure, axes = _axes(5.2, 2.6, picture)
        _histogram(axes, shape)
    elif isinstance(shape, Bars):
        figure, axes = _axes(5.2, 0.9 + 0.22 * max(3, len(shape.labels)), picture, left=_margin(shape.labels))
        _bars(axes, shape)
    elif isinstance(shape, Dots):
        figure, axes = _axes(5.2, 0.9 + 0.22 * max(3, len(shape.labels)), picture, left=_margin(shape.labels))
        _dots(axes, shape)
    elif isinstance(shape, Line):
        figure, axes = _axes(5.2, 2.6, picture)
        _line(axes, shape)
    else:
        width, height = 0.16 * max(18, len(shape.columns)), 0.16 * max(6, len(shape.rows))
        if any(shape.rows):
            left, foot = _margin(shape.rows), _margin(shape.columns) if shape.rows == shape.columns else 0.45
            figure, axes = _axes(width + left + 0.25, height + foot + 0.4, picture, left=left, foot=foot)
        else:
            figure, axes = _axes(width + 0.95, height + 0.85, picture)
        _heat(axes, shape)
    return figure


def _margin(labels: tuple[str, ...]) -> float:
    """Inches that the longest label needs."""
    return 0.3 + 0.075 * max(len(_short(label)) for label in labels)


def _axes(
    width: float, height: float, picture: Picture, *, left: float = 0.7, foot: float = 0.45
) -> tuple[Figure, Axes]:
    """A figure of so many inches with one pair of axes; `left` and `foot` inches are kept for labels."""
    figure = Figure(figsize=(width, height))
    space = (left / width, foot / height, (width - left - 0.25) / width, (height - foot - 0.4) / height)
    axes = figure.add_axes(space)
    axes.set_title(_short(picture.title, 60), loc="left")
    return figure, axes


def _short(text: str, most: int = _LABEL) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _ends(axes: Axes, last: float, low: str, high: str) -> None:
    axes.set_xticks([0, last], labels=[_short(low), _short(high)])
    axes.get_xticklabels()[0].set_horizontalalignment("left")
    axes.get_xticklabels()[-1].set_horizontalalignment("right")


def _scale(axes: Axes, low: float, high: float, form: str) -> None:
    axes.set_yticks([low, high], labels=[format(low, form), format(high, form)])


def _histogram(axes: Axes, shape: Histogram) -> None:
    counts = np.array(shape.counts, dtype=np.float64)
    shares = counts / (counts.sum() or 1.0)
    edges = np.arange(len(shares) + 1)
    axes.stairs(shares, edges, fill=True, color=BLUE)
    for place, far in ((0, shape.below), (len(shares) - 1, shape.above)):
        if far:
            axes.bar(place + 0.5, float(far) / counts.sum(), width=1, color=ORANGE)
    if shape.other:
        other = np.array(shape.other, dtype=np.float64)
        other = other / (other.sum() or 1.0)
        axes.stairs(other, edges, color=ORANGE, linewidth=1.5)
        shares = np.maximum(shares, other)
    _ends(axes, float(len(counts)), *shape.ends)
    _scale(axes, 0.0, float(shares.max()), ".1%")


def _bars(axes: Axes, shape: Bars) -> None:
    places = np.arange(len(shape.labels))
    tall = 0.8 if not shape.other else 0.4
    axes.barh(places, [float(s) for s in shape.shares], height=tall, color=BLUE, align="edge")
    if shape.other:
        axes.barh(places + tall, [float(s) for s in shape.other], height=tall, color=ORANGE, align="edge")
    axes.set_yticks(places + 0.4, labels=[_short(label) for label in shape.labels])
    axes.set_ylim(len(shape.labels), 0)
    most = max((float(s) for s in (*shape.shares, *shape.other)), default=0.0) or 1.0
    axes.set_xlim(0, most)
    axes.set_xticks([0, most], labels=["0", f"{most:.1%}"])


def _line(axes: Axes, shape: Line) -> None:
    values = np.array([np.nan if value is None else float(value) for value in shape.values])
    axes.plot(np.arange(len(values)), values, color=BLUE, linewidth=1.4, marker="o", markersize=3)
    _ends(axes, float(len(values) - 1), shape.labels[0], shape.labels[-1])
    if not np.isnan(values).all():
        _scale(axes, float(np.nanmin(values)), float(np.nanmax(values)), ".4g")


def _dots(axes: Axes, shape: Dots) -> None:
    values = [float(value) for value in shape.values]
    places = np.arange(len(values))
    axes.hlines(places, min(values), max(values), color="#dfe6ec", linewidth=0.8)
    axes.plot(values, places, "o", color=BLUE, markersize=5)
    axes.set_yticks(places, labels=[_short(label) for label in shape.labels])
    axes.set_ylim(len(values) - 0.5, -0.5)
    low, high = min(values), max(values)
    axes.set_xticks(sorted({low, high}), labels=[brief(value) for value in sorted({low, high})])


def _heat(axes: Axes, shape: Heat) -> None:
    values = np.array([[np.nan if v is None else float(v) for v in row] for row in shape.values])
    origin: Literal["lower", "upper"] = "lower" if shape.lowest_first else "upper"
    axes.imshow(
        values, cmap=_DIVERGING, vmin=-shape.top, vmax=shape.top, aspect="auto", interpolation="nearest", origin=origin
    )
    rows, columns = values.shape
    if any(shape.ends):
        left, right, bottom, top = shape.ends
        _ends(axes, float(columns - 1), left, right)
        axes.set_yticks([0, rows - 1], labels=[_short(bottom, 10), _short(top, 10)])
        return
    axes.set_yticks(np.arange(rows), labels=[_short(name) for name in shape.rows], fontsize=7)
    if shape.rows == shape.columns:
        labels = [_short(name) for name in shape.columns]
        axes.set_xticks(np.arange(columns), labels=labels, fontsize=7, rotation=90)
    else:
        _ends(axes, float(columns - 1), shape.columns[0], shape.columns[-1])
