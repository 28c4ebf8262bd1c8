"""The comparison as one self-contained HTML page: no script, nothing from elsewhere, equal bytes for equal runs."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment

from tidemill_cli import text
from tidemill_cli.chart import STYLES, curve_chart, interval_chart, style
from tidemill_cli.comparison import Comparison, curves


def render(comparison: Comparison) -> str:
    """The page."""
    names = [run.name for run in comparison.runs]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": text.number, "scalar": text.scalar, "duration": text.duration, "digest": text.digest,
    }  # fmt: skip
    template = environment.from_string(files("tidemill_cli").joinpath("templates/compare.html.j2").read_text())
    charts = {name: curve_chart(name, series, names) for name, series in curves(comparison).items()}
    return template.render(
        comparison=comparison,
        columns=list(enumerate(zip(comparison.runs, comparison.details, strict=True))),
        styles=STYLES,
        style=style,
        charts={name: chart for name, chart in charts.items() if chart},
        metrics=[
            (row, interval_chart(f"{row.split}/{row.metric}", row.values, row.intervals)) for row in comparison.metrics
        ],
        with_intervals=any(any(row.intervals) for row in comparison.metrics),
        levels=sorted({f"{d.confidence:.3g}" for d in comparison.details if d.confidence is not None}),
        parameters=sorted(comparison.parameters, key=lambda row: not row.differs),
    )
