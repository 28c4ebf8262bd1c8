"""The profile as data: every figure against another library, and bytes that depend on nothing but the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats

from tidemill_worker.profile import alerts, numbers, reader
from tidemill_worker.profile.rounding import places, rounded, settled

from .profiles import column, kinds, mixed, profiled

ROWS = 3000


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pa.table(mixed(ROWS)).to_pandas()


@pytest.fixture(scope="module")
def profile() -> Any:
    return profiled(mixed(ROWS), target="y", timeColumn="at")


@pytest.mark.parametrize("name", ["normal", "skewed", "whole"])
def test_numbers(profile: Any, frame: pd.DataFrame, name: str) -> None:
    series = frame[name].dropna()
    found = column(profile, name)
    assert found.kind == "Number"
    assert (found.missing, found.distinct) == (int(frame[name].isna().sum()), series.nunique())
    n = found.numbers
    assert n is not None
    expected = {
        "min": series.min(), "max": series.max(), "mean": series.mean(), "sd": series.std(), "sum": series.sum(),
        "skewness": series.skew(), "kurtosis": series.kurt(), "iqr": scipy.stats.iqr(series),
        "mad": scipy.stats.median_abs_deviation(series), "cv": series.std() / abs(series.mean()),
        "zeros": (series == 0).sum(), "negatives": (series < 0).sum(),
    }  # fmt: skip
    got = n.model_dump()
    assert {key: got[key] for key in expected} == pytest.approx(expected, rel=1e-5, abs=6e-5)
    assert list(n.quantiles.values()) == pytest.approx(np.quantile(series, [0.05, 0.25, 0.5, 0.75, 0.95]), rel=1e-5)
    low, high = np.quantile(series, 0.25), np.quantile(series, 0.75)
    for share, fence in ((n.outliers, 1.5), (n.far_outliers, 3)):
        outside = (series < low - fence * (high - low)) | (series > high + fence * (high - low))
        assert share == pytest.approx(outside.mean(), rel=1e-5)
    assert list(n.smallest) == pytest.approx(sorted(set(series))[:5], rel=1e-5)
    assert list(n.largest) == pytest.approx(sorted(set(series))[:-6:-1], rel=1e-5)


@pytest.mark.parametrize("name", ["normal", "skewed", "whole"])
def test_histograms_count_every_value_once(profile: Any, frame: pd.DataFrame, name: str) -> None:
    histogram = column(profile, name).histogram
    series = frame[name].dropna().to_numpy(dtype=float)
    assert histogram is not None
    edges = np.array(histogram.edges, dtype=float)
    assert sum(histogram.counts) == len(series)
    assert histogram.below == pytest.approx((series < edges[0]).sum(), abs=1)
    assert histogram.above == pytest.approx((series > edges[-1]).sum(), abs=1)
    expected = np.histogram(np.clip(series, edges[0], edges[-1]), edges)[0]
    assert np.abs(expected - np.array(histogram.counts)).max() <= 2  # edges are rounded
    if name == "whole":  # one bin for as many whole numbers each
        assert set(np.diff(edges)) == {np.diff(edges)[0]}
        assert edges[0] % 1 == 0.5


def test_most_frequent_values(profile: Any, frame: pd.DataFrame) -> None:
    counts = frame["whole"].value_counts()
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]
    assert [(t.value, t.count) for t in column(profile, "whole").top] == [(str(v), c) for v, c in expected]
    assert column(profile, "skewed").top == ()  # each value is there once
    for name in ("group", "flag", "same"):
        expected = frame[name].dropna().astype(str).str.lower().value_counts()
        assert {t.value: t.count for t in column(profile, name).top} == expected.to_dict()


def test_texts() -> None:
    texts = ["Über den Fluß", "über den  Berg", "", " x ", None, "x\n", "Fluß"] * 20 + [f"t{i}" for i in range(60)]
    found = column(
        profiled(
            {"t": texts, "number": ["1", " -2.5e3", "", None] * 50, "time": ["2024-05-01", "2024-05-02 10:00"] * 100}
        ),
        "t",
    )
    present = [t for t in texts if t is not None]
    assert (found.kind, found.distinct, found.missing) == ("Text", len(set(present)), 20)
    assert found.text is not None
    assert (found.text.min_length, found.text.max_length) == (0, 14)
    assert found.text.mean_length == pytest.approx(np.mean([len(t) for t in present]), rel=1e-5)
    assert (found.text.empty, found.text.padded) == (20, 40)
    assert sum(found.text.lengths.counts) == len(present)
    words = pd.Series(" ".join(present).lower().split()).value_counts()
    assert {w.value: w.count for w in found.text.words} == {w: c for w, c in words.items() if c > 1}
    assert found.text.looks_like is None


def test_texts_that_should_have_another_type() -> None:
    table = {
        "number": ["1", " -2.5e3", "", None] * 50,
        "time": ["2024-05-01", "2024-05-02 10:00"] * 100,
        "blank": [""] * 200,
    }
    profile = profiled(table)
    found = {name: column(profile, name).text for name in table}
    assert {name: text.looks_like for name, text in found.items() if text} == {
        "number": "Number",
        "time": "Time",
        "blank": None,
    }
    assert kinds(profile, "number") >= {"LooksLike", "Padded", "Missing"}


def test_times(profile: Any, frame: pd.DataFrame) -> None:
    found = column(profile, "at")
    assert (found.kind, found.distinct) == ("Time", frame["at"].nunique())
    assert found.time is not None
    assert pd.Timestamp(found.time.min) == frame["at"].min()
    assert pd.Timestamp(found.time.max) == frame["at"].max()
    assert found.histogram is not None
    assert sum(found.histogram.counts) == ROWS
    assert found.histogram.edges[0] == pytest.approx(frame["at"].astype("int64").quantile(0.005) / 1e6, rel=1e-9)


def test_whole_numbers_beyond_double_precision_stay_apart() -> None:
    first = 2**53
    profile = profiled(
        {
            "id": pa.array(range(first, first + 100), pa.int64()),
            "big": pa.array([2**64 - 1 - i for i in range(100)], pa.uint64()),
        }
    )
    assert [c.distinct for c in profile.columns] == [100, 100]
    found = column(profile, "id").numbers
    assert found is not None
    assert (found.min, found.max) == (first, first + 99)
    assert "Identifier" in kinds(profile, "id")


def test_close_values_far_from_zero_keep_their_digits() -> None:
    found = column(profiled({"x": [1_600_000_000 + i / 8 for i in range(80)]}), "x")
    assert found.numbers is not None
    assert found.numbers.mean == pytest.approx(1_600_000_004.9375, abs=0.01)
    assert found.histogram is not None
    assert len(set(found.histogram.edges)) == len(found.histogram.edges)


def test_rounding() -> None:
    assert rounded(1 / 3) == 0.333333
    assert rounded(123456789.123) == 123457000
    assert rounded(123456789.123, 0.5) == 123456789.123
    assert rounded(float("nan")) is None
    assert rounded(2**60) == 2**60
    assert rounded(True) == 1
    assert places(float("inf")) is None
    assert settled(1e-17, 1.0) == 0.0
    assert column(profiled({"x": [0.1, -0.1, 0.3, -0.3, 0.7, -0.7]}), "x").numbers.mean == 0  # type: ignore[union-attr]


def test_whole_and_exact_statistics_of_a_constant() -> None:
    found = numbers.statistics(np.full(5, 0.1), np.array([0.1]), infinite=0)
    assert (found.mean, found.sd, found.skewness, found.kurtosis) == (0.1, 0, None, None)
    one = numbers.statistics(np.array([3]), np.array([3]), infinite=0)
    assert (one.mean, one.sd, one.min) == (3, None, 3)


def test_duplicates_and_test_rows_in_train() -> None:
    rng = np.random.default_rng(6)
    rows = pd.DataFrame({"a": rng.integers(0, 12, 400), "b": rng.integers(0, 12, 400)})
    random = profiled({"a": rows["a"], "b": rows["b"]})
    assert random.duplicates.rows == rows.duplicated().sum()
    assert random.duplicates.test_in_train == 0  # the same row always lands in the same split
    logged = profiled({"a": rows["a"], "b": rows["b"], "_tidemill_request_id": [str(i) for i in range(400)]})
    assert logged.duplicates.rows == rows.duplicated().sum()
    assert "TestRowsInTrain" in kinds(logged)  # but for the request's id they are the same
    by_time = profiled(
        {"t": list(range(400)), "a": rows["a"], "b": rows["b"]},
        by={"byTime": {"column": "t", "testRows": 100, "validation": 0}},
    )
    seen = set(map(tuple, rows[:300].to_numpy().tolist()))
    expected = sum(tuple(row) in seen for row in rows[300:].to_numpy().tolist())
    assert by_time.duplicates.rows == 0
    assert by_time.duplicates.test_in_train == expected > 50
    assert "TestRowsInTrain" in kinds(by_time)


def test_every_kind_of_alert() -> None:
    n = 1000
    rng = np.random.default_rng(7)
    absent = rng.random(n) < 0.5
    x = rng.normal(size=n)
    table = {
        "t": list(range(n)), "y": ["rare"] * 20 + ["usual"] * (n - 20), "same_y": ["rare"] * 20 + ["usual"] * (n - 20),
        "early": [float(i < 20) + i / n / 10 for i in range(n)], "empty": pa.nulls(n, pa.string()), "one": [1] * n,
        "mostly": ["a"] * 970 + ["b"] * 30, "infinite": pa.array(np.where(x > 1, np.inf, x)),
        "half": pa.array(x, mask=absent), "other_half": pa.array(rng.normal(size=n), mask=absent), "twice": 2 * x,
        "many": [f"v{i % 200}" for i in range(n)], "tail": rng.pareto(1.5, n), "zeros": np.where(x > 1, x, 0.0),
        "digits": [str(i % 30) for i in range(n)], "spaced": [f" {i % 5}x" for i in range(n)],
    }  # fmt: skip
    profile = profiled(table, target="y", by={"byTime": {"column": "t"}})
    doubled = profiled({"t": [0] * 50 + list(range(50)), "a": [1, 2] * 50}, by={"byTime": {"column": "t"}})
    assert kinds(profile) | kinds(doubled) == set(alerts.ORDER)
    assert [alerts.ORDER.index(a.kind) for a in profile.alerts] == sorted(
        alerts.ORDER.index(a.kind) for a in profile.alerts
    )
    assert all(alert.message and alert.column in table for alert in profile.alerts)
    assert "Identifier" in kinds(profile, "t")


def test_a_clean_table_has_no_alert() -> None:
    rng = np.random.default_rng(8)
    table = {"x": rng.normal(size=500), "z": rng.uniform(size=500), "c": rng.choice(["a", "b"], 500)}
    assert profiled(table).alerts == ()


def test_bytes_depend_on_the_rows_alone() -> None:
    """Not on their order, on the number of threads, or on a second run."""
    table = pa.table(mixed(ROWS))
    order = np.random.default_rng(9).permutation(ROWS)
    first = profiled(table, target="y", timeColumn="at").to_json()
    assert profiled(table, target="y", timeColumn="at").to_json() == first
    assert profiled(table.take(pa.array(order)), threads=4, target="y", timeColumn="at").to_json() == first


def test_large_tables_are_described_by_evenly_spread_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {**mixed(20_000), "twice": pa.array([i // 2 for i in range(20_000)])}
    exact = profiled(table, target="y", timeColumn="at")
    monkeypatch.setattr(reader, "EXACT_ROWS", 4_000)
    found = profiled(table, target="y", timeColumn="at")
    assert (exact.described_rows, found.described_rows, found.total) == (20_000, 4_000, 20_000)
    for a, b in zip(exact.columns, found.columns, strict=True):
        assert (a.name, a.kind, a.missing) == (b.name, b.kind, b.missing)
        assert b.distinct == pytest.approx(a.distinct, rel=0.15), a.name
        if a.numbers is not None and b.numbers is not None:
            assert (a.numbers.min, a.numbers.max) == (b.numbers.min, b.numbers.max)
            assert b.numbers.quantiles["p50"] == pytest.approx(a.numbers.quantiles["p50"], rel=0.1)
        if a.histogram is not None and b.histogram is not None:
            assert sum(b.histogram.counts) == pytest.approx(sum(a.histogram.counts), rel=0.02)
    assert sum(found.time_axis.rows) == 20_000  # type: ignore[union-attr]
    assert sum(p.rows for p in found.missing.patterns) == 20_000
    strongest = (exact.correlations.strongest[0], found.correlations.strongest[0])
    assert strongest[0].value == pytest.approx(strongest[1].value, abs=0.02)
    twice = pa.concat_tables([pa.table({"x": list(range(10_000))})] * 2)
    assert profiled(twice).duplicates.rows == pytest.approx(10_000, rel=0.1)
