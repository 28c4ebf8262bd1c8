"""The report as one self-contained HTML page, its pictures as SVG within it and as PNG files. No script, equal bytes."""

from __future__ import annotations

import io
import re
from importlib.resources import files
from pathlib import Path

import matplotlib as mpl
from jinja2 import Environment
from matplotlib.figure import Figure

from tidemill.contract.evaluating import ReportOptions
from tidemill.contract.evaluation import Explanation, Interval, SplitDetails
from tidemill.contract.model import EVALUATION_PAGE, EVALUATION_PICTURES, Evaluation
from tidemill_worker.report.figures import STYLE, pictures
from tidemill_worker.report.numbers import short

_DPI = 110
_GROUPS = re.compile(r' id="[A-Za-z0-9_.]+_\d+"')
"""Names that matplotlib gives to parts of a figure, and that would be there once a picture."""


def write(place: Path, options: ReportOptions, evaluation: Evaluation, explanation: Explanation | None) -> None:
    """`evaluation.html` and `evaluation/*.png`, as asked for."""
    split = next((name for name in ("test", "validation") if name in evaluation.details), None)
    details = evaluation.details[split] if split else SplitDetails()
    metric = "loss" if details.losses is not None else "mae" if details.residuals is not None else "accuracy"
    with mpl.rc_context(mpl.rcParamsDefault), mpl.rc_context(STYLE):
        drawn = list(pictures(details, metric, evaluation, explanation))
        if options.pictures:
            (place / EVALUATION_PICTURES).mkdir()
            for name, figure in drawn:
                path = place / EVALUATION_PICTURES / f"{name}.png"
                figure.savefig(path, dpi=_DPI, metadata={"Software": None})
        if options.html:
            text = render(evaluation, explanation, split, {name: svg(figure, name) for name, figure in drawn})
            (place / EVALUATION_PAGE).write_text(text)


def svg(figure: Figure, name: str) -> str:
    """The picture as an element of an HTML page; what it refers to within itself is called after it."""
    body = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(body, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = body.getvalue()
    return _GROUPS.sub("", text[text.index("<svg") :])


def render(evaluation: Evaluation, explanation: Explanation | None, split: str | None, drawn: dict[str, str]) -> str:
    """The page. `drawn` has the pictures by name; `split` is the one that details are shown of."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "percent": _percent, "interval": _interval}
    template = files("tidemill_worker.report").joinpath("templates/evaluation.html.j2").read_text()
    names = list(dict.fromkeys(name for found in evaluation.metrics.values() for name in found))
    return environment.from_string(template).render(
        evaluation=evaluation,
        explanation=explanation,
        split=split,
        details=evaluation.details[split] if split else SplitDetails(),
        names=names,
        drawn=drawn,
        level=evaluation.confidence,
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{short(value):.4g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f} %"


def _interval(ends: Interval | None) -> str:
    return "" if ends is None else f"[{ends[0]:.4g}, {ends[1]:.4g}]"
