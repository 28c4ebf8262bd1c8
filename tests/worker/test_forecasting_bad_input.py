"""Forecasts and what can be wrong: splits that are not in time, times on no grid, gaps, duplicates, too short series."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from tidemill_worker.errors import ColumnMissing, ColumnType, GateNotPassed, InvalidData, InvalidSpec

from .forecast_cases import BEGIN, Document, by_time, forecast, sales
from .lab import Lab
from .samples import dataset_of

FIELD = "spec.trainer.forecasting"


def refused(lab: Lab, error: type, document: Document) -> Any:
    with pytest.raises(error) as caught:
        lab.run(document)
    assert 64 <= caught.value.exit_code <= 78
    assert not lab.list("runs/run/uid/checkpoints/"), "no epoch was trained"
    assert not lab.list("models/")
    return caught.value


def test_a_random_split_is_refused(lab: Lab) -> None:
    data = dataset_of(lab, sales(60))
    error = refused(lab, InvalidSpec, forecast(lab, data))
    assert error.field == "spec.dataset"
    assert "split the Dataset by time, spec.split.byTime: {column: day, validationRows: Newest}" in error.message


def test_a_validation_split_of_random_rows_is_refused(lab: Lab) -> None:
    error = refused(lab, InvalidSpec, forecast(lab, by_time(lab, sales(60), validationRows="Random")))
    assert "rows of the validation split" in error.message


@pytest.mark.parametrize(
    ("trainer", "error", "field", "words"),
    [
        ({"target": "nosuch"}, ColumnMissing, "", "there is no column 'nosuch'"),
        ({"time": "shop", "series": None}, ColumnType, ".time", "column 'shop' is string, not a time"),
        ({"target": "shop", "series": None}, ColumnType, ".target", "column 'shop' is string, not a number"),
        ({"known": ["shop"], "series": None}, ColumnType, ".known", "not a number"),
        ({"series": None}, InvalidData, ".series", "has more than one row at 2023-01-01T00:00:00"),
        ({"frequency": "7h"}, InvalidData, ".time", "is not a whole number of steps of 7h"),
        ({"frequency": "1mo"}, InvalidData, ".time", "is not a whole number of steps of 1mo from 2023-01-01"),
        ({"frequency": "12h"}, InvalidData, ".gaps", "shop=north has no value at 2023-01-01T12:00:00"),
        (
            {"lags": [1, 90]},
            InvalidData,
            ".horizon",
            "takes 97 steps (90 before it, 7 ahead), the longest of 3 series has",
        ),
        ({"stride": 5000}, InvalidData, ".horizon", "lower stride"),
        ({"known": ["sold"]}, InvalidSpec, "", "column 'sold' has two roles"),
    ],
)
def test_fields_that_do_not_fit_the_data(lab: Lab, trainer: Document, error: type, field: str, words: str) -> None:
    found = refused(lab, error, forecast(lab, by_time(lab, sales(90)), trainer=trainer))
    assert found.field == f"{FIELD}{field}"
    assert words in found.message, found.message


def test_gaps_are_refused_with_their_place(lab: Lab) -> None:
    columns = sales(60)
    columns["sold"][20] = None
    error = refused(lab, InvalidData, forecast(lab, by_time(lab, columns)))
    assert error.field == f"{FIELD}.gaps"
    assert f"has no value at {(BEGIN + timedelta(days=20)).isoformat()} (1 of 60 steps are missing)" in error.message
    assert "set gaps to Previous or Zero" in error.message


def test_times_must_be_there_and_whole_seconds(lab: Lab) -> None:
    columns = sales(60)
    columns["day"][5] = None
    assert "missing in 1 rows" in refused(lab, InvalidData, forecast(lab, by_time(lab, columns))).message
    columns["day"][5] = BEGIN + timedelta(days=5, microseconds=7)
    assert "fractions of a second" in refused(lab, InvalidData, forecast(lab, by_time(lab, columns, "b"))).message


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ({"metric": "r2", "min": 0}, "there is no r2 for this task; there are mae"),
        (
            {"metric": "coverage", "min": 0},
            "coverage needs 2 of spec.trainer.forecasting.quantiles, of which there are 0",
        ),
        (
            {"metric": "mae", "max": 1, "slice": {"column": "shop", "value": "north"}},
            "is none of spec.evaluation.slices",
        ),
    ],
)
def test_gates_that_no_forecast_could_keep(lab: Lab, gate: Document, words: str) -> None:
    document = forecast(lab, by_time(lab, sales(60)), trainer={"quantiles": None}, gates=[gate])
    assert words in refused(lab, InvalidSpec, document).message


def test_what_an_evaluation_of_a_forecast_does_not_have(lab: Lab) -> None:
    data = by_time(lab, sales(60))
    for evaluation, field in (
        ({"slices": ["promotion"]}, "spec.evaluation.slices[0]"),
        ({"fairness": {"groups": ["shop"]}}, "spec.evaluation.fairness"),
        ({"threshold": {}}, "spec.evaluation.threshold"),
        ({"explain": {"method": "SHAP"}}, "spec.evaluation.explain.method"),
    ):
        assert refused(lab, InvalidSpec, forecast(lab, data, evaluation=evaluation)).field == field


def test_a_gate_that_is_not_kept(lab: Lab) -> None:
    document = forecast(lab, by_time(lab, sales(90)), trainer={"trees": 10}, gates=[{"metric": "skill", "min": 0.99}])
    with pytest.raises(GateNotPassed, match=r"test skill is .*, below the minimum 0\.99"):
        lab.run(document)
    assert not lab.list("models/")


def test_patience_needs_windows_of_validation(lab: Lab) -> None:
    data = by_time(lab, sales(90), validation=0.05)
    error = refused(lab, InvalidSpec, forecast(lab, data, trainer={"patience": 2}))
    assert error.field == f"{FIELD}.patience"


def test_more_than_the_pod_has_room_for(lab: Lab) -> None:
    small = lab.with_environment(memory_bytes=10_000)
    error = refused(small, InvalidSpec, forecast(small, by_time(small, sales(90))))
    assert error.field == f"{FIELD}.stride"
    assert "raise stride" in error.message


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"frequency": "1 day"}, "match pattern"),
        ({"horizon": 0}, "greater than or equal to 1"),
        ({"quantiles": [0.5, 1]}, "less than 1"),
        ({"lags": []}, "at least 1 item"),
        ({"calendar": ["Noon"]}, "Input should be"),
    ],
)
def test_values_that_the_contract_refuses(lab: Lab, trainer: Document, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        lab.run(forecast(lab, {"uri": "s3://a/b", "digest": "sha256:" + "0" * 64}, trainer=trainer))
