"""What a profile says of several columns: correlations, missing values, time, and the target with what gives it away."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
from sklearn.metrics import r2_score, roc_auc_score

from tidemill_worker.profile import target, timeline
from tidemill_worker.profile.correlations import Feature, cramers_v, eta, pearson, ranks
from tidemill_worker.profile.reader import Values

from .profiles import kinds, mixed, profiled

ROWS = 3000


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pa.table(mixed(ROWS)).to_pandas()


@pytest.fixture(scope="module")
def profile() -> Any:
    return profiled(mixed(ROWS), target="y", timeColumn="at")


def test_pearson_and_spearman(profile: Any, frame: pd.DataFrame) -> None:
    found = profile.correlations
    assert found.columns[0] == "y"  # the target is never left out
    names = [n for n, kind in zip(found.columns, found.kinds, strict=True) if kind in ("Number", "Time")]
    places_ = [found.columns.index(n) for n in names]
    seen = frame[names].assign(at=frame["at"].astype("int64"))
    block = np.array([[found.matrix[i][j] for j in places_] for i in places_], dtype=float)
    assert block == pytest.approx(seen.corr().to_numpy(), abs=6e-5)
    monotone = np.array([[found.spearman[i][j] for j in places_] for i in places_], dtype=float)
    whole = [i for i, n in enumerate(names) if n != "normal"]  # `normal` has missing values: see below
    expected = seen.corr(method="spearman").to_numpy()
    assert monotone[np.ix_(whole, whole)] == pytest.approx(expected[np.ix_(whole, whole)], abs=6e-5)
    assert monotone == pytest.approx(
        expected, abs=0.01
    )  # ranks among the present rows, not among those present in both


def test_correlations_of_categories(profile: Any, frame: pd.DataFrame) -> None:
    found = profile.correlations
    cell = {(a, b): found.matrix[i][j] for i, a in enumerate(found.columns) for j, b in enumerate(found.columns)}
    table = pd.crosstab(frame["group"], frame["same"])
    n, (r, k) = table.to_numpy().sum(), table.shape
    phi = max(0.0, scipy.stats.chi2_contingency(table, correction=False).statistic / n - (r - 1) * (k - 1) / (n - 1))
    smaller = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
    assert cell["group", "same"] == pytest.approx(math.sqrt(phi / smaller), abs=6e-5)
    known = frame.dropna(subset=["group"])
    means = known.groupby("group")["y"].transform("mean")
    assert cell["group", "y"] == cell["y", "group"] == pytest.approx(math.sqrt(r2_score(known["y"], means)), abs=6e-5)
    strongest = found.strongest[0]
    assert (strongest.first, strongest.second, strongest.measure) == ("normal", "near", "Pearson")
    assert {p.measure for p in found.strongest} == {"Pearson", "Cramér's V", "η"}
    assert "text" not in found.columns


def test_measures_of_constants_and_small_tables() -> None:
    codes, constant = np.array([0, 1, 0, 1, -1]), np.zeros(5, dtype=np.int64)
    assert math.isnan(cramers_v(codes, constant))
    assert math.isnan(eta(codes, np.ones(5)))
    assert math.isnan(eta(constant, np.arange(5.0)))
    assert eta(codes, np.array([1.0, 2.0, 1.0, 2.0, np.nan])) == pytest.approx(1)
    both = pearson(np.array([[1.0, 3.0], [2.0, 3.0], [3.0, 3.0], [np.nan, 4.0]]))
    assert math.isnan(both[0, 1])
    huge = np.array([[1e300, -1e300], [2e300, -2e300], [4e300, -4e300]])
    assert pearson(huge)[0, 1] == pytest.approx(-1)
    assert ranks(np.array([3.0, np.nan, 1.0, 3.0])) == pytest.approx([2.5, np.nan, 1, 2.5], nan_ok=True)


def test_interactions_count_the_rows_between_the_percentiles(profile: Any, frame: pd.DataFrame) -> None:
    first = profile.interactions[0]
    assert {first.x, first.y} == {"normal", "near"}
    both = frame[["normal", "near"]].dropna()
    assert 0.97 * len(both) < sum(map(sum, first.counts)) <= len(both)


def test_missing_together() -> None:
    rng = np.random.default_rng(1)
    absent = rng.random(2000) < 0.3
    rows = rng.normal(size=(2000, 4))
    table = {
        "a": pa.array(rows[:, 0], mask=absent),
        "b": pa.array(rows[:, 1], mask=absent | (rng.random(2000) < 0.1)),
        "c": pa.array(["x"] * 2000, mask=rng.random(2000) < 0.2),
        "d": pa.array(rows[:, 3]),
        "none": pa.nulls(2000, pa.float64()),
    }
    profile = profiled(table)
    null = pa.table(table).to_pandas().isna()
    assert profile.missing.columns == ("b", "a", "c")
    pair = profile.missing.pairs[0]
    assert (pair.first, pair.second) == ("b", "a")
    assert pair.rows == (null["a"] & null["b"]).sum()
    assert pair.phi == pytest.approx(null["a"].astype(float).corr(null["b"].astype(float)), abs=6e-5)
    patterns = null[["a", "b", "c"]].value_counts()
    expected = {
        tuple(n for n, on in zip("bac", (key[1], key[0], key[2]), strict=True) if on): c for key, c in patterns.items()
    }
    assert {p.columns: p.rows for p in profile.missing.patterns} == expected
    assert {"AllMissing"} == kinds(profile, "none")


DAY = 86_400
SPANS = {
    0.03: "1 millisecond", 50: "1 second", 3000: "1 minute", 7000: "2 minutes", DAY: "30 minutes", 50 * DAY: "1 day",
    100 * DAY: "2 days", 400 * DAY: "1 week", 1500 * DAY: "1 month", 20 * 365 * DAY: "6 months", 50 * 365 * DAY: "1 year",
    2000 * 365 * DAY: "50 years",
}  # fmt: skip


@pytest.mark.parametrize(("seconds", "step"), SPANS.items())
def test_time_axis_has_at_most_sixty_spans_of_a_usual_length(seconds: float, step: str) -> None:
    moments = np.linspace(1.6e15, 1.6e15 + seconds * 1e6, 500).astype(np.int64)
    found = timeline.axis("at", Values(moments, np.zeros(500, dtype=bool)), is_time=True)
    assert found is not None
    assert found.step == step
    assert 1 < len(found.starts) <= timeline.SPANS
    starts = np.array(found.starts, dtype="datetime64[us]").astype(np.int64)
    assert (starts[found.span] <= moments).all()
    later = found.span < len(starts) - 1
    assert (moments[later] < starts[found.span[later] + 1]).all()
    assert found.rows.sum() == 500


def test_time_axis_of_numbers() -> None:
    values = np.concatenate([np.linspace(-3, 1000, 400), [np.inf, np.nan]])
    found = timeline.axis("n", Values(values, np.isnan(values)), is_time=False)
    assert found is not None
    assert (found.step, found.starts[0]) == ("20", "-20")
    assert found.rows.sum() == 400
    assert timeline.axis("n", Values(np.full(3, 7.0), np.zeros(3, dtype=bool)), is_time=False).starts == ("7",)  # type: ignore[union-attr]
    assert timeline.axis("n", Values(np.full(3, np.inf), np.zeros(3, dtype=bool)), is_time=False) is None


def test_target_and_missing_values_over_time(profile: Any, frame: pd.DataFrame) -> None:
    axis = profile.time_axis
    assert (axis.column, axis.step) == ("at", "1 day")
    days = frame.groupby(frame["at"].dt.floor("D"))
    assert list(axis.rows) == days.size().to_list()
    assert list(axis.target) == pytest.approx(days["y"].mean().to_list(), rel=1e-5)
    assert list(axis.missing["normal"]) == pytest.approx(
        days["normal"].apply(lambda s: s.isna().mean()).to_list(), rel=1e-5
    )


def test_the_split_gives_the_time_column() -> None:
    table = {"t": list(range(300)), "x": [float(i % 7) for i in range(300)]}
    by = {"byTime": {"column": "t"}}
    assert profiled(table, by=by).time_axis.column == "t"  # type: ignore[union-attr]
    assert profiled(table, by=by, timeColumn="x").time_axis.column == "x"  # type: ignore[union-attr]
    assert profiled(table).time_axis is None


def test_scores_are_those_of_the_field() -> None:
    rng = np.random.default_rng(2)
    actual, predicted = rng.normal(size=500), rng.normal(size=500)
    assert target.r2(actual, actual + predicted / 4) == pytest.approx(r2_score(actual, actual + predicted / 4))
    assert target.r2(actual, predicted * 10) == 0
    classes = rng.random(500) < 0.3
    assert target.auc(classes, np.round(predicted, 1)) == pytest.approx(roc_auc_score(classes, np.round(predicted, 1)))
    assert math.isnan(target.auc(np.ones(5, dtype=bool), np.arange(5.0)))


def test_relations(profile: Any, frame: pd.DataFrame) -> None:
    found = profile.target
    assert (found.task, found.measure, found.meaning) == ("Regression", "R2", "mean of y")
    relations = {r.column: r for r in found.relations}
    assert set(relations) == set(frame.columns) - {"y"}
    assert found.relations[0].score == max(r.score for r in found.relations)
    assert relations["normal"].correlation == pytest.approx(frame["normal"].corr(frame["y"]), abs=6e-5)
    assert relations["flag"].score < 0.05
    means = frame.groupby("group")["y"].mean()
    assert {b.label: b.mean for b in relations["group"].bins} == pytest.approx(means.to_dict(), rel=1e-5)
    deciles = relations["near"].bins
    assert [b.count for b in deciles] == [ROWS // 10] * 10
    cut = pd.qcut(frame["near"], 10, labels=False)
    assert [b.mean for b in deciles] == pytest.approx(frame.groupby(cut)["y"].mean().to_list(), rel=1e-4)
    assert sum(v * profile.rows[s] for s, v in found.by_split.items()) / ROWS == pytest.approx(
        frame["y"].mean(), rel=1e-4
    )


def leaking(rows: int = 2000) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    y = rng.normal(size=rows)
    late = y > 0.5
    return {
        "y": y, "copy": y, "scaled": -3 * y + 1, "square": y * y, "late": np.where(late, "late", "on time"),
        "minutes": pa.array(np.where(late, y, 0.0), mask=~late), "reason": pa.array(["weather"] * rows, mask=~late),
        "noise": rng.normal(size=rows), "id": [f"row {i}" for i in range(rows)],
    }  # fmt: skip


def test_leakage_of_a_number() -> None:
    profile = profiled(leaking(), target="y")
    assert kinds(profile, "copy") >= {"EqualsTarget"}
    assert "Leakage" not in kinds(profile, "copy")
    assert "Leakage" in kinds(profile, "scaled")
    scores = {r.column: r.score for r in profile.target.relations}  # type: ignore[union-attr]
    assert scores["scaled"] > 0.99
    assert scores["noise"] < 0.05
    assert scores["id"] < 0.05
    assert not {"Leakage", "EqualsTarget"} & (kinds(profile, "noise") | kinds(profile, "id") | kinds(profile, "square"))


def test_leakage_of_a_class_and_of_missing_values() -> None:
    profile = profiled(leaking(), target="late")
    found = profile.target
    assert found is not None
    assert (found.task, found.measure, found.meaning) == ("Classification", "AUC", "share of late = on time")
    for name in ("copy", "minutes", "reason"):
        assert "Leakage" in kinds(profile, name), name
    assert {r.column: r.score for r in found.relations}["noise"] == pytest.approx(0.5, abs=0.05)


def test_a_class_of_several_is_judged_one_against_the_rest() -> None:
    rng = np.random.default_rng(4)
    group = rng.integers(0, 3, 3000)
    table = {"c": np.array(["a", "b", "c"])[group], "x": group + rng.normal(0, 0.01, 3000), "flag": group == 1}
    scores = {r.column: r.score for r in profiled(table, target="c").target.relations}  # type: ignore[union-attr]
    assert scores["x"] > 0.999
    assert 0.8 < scores["flag"] < 0.9  # one class is told apart, the two others are not


def test_numbers_with_two_values_are_classes() -> None:
    rng = np.random.default_rng(5)
    late = (rng.random(500) < 0.2).astype(int)
    profile = profiled({"late": late, "x": late + rng.normal(size=500)}, target="late")
    assert profile.target.task == "Classification"  # type: ignore[union-attr]
    assert profile.target.meaning == "mean of late"  # type: ignore[union-attr]


def test_features_of_the_sample_are_in_step() -> None:
    """What is related to each other comes from the same rows."""
    rows = 120_000
    at = np.arange(rows)
    profile = profiled({"a": at, "b": (at // 1000).astype(str), "c": at * 2.0}, target="a")
    assert profile.correlations.matrix[0][profile.correlations.columns.index("c")] == 1
    scores = {r.column: r.score for r in profile.target.relations}  # type: ignore[union-attr]
    assert scores["b"] > 0.999
    feature = Feature("b", "Text", np.array([0, 0, 1, 1, -1]))
    goal = np.array([1.0, 3.0, 5.0, 7.0, 9.0])
    learnt = np.array([True, False, True, False, True])
    assert target.predict(feature, goal, learnt).tolist() == [1, 1, 5, 5, 9]
