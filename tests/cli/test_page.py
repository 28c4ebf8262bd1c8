"""The comparison's page: what stands in it, that it is whole by itself, and that it is the same every time."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from tests.cli.objects import network, run, side_by_side, succeeded, training

from tidemill.contract.tracking import Measurement, MlflowRun
from tidemill_cli.chart import curve_chart, interval_chart, style, thin
from tidemill_cli.comparison import Comparison, Details
from tidemill_cli.page import render

VOID = {"meta", "br", "input"}


class Checked(HTMLParser):
    """Every element that is opened is closed, in order; remembers text, attributes and cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.rows: list[list[str]] = []
        self.marked: list[list[bool]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
            self.marked.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.marked[-1].append("best" in (dict(attrs).get("class") or ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th", "span", "a") and self.rows and "table" in self.open:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        (found,) = [row[1:] for row in self.rows if row[0] == name]
        return found


def details(*losses: float, **more: object) -> Details:
    steps = tuple(
        Measurement(step=i, epoch=i, values={"loss": x, "validationLoss": 2 * x}) for i, x in enumerate(losses, start=1)
    )
    return Details(measurements=steps, **more)  # type: ignore[arg-type]


def example() -> Comparison:
    first = succeeded({"test": {"mae": 12.0114, "r2": 0.5}}, uri="s3://tidemill/team/models/delay/first")
    second = succeeded({"test": {"mae": 11.6903, "r2": 0.6}}, version="delay-v2", minutes=3)
    intervals = {"test": {"mae": (11.5, 12.5)}}
    mlflow = MlflowRun(uri="https://mlflow.example.org/", experiment_id="7", run_id="abc")
    return side_by_side(
        run("first", trainer=network(learningRate=0.01), status=first),
        run("second", trainer=network(learningRate=0.003), status=second),
        details=(details(3.0, 2.0, 1.5, intervals=intervals, confidence=0.95, mlflow=mlflow), details(4.0, 1.0)),
    )


def test_values_stand_where_they_belong() -> None:
    page = Checked(render(example()))
    assert page.row("test/mae") == ["12.011411.5 to 12.5", "11.6903", ""]
    assert page.row("test/r2") == ["0.5", "0.6", ""]
    assert page.row("Duration") == ["5m 30s", "3m 30s"]
    assert page.row("Model version") == ["delay-v1", "delay-v2"]
    assert page.row("learningRate") == ["0.01", "0.003"]
    best = {tuple(row[:1]): marks for row, marks in zip(page.rows, page.marked, strict=True) if any(marks)}
    assert best == {("test/mae",): [False, False, True, False], ("test/r2",): [False, False, True, False]}


def test_parameters_that_differ_come_first_and_are_highlighted() -> None:
    text = render(example())
    differing = re.findall(r'<tr class="differs"><th>([^<]*)</th>', text)
    assert differing == ["learningRate"]
    assert text.index("<th>learningRate</th>") < text.index("<th>target</th>")
    assert "1 of 5 differ" in text


def test_links_lead_to_the_artifact_the_measurements_and_the_mlflow_run() -> None:
    links = [value for tag, name, value in Checked(render(example())).attributes if (tag, name) == ("a", "href")]
    assert "s3://tidemill/team/models/delay/first" in links
    assert "s3://tidemill/team/runs/first/uid-first/metrics.jsonl" in links
    assert "https://mlflow.example.org/#/experiments/7/runs/abc" in links


def test_it_is_whole_by_itself_and_says_the_same_in_the_dark() -> None:
    text = render(example())
    page = Checked(text)
    assert "<script" not in text
    assert not [a for a in page.attributes if a[1] in ("src", "onload", "onclick") or (a[0] == "link")]
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme:dark" in text
    light, dark = re.findall(r":root\{([^}]*)\}", text)
    colours = set(re.findall(r"(--c\d)", light))
    assert colours == {f"--c{i}" for i in range(8)} == set(re.findall(r"(--c\d)", dark))


def test_equal_comparisons_make_equal_bytes_without_a_time_of_making() -> None:
    assert render(example()) == render(example())


def test_each_metric_has_a_chart_with_each_runs_curve() -> None:
    text = render(example())
    charts = re.findall(r"<figcaption>([^<]*)</figcaption>(<svg.*?</svg>)", text)
    assert [name for name, _ in charts] == ["loss", "validationLoss"]
    for name, svg in charts:
        titles = re.findall(r"<title>([^<]*)</title>", svg)
        last = {"loss": ("1.5", "1"), "validationLoss": ("3", "2")}[name]
        assert titles == [f"first: {name} {last[0]} at step 3", f"second: {name} {last[1]} at step 2"]
        first, second = (re.findall(r"[\d.]+,[\d.]+", points) for points in re.findall(r'points="([^"]*)"', svg))
        assert (len(first), len(second)) == (3, 2)
    assert text.count('type="checkbox"') == 2
    assert "#show1:not(:checked)) svg .run1{display:none}" in text


def test_a_higher_value_is_drawn_higher_up() -> None:
    svg = curve_chart("loss", [[(1, 3.0), (2, 2.0), (3, 1.0)]], ["a"])
    (points,) = re.findall(r'points="([^"]*)"', svg)
    xs, ys = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys)
    assert ys[1] == pytest.approx((ys[0] + ys[2]) / 2, abs=0.11)
    assert (min(ys), max(ys)) == (10.0, 236.0), "from edge to edge"


def test_losses_over_orders_of_magnitude_get_a_logarithmic_axis() -> None:
    svg = curve_chart("loss", [[(1, 100.0), (2, 10.0), (3, 1.0)]], ["a"])
    assert 'aria-label="loss by step, logarithmic"' in svg
    (points,) = re.findall(r'points="([^"]*)"', svg)
    ys = [float(point.split(",")[1]) for point in points.split()]
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.11)
    assert re.findall(r'text-anchor="end">([^<]*)<', svg) == ["1", "10", "100"]
    short = curve_chart("loss", [[(1, 90.0), (2, 2.5)]], ["a"])
    assert re.findall(r'text-anchor="end">([^<]*)<', short) == ["5", "10", "20", "50"]
    assert "logarithmic" not in curve_chart("r2", [[(1, -100.0), (2, 0.5)]], ["a"])


def test_odd_curves_are_drawn_or_left_out() -> None:
    assert curve_chart("loss", [[], []], ["a", "b"]) == ""
    assert curve_chart("loss", [[(1, float("nan"))]], ["a"]) == ""
    assert "<circle" in curve_chart("loss", [[(5, 2.0)]], ["a"])
    flat = curve_chart("loss", [[(1, 2.0), (2, 2.0)], []], ["a", "b"])
    assert "nan" not in flat
    assert flat.count("<polyline") == 1
    gap = curve_chart("loss", [[(1, 2.0), (2, float("inf")), (3, 1.0)]], ["a"])
    assert "inf" not in gap


def test_many_steps_are_thinned_without_losing_a_spike() -> None:
    points = [(float(i), 1.0) for i in range(100_000)]
    points[54_321] = (54_321.0, 9.0)
    kept = thin(points)
    assert len(kept) <= 402
    assert (54_321.0, 9.0) in kept
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)
    assert thin(points[:100]) == points[:100]


