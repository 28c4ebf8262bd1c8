"""Which pictures are drawn of a profile, as data: `svg` draws them into the page, `png` as files. Both show the same."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tidemill.contract.profile import ColumnProfile, Interaction, Number, Profile, Relation

DRAWN_COLUMNS, DRAWN_RELATIONS = 80, 40
_SECONDS_A_DAY = 86_400
Values = tuple[Number | None, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Equal bins. `other` are a second version's shares in the same bins: both are then drawn over each other."""

    edges: tuple[Number, ...]
    counts: tuple[Number, ...]
    below: Number = 0
    above: Number = 0
    ends: tuple[str, str] = ("", "")
    other: tuple[Number, ...] = ()


@dataclass(frozen=True, slots=True)
class Bars:
    """Shares by name, between 0 and 1; `other` are a second version's."""

    labels: tuple[str, ...]
    shares: tuple[Number, ...]
    other: tuple[Number, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """Values in an order; null breaks the line."""

    labels: tuple[str, ...]
    values: Values


@dataclass(frozen=True, slots=True)
class Dots:
    """Values by name, in no order of theirs."""

    labels: tuple[str, ...]
    values: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Heat:
    """A matrix. Values lie between −`top` and `top`, or 0 and `top`; null is empty."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[Values, ...]
    top: float = 1.0
    lowest_first: bool = False
    """The first row is drawn at the bottom, as an axis goes."""
    ends: tuple[str, str, str, str] = ("", "", "", "")
    """Left, right, bottom and top, where rows and columns are bins without names."""


Shape = Histogram | Bars | Line | Dots | Heat


@dataclass(frozen=True, slots=True)
class Picture:
    """A shape with its words. `name` is the file's, without the ending."""

    name: str
    title: str
    alt: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Pictures:
    """All pictures of a profile."""

    columns: dict[str, Picture] = field(default_factory=dict)
    relations: dict[str, Picture] = field(default_factory=dict)
    correlations: tuple[Picture, ...] = ()
    interactions: tuple[Picture, ...] = ()
    missing: tuple[Picture, ...] = ()
    time: tuple[Picture, ...] = ()

    def all(self) -> tuple[Picture, ...]:
        """In the order of the page."""
        listed = (*self.correlations, *self.interactions, *self.missing, *self.time)
        return (*self.columns.values(), *listed, *self.relations.values())


def pictures(profile: Profile) -> Pictures:
    """The first 80 columns, the 40 best predictors, and what shows the whole table."""
    drawn: dict[str, Picture] = {}
    for place, column in enumerate(profile.columns[:DRAWN_COLUMNS]):
        shape = shape_of(column, profile.total)
        if shape is not None:
            name = f"column-{place + 1:03}{_slug(column.name)}"
            drawn[column.name] = Picture(name, column.name, _alt(column, shape), shape)
    relations: dict[str, Picture] = {}
    if profile.target is not None:
        kinds = {column.name: column.kind for column in profile.columns}
        for place, relation in enumerate(profile.target.relations[:DRAWN_RELATIONS]):
            if len(relation.bins) > 1:
                ordered = kinds[relation.column] in ("Number", "Time")
                relations[relation.column] = _relation(place, relation, profile.target.meaning, ordered=ordered)
    return Pictures(
        columns=drawn,
        relations=relations,
        correlations=_correlations(profile),
        interactions=tuple(_interaction(place, each) for place, each in enumerate(profile.interactions)),
        missing=_missing(profile),
        time=_time(profile),
    )


def shape_of(column: ColumnProfile, rows: int) -> Histogram | Bars | None:
    """The distribution of a column: a histogram of numbers, times and lengths of text, bars of categories."""
    if column.kind in ("Category", "Boolean"):
        shares = tuple(each.count / max(1, rows) for each in column.top)
        return Bars(tuple(each.value for each in column.top), shares) if column.top else None
    found = column.histogram
    if column.kind == "Text" and column.text is not None:
        found = column.text.lengths
    if found is None or len(found.counts) < 2:
        return None
    ends = (brief(found.edges[0]), brief(found.edges[-1]))
    if column.time is not None:
        ends = (column.time.min[:10], column.time.max[:10])
        if float(found.edges[-1]) - float(found.edges[0]) < 2 * _SECONDS_A_DAY:
            ends = (column.time.min[:19], column.time.max[:19])
    return Histogram(found.edges, found.counts, found.below, found.above, ends)


def brief(value: Number) -> str:
    """A number for the end of an axis."""
    return f"{value}" if isinstance(value, int) else f"{value:.4g}"


def _slug(name: str) -> str:
    """A column's name as part of a file's: only ASCII, at most 40 characters; the number before it makes it unique."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower())[:40].strip("-")
    return f"-{words}" if words else ""


def _alt(column: ColumnProfile, shape: Histogram | Bars) -> str:
    if isinstance(shape, Bars):
        parts = [f"{label[:40]} {share:.1%}" for label, share in zip(shape.labels, shape.shares, strict=True)]
        return f"Shares of the values of {column.name}: {', '.join(parts)}"
    what = f"lengths of {column.name}" if column.kind == "Text" else column.name
    peak = max(range(len(shape.counts)), key=lambda i: shape.counts[i])
    return (
        f"Histogram of {what} from {shape.ends[0]} to {shape.ends[1]} in {len(shape.counts)} bins; the fullest is "
        f"number {peak + 1}"
    )


def _relation(place: int, relation: Relation, meaning: str, *, ordered: bool) -> Picture:
    labels = tuple(each.label for each in relation.bins)
    means = tuple(each.mean for each in relation.bins)
    low, high = min(means), max(means)
    alt = f"{meaning} by {relation.column}, between {low} and {high}, from {labels[0]} to {labels[-1]}"
    name = f"target-{place + 1:03}{_slug(relation.column)}"
    shape = Line(labels, means) if ordered else Dots(labels, means)
    return Picture(name, f"{meaning} by {relation.column}", alt, shape)


def _correlations(profile: Profile) -> tuple[Picture, ...]:
    found = profile.correlations
    if len(found.columns) < 2:
        return ()
    top = found.strongest[0] if found.strongest else None
    alt = f"Matrix of {len(found.columns)} columns" + (
        f"; the strongest: {top.first} and {top.second}, {top.measure} {top.value}" if top else ""
    )
    drawn = [
        Picture("correlations", "Pearson, Cramér's V and η", alt, Heat(found.columns, found.columns, found.matrix))
    ]
    numeric = [i for i, kind in enumerate(found.kinds) if kind in ("Number", "Time")]
    if len(numeric) > 1:
        names = tuple(found.columns[i] for i in numeric)
        values = tuple(tuple(found.spearman[i][j] for j in numeric) for i in numeric)
        alt = f"Matrix of the rank correlations of {len(names)} columns of numbers and times"
        drawn.append(Picture("correlations-spearman", "Spearman", alt, Heat(names, names, values)))
    return tuple(drawn)


def _interaction(place: int, seen: Interaction) -> Picture:
    most = max(max(row) for row in seen.counts) or 1
    values = tuple(tuple((count / most) ** 0.5 if count else None for count in row) for row in seen.counts)
    ends = (brief(seen.x_edges[0]), brief(seen.x_edges[-1]), brief(seen.y_edges[0]), brief(seen.y_edges[-1]))
    shape = Heat(("",) * len(values), ("",) * len(values[0]), values, lowest_first=True, ends=ends)
    alt = f"Density of rows by {seen.x} (across, {ends[0]} to {ends[1]}) and {seen.y} (up, {ends[2]} to {ends[3]})"
    return Picture(f"interaction-{place + 1}", f"{seen.x} (across) and {seen.y} (up)", alt, shape)


def _missing(profile: Profile) -> tuple[Picture, ...]:
    absent = sorted((c for c in profile.columns if c.missing), key=lambda c: (-c.missing, c.name))[:DRAWN_COLUMNS]
    if not absent:
        return ()
    bars = Bars(tuple(c.name for c in absent), tuple(c.missing / max(1, profile.total) for c in absent))
    alt = f"Shares of missing values of {len(absent)} columns; most in {absent[0].name}: {bars.shares[0]:.1%}"
    drawn = [Picture("missing", "Share of missing values", alt, bars)]
    patterns = profile.missing.patterns
    if len(profile.missing.columns) > 1 and patterns:
        rows = tuple(f"{each.rows / max(1, profile.total):.1%}" for each in patterns)
        values = tuple(
            tuple(1 if name in each.columns else None for name in profile.missing.columns) for each in patterns
        )
        alt = f"The {len(patterns)} most frequent patterns of missing columns, with the share of rows that have each"
        title = "Missing together, with the share of rows"
        drawn.append(Picture("missing-patterns", title, alt, Heat(rows, profile.missing.columns, values)))
    return tuple(drawn)


def _time(profile: Profile) -> tuple[Picture, ...]:
    axis = profile.time_axis
    if axis is None or len(axis.starts) < 2:
        return ()
    span = f"each {axis.step} of {axis.column}, from {axis.starts[0]} to {axis.starts[-1]}"
    drawn = [Picture("time-rows", "Rows", f"Rows in {span}, at most {max(axis.rows)}", Line(axis.starts, axis.rows))]
    known = [value for value in axis.target if value is not None]
    if profile.target is not None and known:
        alt = f"{profile.target.meaning} in {span}, between {min(known)} and {max(known)}"
        drawn.append(Picture("time-target", profile.target.meaning, alt, Line(axis.starts, axis.target)))
    if axis.missing:
        most = max(max(map(float, shares)) for shares in axis.missing.values())
        shape = Heat(tuple(axis.missing), axis.starts, tuple(axis.missing.values()), top=most or 1.0)
        title = f"Share of missing values, up to {most:.1%}"
        drawn.append(Picture("time-missing", title, f"{title}, in {span}", shape))
    return tuple(drawn)
