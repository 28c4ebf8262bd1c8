"""The profile as one self-contained HTML page: no script, nothing from elsewhere, readable in light and dark."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tidemill.contract.profile import ColumnProfile, Number, Profile
from tidemill_worker.profile import svg
from tidemill_worker.profile.pictures import DRAWN_COLUMNS, Picture, Pictures

_TEMPLATES = "templates"


def environment() -> Environment:
    """The templates, with the filters that they use."""
    made = Environment(
        loader=PackageLoader("tidemill_worker.profile", _TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters.update(number=number, percent=percent, picture=_picture)
    made.globals["style"] = Markup(files("tidemill_worker.profile").joinpath(_TEMPLATES, "page.css").read_text())
    return made


def number(value: Number | None) -> str:
    """With thin thousands, or a dash."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def percent(share: float) -> str:
    """A share as percents, small ones with more digits."""
    return f"{100 * share:.3g} %"


def _picture(picture: Picture | None) -> Markup:
    return Markup(svg.draw(picture)) if picture is not None else Markup("")


def render(profile: Profile, drawn: Pictures) -> str:
    """The page. It names no Dataset: equal rows make an equal artifact, whatever they are called."""
    order = {column.name: place for place, column in enumerate(profile.columns)}
    return (
        environment()
        .get_template("profile.html.j2")
        .render(
            profile=profile,
            drawn=drawn,
            shown=profile.columns[:DRAWN_COLUMNS],
            left_out=max(0, len(profile.columns) - DRAWN_COLUMNS),
            anchors={
                name: f"#column-{place + 1}" if place < DRAWN_COLUMNS else "#columns" for name, place in order.items()
            },
            statistics=_statistics,
        )
    )


def _statistics(column: ColumnProfile) -> list[tuple[str, str]]:
    """Name and value of what a card says about a column."""
    listed: list[tuple[str, str]] = []
    if (n := column.numbers) is not None:
        listed = [
            ("mean", number(n.mean)), ("sd", number(n.sd)), ("min", number(n.min)), ("5 %", number(n.quantiles["p5"])),
            ("25 %", number(n.quantiles["p25"])), ("median", number(n.quantiles["p50"])),
            ("75 %", number(n.quantiles["p75"])), ("95 %", number(n.quantiles["p95"])), ("max", number(n.max)),
            ("IQR", number(n.iqr)), ("MAD", number(n.mad)), ("CV", number(n.cv)), ("skewness", number(n.skewness)),
            ("kurtosis", number(n.kurtosis)), ("sum", number(n.sum)), ("zeros", number(n.zeros)),
            ("negative", number(n.negatives)), ("infinite", number(n.infinite)),
            ("beyond 1.5 IQR", percent(float(n.outliers))), ("beyond 3 IQR", percent(float(n.far_outliers))),
            ("smallest", ", ".join(map(number, n.smallest))), ("greatest", ", ".join(map(number, n.largest))),
        ]  # fmt: skip
    if (t := column.text) is not None:
        listed = [
            ("length", f"{t.min_length} to {t.max_length}, mean {number(t.mean_length)}"),
            ("empty", number(t.empty)),
            ("with outer spaces", number(t.padded)),
        ]
        if t.words:
            listed.append(("words", ", ".join(f"{w.value} ({w.count:,})" for w in t.words)))
    if column.time is not None:
        listed = [("first", column.time.min), ("last", column.time.max)]
    if column.elements is not None:
        e = column.elements
        listed = [("elements", f"{e.min} to {e.max}, mean {number(e.mean)}")]
    return listed