def test_intervals_are_lines_around_their_dots() -> None:
    svg = interval_chart("test/mae", [2.0, 3.0, None], [(1.0, 3.0), None, None])
    assert svg.count("<circle") == 2
    (left, right) = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)"', svg)[0]
    assert (float(left), float(right)) == (6.0, 214.0)
    assert interval_chart("test/mae", [2.0], [None]) == ""


def test_the_ninth_run_has_the_first_colour_dashed() -> None:
    assert [style(0), style(8), style(16)] == ["run0 c0", "run8 c0 dashed", "run16 c0"]


def test_what_users_wrote_is_text_and_never_markup() -> None:
    hostile = '<script>alert("x")</script>'
    status = succeeded({"test": {hostile: 1.0}}, warnings=[hostile])
    found = side_by_side(
        run("a", trainer={"tabularRegression": {"target": hostile}}, status=status),
        details=(Details(measurements=(Measurement(step=1, values={hostile: 1.0}),)),),
    )
    text = render(found)
    Checked(text)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 4


def test_runs_without_anything_still_make_a_page() -> None:
    text = render(side_by_side(run("a"), run("b", status=training())))
    page = Checked(text)
    assert "None yet." in text
    assert "no metrics by step were read" in text
    assert page.row("Status") == ["Pending ", "Running 3/15"]
