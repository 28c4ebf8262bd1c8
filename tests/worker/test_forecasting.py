"""Forecasts against a real store: quality beside the seasonal-naive forecast, the graph, windows, resume, what follows."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper

from tidemill.contract.model import Baseline, Evaluation, Signature
from tidemill.contract.results import TrainResult
from tidemill_worker.artifact import Artifact
from tidemill_worker.model import tables, windows
from tidemill_worker.train import forecasting
from tidemill_worker.train.forecasting.features import WindowFeatures
from tidemill_worker.train.trained import train as train_once

from .forecast_cases import BEGIN, EPOCH, SHOPS, Document, by_time, forecast, parsed, sales, seconds
from .lab import OWNER, Lab


def test_it_beats_the_season_before_and_publishes_a_complete_model(lab: Lab) -> None:
    data = by_time(lab, sales())
    evaluation = {"slices": ["shop"], "confidence": {"resamples": 20}}
    gates = [
        {"metric": "skill", "min": 0.3},
        {"metric": "coverage", "split": "validation", "min": 0.3},
        {"metric": "mase", "max": 1, "slice": {"column": "shop", "value": "north"}},
    ]
    result = lab.run(forecast(lab, data, evaluation=evaluation, gates=gates))
    assert isinstance(result, TrainResult)
    assert (result.epochs, result.device, result.warnings) == (6, "cpu", ())
    found = result.metrics["test"]
    assert found["skill"] == pytest.approx(1 - found["mae"] / found["seasonalNaiveMae"])
    assert found["mase"] < 0.8
    assert 0.4 < found["coverage"] <= 1
    model = result.artifact.uri
    signature = Signature.model_validate(lab.get_json(f"{model}/signature.json"))
    assert [(i.name, i.datatype, i.shape) for i in signature.inputs] == [
        ("sold", "FP32", (-1, 14)), ("day", "INT64", (-1, 1)), ("shop", "BYTES", (-1, 1)), ("promotion", "FP32", (-1, 7)),
    ]  # fmt: skip
    assert [(o.name, o.shape) for o in signature.outputs] == [("prediction", (-1, 7)), ("quantiles", (-1, 7, 2))]
    assert signature.forecast is not None
    assert (signature.forecast.season, signature.forecast.quantiles) == (7, (0.1, 0.9))
    told = Evaluation.model_validate(lab.get_json(f"{model}/evaluation.json"))
    steps = told.details["test"].horizon
    assert [step.step for step in steps] == list(range(1, 8))
    assert np.mean([step.metrics["mae"] for step in steps]) == pytest.approx(found["mae"], rel=1e-4)
    assert [s.value for s in told.details["test"].slices] == list(SHOPS)
    assert b"By steps ahead" in lab.get(f"{model}/evaluation.html")
    assert "horizon.png" in str(lab.list("models/"))
    baseline = Baseline.model_validate(lab.get_json(f"{model}/baseline.json"))
    assert [f.name for f in baseline.features] == ["shop"], "neither the time nor a list of values drifts by bins"
    explained = {i["column"]: i["mean"] for i in lab.get_json(f"{model}/explanation.json")["importances"]}
    assert set(explained) == {"sold", "day", "shop", "promotion"}
    assert explained["sold"] > explained["promotion"] > 0
    lines = [json.loads(line) for line in lab.get(f"{lab.root}/runs/run/uid/metrics.jsonl").splitlines()]
    assert lines[-1]["validationLoss"] < lines[0]["validationLoss"]
    assert lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()}).outputs == 2


def test_the_graph_takes_the_last_values_and_knows_what_to_do_without_some(lab: Lab) -> None:
    result = lab.run(forecast(lab, by_time(lab, sales())))
    session = ort.InferenceSession(lab.get(f"{result.artifact.uri}/model.onnx"))
    columns = sales()
    north = np.array([v for v, shop in zip(columns["sold"], columns["shop"], strict=True) if shop == "north"])
    newest = seconds(BEGIN + timedelta(days=99))

    def ask(history: np.ndarray, shop: str = "north", promotion: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        feed: Document = {
            "sold": history[None].astype(np.float32),
            "day": np.array([[newest]], np.int64),
            "shop": np.array([[shop]], object),
            "promotion": np.full((1, 7), promotion, np.float32),
        }
        prediction, quantiles = session.run(["prediction", "quantiles"], feed)
        return prediction[0], quantiles[0]

    last = north[86:100]
    forecasts, quantiles = ask(last)
    assert np.abs(forecasts / north[100:107] - 1).mean() < 0.3
    assert (quantiles[:, 0] <= quantiles[:, 1]).all()
    assert ask(last, promotion=1.0)[0].sum() > 1.1 * forecasts.sum()
    assert np.isfinite(ask(last, "never seen")[0]).all()
    # a gap is what was before it; what begins with one, what comes after it
    gap, same = last.copy(), last.copy()
    gap[5:8], same[5:8] = np.nan, last[4]
    gap[0], same[0] = np.inf, last[1]
    assert ask(gap)[0].tolist() == ask(same)[0].tolist() != forecasts.tolist()
    assert np.isfinite(ask(np.full(14, np.nan))[0]).all()


def test_what_trees_see_is_what_the_names_say(lab: Lab) -> None:
    trainer = {"lags": [1, 4], "seasonalLags": 3, "windows": [5, 9], "calendar": ["Weekday", "MonthDay"]}
    task = parsed(forecast(lab, by_time(lab, sales()), trainer=trainer))
    data = forecasting.read(task, lab.context())
    features = WindowFeatures.fit(data, task.trainer)  # type: ignore[arg-type]
    assert data.spec.history == 21
    encoded = features.encode(data.train.rows)
    history = tables.vectors(data.train.rows, "sold").astype(np.float64)
    assert np.allclose(encoded.centre[:, 0], history.mean(axis=1), rtol=1e-6)
    assert np.allclose(encoded.scale[:, 0], np.maximum(history.std(axis=1), features.least), rtol=1e-6)
    values = (history - encoded.centre) / encoded.scale
    rows = encoded.matrix.reshape(len(history), 7, -1)
    found = {name: rows[:, :, place] for place, name in enumerate(features.names)}
    assert rows.shape[2] == len(features.names) == len(found)
    for lag in (1, 4):
        assert np.allclose(found[f"lag {lag}"], values[:, [-lag]], atol=1e-5)
    assert np.allclose(found["deviation of 9"], values[:, -9:].std(axis=1)[:, None], atol=1e-5)
    assert np.allclose(found["maximum of 5"], values[:, -5:].max(axis=1)[:, None], atol=1e-5)
    for season in (1, 2, 3):
        for step in range(7):  # the same weekday, one to three weeks before the day that is forecast
            assert np.allclose(found[f"season {season}"][:, step], values[:, step - 7 * season], atol=1e-5)
    assert found["step"][0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    newest = [EPOCH + timedelta(seconds=t) for t in data.train.rows.column("day").to_pylist()]
    for step in range(7):
        then = [moment + timedelta(days=step + 1) for moment in newest]
        assert found["Weekday"][:, step].tolist() == [moment.weekday() for moment in then]
        assert found["MonthDay"][:, step].tolist() == [moment.day for moment in then]


def test_interrupted_it_ends_as_if_nothing_had_happened_and_threads_change_nothing(lab: Lab) -> None:
    data = by_time(lab, sales(120))
    sampled = {"subsample": 0.7, "featureFraction": 0.7, "patience": 5, "horizon": 3}
    smooth = lab.run(forecast(lab, data, "smooth", trainer=sampled))
    document = forecast(lab, data, "rough", trainer=sampled)
    task, context = parsed(document), lab.context()

    class Lost(Exception):
        pass

    def lose(epoch: int, _loss: float) -> None:
        if epoch == 3:
            raise Lost

    with pytest.raises(Lost):
        train_once(task, forecasting.read(task, context), context, lose)
    assert lab.get_json(f"{lab.root}/runs/rough/uid/checkpoints/latest.json")["epoch"] == 3
    rough = lab.with_environment(cpus=2).run(document)
    assert (rough.metrics, rough.epochs) == (smooth.metrics, smooth.epochs)
    assert rough.artifact.digest == smooth.artifact.digest
    assert (
        lab.run(forecast(lab, data, "other", trainer={**sampled, "seed": 4})).artifact.digest != smooth.artifact.digest
    )


def test_gaps_are_filled_and_what_was_filled_is_not_judged(lab: Lab) -> None:
    columns = sales(120)
    keep = [place for place in range(360) if place % 17 != 5]
    gappy = {name: [values[place] for place in keep] for name, values in columns.items()}
    data = by_time(lab, gappy)
    small = {"horizon": 3, "trees": 10}
    tasks = [forecast(lab, data, gaps, trainer={**small, "gaps": gaps}) for gaps in ("Previous", "Zero")]
    previous, zero = (forecasting.read(parsed(task), lab.context()) for task in tasks)
    assert 0.02 < np.isnan(previous.train.future).mean() < 0.1
    assert previous.train.rows.num_rows == zero.train.rows.num_rows
    gone = np.isnan(previous.train.future)
    assert (zero.train.future[gone] == 0).all()
    assert np.array_equal(zero.train.future[~gone], previous.train.future[~gone])
    history = tables.vectors(previous.train.rows, "sold")
    filled = tables.vectors(zero.train.rows, "sold") == 0
    assert (history[:, 1:][filled[:, 1:]] == history[:, :-1][filled[:, 1:]]).all()
    told = [lab.run(task) for task in tasks]
    values = [
        lab.get_json(f"{t.artifact.uri}/evaluation.json")["details"]["test"]["horizon"][0]["values"] for t in told
    ]
    assert values[0] < values[1], "what was filled is not judged, what was zero is"


def test_months_are_steps_of_the_calendar(lab: Lab) -> None:
    months = [datetime(2010 + m // 12, m % 12 + 1, 1) for m in range(150)]
    columns = {"day": months, "sold": [100 + m + 30 * (moment.month == 12) for m, moment in enumerate(months)]}
    data = by_time(lab, {**columns, "sold": [float(v) for v in columns["sold"]]})
    result = lab.run(
        forecast(
            lab,
            data,
            trainer={
                "series": None,
                "known": None,
                "frequency": "1mo",
                "horizon": 6,
                "minRowsPerLeaf": 5,
                "quantiles": None,
            },
        )
    )
    assert result.metrics["test"]["mase"] < 1
    signature = Signature.model_validate(lab.get_json(f"{result.artifact.uri}/signature.json"))
    assert signature.forecast is not None
    assert (signature.forecast.season, signature.forecast.history) == (12, 24)
    assert [o.name for o in signature.outputs] == ["prediction"]


def test_two_models_are_compared_where_both_can_forecast(lab: Lab) -> None:
    data = by_time(lab, sales(120))
    short = lab.run(forecast(lab, data, "short", trainer={"horizon": 3, "trees": 10}))
    long = lab.run(forecast(lab, data, "long", trainer={"horizon": 3, "lags": [1, 40], "stride": 2}))
    result = lab.run(
        {
            "type": "CompareModels",
            "champion": short.artifact.model_dump(),
            "challenger": long.artifact.model_dump(),
            "dataset": data,
            "metric": "mae",
            "root": f"{lab.root}/drift",
        }
    )
    rows = [lab.get_json(f"{model.artifact.uri}/evaluation.json")["rows"]["test"] for model in (short, long)]
    assert 0 < result.rows == rows[1] < rows[0], "every second day, as the rarer one forecasts"
    assert result.improvement == pytest.approx((result.champion - result.challenger) / result.champion)


def test_a_batch_forecasts_what_has_not_come_yet(lab: Lab) -> None:
    data = by_time(lab, sales(120))
    model = lab.run(forecast(lab, data, trainer={"known": None, "trees": 10}))
    task = {"type": "ScoreBatch", "artifact": model.artifact.model_dump(), "dataset": data, "root": f"{lab.root}/batch"}
    result = lab.run({**task, "splits": ["test"]})
    scores = lab.get_table(f"{result.artifact.uri}/test.parquet")
    assert scores.column_names == ["shop", "day", "sold", "prediction.prediction", "prediction.quantiles"]
    newest = max(scores.column("day").to_pylist())
    assert newest == seconds(BEGIN + timedelta(days=119))
    assert {len(values) for values in scores.column("prediction.prediction").to_pylist()} == {7}


def test_a_search_varies_the_fields_of_a_forecast(lab: Lab) -> None:
    training = forecast(lab, by_time(lab, sales(120)), trainer={"horizon": 3, "trees": 10, "quantiles": None})
    search = {
        "parameters": [{"name": "scaling", "choices": ["Last", "None"]}],
        "metric": "mase",
        "sampler": "Grid",
        "trials": 2,
    }
    result = lab.run({"type": "SearchModel", "training": {"owner": OWNER, **training}, "search": search})
    assert result.search.trials == 2
    assert result.metrics["test"]["mase"] > 0


def test_a_context_that_no_dataset_has_is_told_by_the_artifact(lab: Lab) -> None:
    """The windows of a published model come from its signature alone."""
    data = by_time(lab, sales(120))
    model = lab.run(forecast(lab, data, trainer={"horizon": 3, "trees": 10}))
    signature = Signature.model_validate(lab.get_json(f"{model.artifact.uri}/signature.json"))
    dataset = Artifact(lab.context(), parsed(forecast(lab, data)).dataset, name="dataset")
    cut = windows.read(dataset, signature, "test")
    assert cut.num_rows == lab.get_json(f"{model.artifact.uri}/evaluation.json")["rows"]["test"]


def test_a_graph_that_does_not_answer_as_the_trees_is_not_published(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidemill_worker.errors import ModelInvalid

    export = forecasting.FittedForecast.export

    def shifted(self: forecasting.FittedForecast) -> Any:
        proto = export(self)
        for node in proto.graph.node:
            if node.op_type == "TreeEnsembleRegressor":
                (base,) = (a for a in node.attribute if a.name == "base_values")
                base.CopyFrom(helper.make_attribute("base_values", [v + 0.01 for v in base.floats]))
        return proto

    monkeypatch.setattr(forecasting.FittedForecast, "export", shifted)
    with pytest.raises(ModelInvalid, match="differs from the trained one by"):
        lab.run(forecast(lab, by_time(lab, sales(120)), trainer={"horizon": 3, "trees": 10}))
    assert not lab.list("models/")
