"""The parts of a forecast by themselves: calendar, windows, metrics, quantiles."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto

from tidemill.contract.frequency import Step
from tidemill.contract.model import ForecastSignature
from tidemill_worker.model import series, tables, windows
from tidemill_worker.model.forecasts import ForecastRows
from tidemill_worker.model.metrics import metrics
from tidemill_worker.model.predictor import open_session
from tidemill_worker.train import forecasting
from tidemill_worker.train.forecasting import calendar as graph_calendar
from tidemill_worker.train.graph import Graph, column

from .forecast_cases import BEGIN, DAYS, EPOCH, by_time, forecast, parsed, sales, seconds
from .lab import Lab


def test_the_calendar_is_that_of_python() -> None:
    rng = np.random.default_rng(0)
    moments = [datetime(1600, 1, 1) + timedelta(seconds=int(s)) for s in rng.integers(0, 600 * 365 * 86_400, 3000)]
    moments += [datetime(year, 3, 1) - timedelta(days=d) for year in (1900, 1999, 2000, 2024, 2100) for d in range(3)]
    times = np.array([seconds(moment) for moment in moments], np.int64)[:, None]
    wanted = ("Hour", "Weekday", "MonthDay", "YearDay", "Month")

    def run(step: Step, names: tuple[Any, ...]) -> list[np.ndarray]:
        graph = Graph()
        made = graph_calendar.features(graph, "t", step, 2, names, "c")
        proto = graph.model([column("t", TensorProto.INT64)], [column(name, width=2) for name in made])
        return open_session(proto.SerializeToString()).run(made, {"t": times})

    for step, ahead in ((Step(seconds=3600), timedelta(hours=2)), (Step(seconds=86_400), timedelta(days=2))):
        then = [moment + ahead for moment in moments]
        expected = [
            [m.hour * 3600 + m.minute * 60 + m.second for m in then],
            [m.weekday() for m in then],
            [m.day for m in then],
            [m.timetuple().tm_yday for m in then],
            [m.month for m in then],
        ]
        for name, values, right in zip(wanted, run(step, wanted), expected, strict=True):
            assert values[:, 1].tolist() == right, name
    (months,) = run(Step(months=5), ("Month",))
    assert months.tolist() == [[(m.month + 4) % 12 + 1, (m.month + 9) % 12 + 1] for m in moments]


def test_windows_of_a_split_forecast_nothing_else(lab: Lab) -> None:
    task = parsed(forecast(lab, by_time(lab, sales())))
    data = forecasting.read(task, lab.context())
    everything = series.load(data.dataset, "sold", data.spec)
    raw = {split: tables.read_split(data.dataset, split) for split in series.SPLITS}
    newest = 0
    for split in series.SPLITS:
        cut = windows.cut(everything, "sold", data.spec, split)
        times = np.array(cut.column("day").to_pylist()) // 86_400
        there = {
            (s, d.toordinal())
            for s, d in zip(*(raw[split].column(c).to_pylist() for c in ("shop", "day")), strict=True)
        }
        for shop, time in zip(cut.column("shop").to_pylist(), times, strict=True):
            first = EPOCH.toordinal() + int(time) + 1
            assert {(shop, first + step) for step in range(7)} <= there
        assert times.min() > newest or split == "train"
        newest = times.max()
        assert len(cut) > 3 * 20
    rare = windows.cut(everything, "sold", data.spec.model_copy(update={"stride": 7}), "train")
    assert set(np.diff(sorted(set(rare.column("day").to_pylist())))) == {7 * 86_400}
    last = windows.cut(everything, "sold", data.spec, "test", ahead=False)
    assert max(last.column("day").to_pylist()) == seconds(BEGIN + timedelta(days=DAYS - 1))


SPEC = ForecastSignature(
    time="t", horizon=3, history=4, frequency="1h", season=2, quantiles=(0.1, 0.9), gaps="Previous", series=()
)


def test_metrics_by_hand() -> None:
    table = pa.table(
        {
            "y": pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4, 5, 5, 5, 5], pa.float32()), 4),
            windows.FUTURE: pa.FixedSizeListArray.from_arrays(pa.array([3.0, 6.0, np.nan, 5.0, 4.0, 8.0]), 3),
            windows.SCALE: [2.0, np.nan],
        }
    )
    prediction = np.array([[4.0, 4.0, 4.0], [5.0, 5.0, 5.0]])
    quantiles = np.stack([prediction - 1, prediction + 1], axis=2)
    rows = ForecastRows.of(table, "y", SPEC, {"prediction": prediction, "quantiles": quantiles})
    assert rows.naive.tolist() == [[3, 4, 3], [5, 5, 5]], "the newest values that are whole seasons before"
    found = metrics(rows)
    assert found["mae"] == pytest.approx((1 + 2 + 0 + 1 + 3) / 5)
    assert found["seasonalNaiveMae"] == pytest.approx((0 + 2 + 0 + 1 + 3) / 5)
    assert found["mase"] == pytest.approx((1 + 2) / 2 / 2), "of the series that has a scale"
    assert found["bias"] == pytest.approx((1 - 2 + 0 + 1 - 3) / 5)
    assert found["coverage"] == pytest.approx(3 / 5)
    assert found["intervalWidth"] == pytest.approx(2)
    low = [0.1 * a if a > 0 else -0.9 * a for a in (0, 3, 1, 0, 4)]
    high = [0.9 * a if a > 0 else -0.1 * a for a in (-2, 1, -1, -2, 2)]
    assert found["quantileLoss"] == pytest.approx((sum(low) + sum(high)) / 10)
    assert found["skill"] == pytest.approx(1 - 7 / 6)
    assert "mae" not in metrics(rows.step(3).take(np.array([0]))), "no value came"


def test_quantiles_are_moved_to_where_the_validation_split_has_them() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=(400, 3)) * [1, 2, 3]
    target[5, 0] = np.nan
    quantiles = np.stack([np.full((400, 3), -0.5), np.full((400, 3), 0.5)], axis=2)
    moved = quantiles + forecasting.conformal.shifts(target, quantiles, (0.1, 0.9))
    share = np.nanmean(np.where(np.isnan(target), np.nan, target < moved[:, :, 1]), axis=0)
    assert np.allclose(share, 0.9, atol=0.005)
    assert np.allclose(moved[0, :, 1], np.array([1, 2, 3]) * 1.28, rtol=0.2)
    few = forecasting.conformal.shifts(target[:50], quantiles[:50], (0.1, 0.9))
    assert len(np.unique(few, axis=0)) == 1, "of few values all steps are moved alike"
    assert not forecasting.conformal.shifts(target[:0], quantiles[:0], (0.1, 0.9)).any()
