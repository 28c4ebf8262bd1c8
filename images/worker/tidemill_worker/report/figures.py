"""The pictures of an evaluation, drawn by matplotlib from the rounded figures of its documents: equal figures, equal bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tidemill.contract.evaluation import (
    Calibration,
    Comparison,
    Confusion,
    CoursePoint,
    Curves,
    Explanation,
    Fairness,
    Histogram,
    HorizonStep,
    Residuals,
    Shapley,
    Slice,
    SplitDetails,
)
from tidemill.contract.model import Evaluation

STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a column may be called `$x`
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
}
"""matplotlib's settings, for drawing and saving alike."""
BLUE, RED, GREY = "#2f6fb3", "#b3402f", "#8a97a5"
MOST_BARS, MOST_SLICES, MOST_POINTS = 20, 40, 1_000
Picture = tuple[str, Figure]


def pictures(
    details: SplitDetails, metric: str, evaluation: Evaluation, explanation: Explanation | None
) -> Iterator[Picture]:
    """Every picture that there is something to draw for, with its file's name. `metric` is what slices are told apart by."""
    if evaluation.course:
        yield "course", _course(evaluation.course)
    if details.losses is not None:
        yield "losses", _histogram("Rows by their own loss", details.losses)
    if details.confusion is not None:
        yield "confusion", _confusion(details.confusion)
    if details.calibration is not None:
        yield "calibration", _calibration(details.calibration)
    if details.curves is not None:
        yield "curves", _curves(details.curves)
    if details.horizon:
        yield "horizon", _horizon(details.horizon)
    if details.residuals is not None:
        yield "residuals", _histogram("Residuals: prediction minus target", details.residuals.histogram, zero=True)
        yield "bands", _bands(details.residuals)
    if details.slices:
        yield "slices", _slices(details.slices, metric)
    for number, fairness in enumerate(details.fairness):
        yield f"fairness-{number}", _fairness(fairness)
    production = evaluation.production
    if production is not None and any(i.interval for i in production.improvements.values()):
        yield "production", _production(production)
    if explanation is not None:
        yield "importance", _importance(explanation)
        if explanation.shapley is not None:
            yield "shapley", _shapley(explanation.shapley)


def _axes(title: str, *, width: float = 4.6, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _short(text: str, length: int = 24) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _rows(axes: Axes, names: Sequence[str]) -> np.ndarray:
    """One line a name, the first on top; where each is."""
    places = np.arange(len(names))
    axes.set_yticks(places, [_short(name, 36) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="#e4e9ee", linewidth=0.6)
    axes.set_axisbelow(True)
    return places


def _confusion(confusion: Confusion) -> Figure:
    counts, names = np.array(confusion.counts, dtype=float), [_short(name, 16) for name in confusion.classes]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.2 + 0.32 * len(names)
    figure, axes = _axes("Rows by class and answer", width=size + 0.6, height=size)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("answer")
    axes.set_ylabel("class")
    if len(names) <= 12:
        for (i, j), count in np.ndenumerate(counts):
            axes.text(j, i, f"{count:.0f}", ha="center", va="center", color="white" if share[i, j] > 0.5 else "#1c2733")
    return figure


def _calibration(calibration: Calibration) -> Figure:
    of = f"of {_short(calibration.of)}" if calibration.of is not None else "of the predicted class"
    figure, axes = _axes(f"Calibration: probability {of}")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    axes.plot([b.predicted for b in calibration.bins], [b.observed for b in calibration.bins], color=BLUE, marker="o")
    axes.set_xlabel("mean probability")
    axes.set_ylabel("how often it was there")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    return figure


def _curves(curves: Curves) -> Figure:
    figure = Figure(figsize=(6.4, 3.2))
    left, right = figure.subplots(1, 2)
    left.set_title(f"ROC of {_short(curves.positive)}")
    left.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    left.plot(*np.array(curves.roc).T, color=BLUE)
    left.set_xlabel("false positive rate")
    left.set_ylabel("true positive rate")
    right.set_title("Precision and recall")
    right.step(*np.array(curves.precision_recall).T, color=BLUE, where="pre")
    right.set_xlabel("recall")
    right.set_ylabel("precision")
    for axes in (left, right):
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    return figure


def _histogram(title: str, histogram: Histogram, *, zero: bool = False) -> Figure:
    figure, axes = _axes(title)
    edges = np.array(histogram.edges)
    axes.bar(edges[:-1], histogram.counts, width=np.diff(edges), align="edge", color=BLUE)
    if zero:
        axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_ylabel("rows")
    return figure


def _course(points: Sequence[CoursePoint]) -> Figure:
    figure, axes = _axes("Loss by steps of the optimiser")
    axes.plot([p.step for p in points], [p.loss for p in points], color=GREY, marker=".", label="training")
    known = [(p.step, p.validation_loss) for p in points if p.validation_loss is not None]
    if known:
        axes.plot([step for step, _ in known], [loss for _, loss in known], color=BLUE, marker=".", label="validation")
    axes.set_xlabel("step")
    axes.legend(frameon=False)
    return figure


def _horizon(steps: Sequence[HorizonStep]) -> Figure:
    """The error of each step ahead beside the seasonal-naive one, and how often the interval holds."""
    figure, axes = _axes("mae by steps ahead", width=6.4)
    _by_step(axes, steps, "seasonalNaiveMae", GREY, "seasonal naive")
    _by_step(axes, steps, "mae", BLUE, "this model")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("steps ahead")
    if any("coverage" in step.metrics for step in steps):
        share = axes.twinx()
        _by_step(share, steps, "coverage", RED, "coverage (right)")
        share.set_ylim(0, 1.02)
        share.legend(frameon=False, loc="lower right")
    axes.legend(frameon=False, loc="lower left")
    return figure


def _by_step(axes: Axes, steps: Sequence[HorizonStep], metric: str, colour: str, label: str) -> None:
    known = [(step.step, step.metrics[metric]) for step in steps if metric in step.metrics]
    axes.plot([at for at, _ in known], [value for _, value in known], color=colour, marker=".", label=label)


def _bands(residuals: Residuals) -> Figure:
    figure, axes = _axes("Means by tenths of the prediction")
    predicted = [band.prediction for band in residuals.bands]
    axes.plot(predicted, predicted, color=GREY, linewidth=0.8, linestyle="--")
    axes.errorbar(
        predicted,
        [band.target for band in residuals.bands],
        yerr=[band.mae for band in residuals.bands],
        color=BLUE,
        marker="o",
        capsize=2,
        linewidth=1,
    )
    axes.set_xlabel("mean prediction")
    axes.set_ylabel("mean target ± mae")
    return figure


def _slices(slices: Sequence[Slice], metric: str) -> Figure:
    shown = [s for s in slices if metric in s.metrics][:MOST_SLICES]
    figure, axes = _axes(f"{metric} by slice", width=6.4, height=1 + 0.2 * len(shown))
    places = _rows(axes, [f"{s.column} {s.value}" for s in shown])
    for place, part in zip(places, shown, strict=True):
        axes.plot(part.metrics[metric], place, color=BLUE, marker="o", markersize=4)
        if metric in part.intervals:
            axes.plot(part.intervals[metric], [place, place], color=BLUE, linewidth=1)
    return figure


def _fairness(fairness: Fairness) -> Figure:
    figure, axes = _axes(f"Groups of {_short(fairness.column)}", width=6.4, height=1.1 + 0.32 * len(fairness.groups))
    places = _rows(axes, [group.value for group in fairness.groups])
    if fairness.favorable is None:
        axes.barh(places, [group.metrics["mae"] for group in fairness.groups], color=BLUE, height=0.6)
        axes.set_xlabel("mae")
        return figure
    gets = [(g.selection_rate, g.selection_interval) for g in fairness.groups]
    right = [(g.true_positive_rate, g.true_positive_interval) for g in fairness.groups]
    for shift, colour, label, rates in (
        (-0.12, BLUE, f"gets {_short(fairness.favorable)}", gets),
        (0.12, RED, "… where that is right", right),
    ):
        known = [(place, rate, ends) for place, (rate, ends) in zip(places, rates, strict=True) if rate is not None]
        axes.plot(
            [rate for _, rate, _ in known], [place + shift for place, _, _ in known], "o", color=colour, label=label
        )
        for place, _, ends in known:
            if ends is not None:
                axes.plot(ends, [place + shift] * 2, color=colour, linewidth=1)
    axes.set_xlim(-0.02, 1.02)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    return figure


def _production(production: Comparison) -> Figure:
    shown = {name: i for name, i in production.improvements.items() if i.interval is not None}
    figure, axes = _axes(
        f"Relative improvement over {_short(production.champion)}", width=6.4, height=1 + 0.2 * len(shown)
    )
    for place, found in zip(_rows(axes, list(shown)), shown.values(), strict=True):
        colour = BLUE if found.improvement > 0 else RED
        axes.plot(found.improvement, place, color=colour, marker="o", markersize=4)
        axes.plot(found.interval or (), [place, place], color=colour, linewidth=1)
    axes.axvline(0, color=GREY, linewidth=0.8)
    return figure


def _importance(explanation: Explanation) -> Figure:
    shown = explanation.importances[:MOST_BARS]
    figure, axes = _axes(
        f"Growth of {explanation.metric} when a column is shuffled", width=6.4, height=1 + 0.2 * len(shown)
    )
    places = _rows(axes, [importance.column for importance in shown])
    axes.barh(
        places,
        [importance.mean for importance in shown],
        xerr=[importance.deviation for importance in shown],
        color=BLUE,
        ecolor=GREY,
        height=0.65,
    )
    axes.axvline(0, color=GREY, linewidth=0.8)
    return figure


def _shapley(shapley: Shapley) -> Figure:
    """One dot a row; colour says whether the row's value is low or high, grey that it is text or missing."""
    shown = min(len(shapley.columns), max(1, MOST_POINTS // max(1, len(shapley.rows))))
    figure, axes = _axes(f"Shares in the {_short(shapley.of, 60)}", width=6.4, height=1.1 + 0.24 * shown)
    places = _rows(axes, shapley.columns[:shown])
    shares = np.array([row.shares[:shown] for row in shapley.rows])
    jitter = np.linspace(-0.28, 0.28, 7)[np.arange(len(shares)) % 7]
    for index, place in enumerate(places):
        axes.scatter(
            shares[:, index], place + jitter, s=7, linewidths=0, c=_colours([row.values[index] for row in shapley.rows])
        )
    axes.axvline(0, color=GREY, linewidth=0.8)
    return figure


def _colours(values: Sequence[float | str | None]) -> list[str]:
    """By the rank of numbers among themselves, from blue to red."""
    numbers = sorted({value for value in values if isinstance(value, float)})
    if len(numbers) < 2:
        return [GREY] * len(values)
    rank = {value: index / (len(numbers) - 1) for index, value in enumerate(numbers)}
    scale = mpl.colormaps["coolwarm"]
    return [mpl.colors.to_hex(scale(rank[v])) if isinstance(v, float) else GREY for v in values]
