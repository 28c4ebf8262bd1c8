"""Metrics by step, a run's parameters, and the address of a tracking server, as documents."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from tidemill.contract.tracking import Measurement, MlflowRun, MlflowTracking, flatten, read_measurements


def test_a_line_has_its_metrics_beside_the_step_and_reads_back() -> None:
    measurement = Measurement(step=3, epoch=1, time="2026-01-01T00:00:00Z", values={"loss": 0.5, "auc": 0.9})
    line = measurement.line()
    assert line == {"step": 3, "epoch": 1, "loss": 0.5, "auc": 0.9, "time": "2026-01-01T00:00:00Z"}
    assert Measurement.model_validate(line) == measurement
    without_epoch = Measurement(step=3, values={"loss": 0.5})
    assert "epoch" not in without_epoch.line()
    assert Measurement.model_validate(without_epoch.line()) == without_epoch
    assert Measurement.model_validate_json(measurement.to_json()) == measurement


def test_lines_of_before_there_were_steps_read_as_well() -> None:
    old = '{"epoch": 2, "loss": 1.5, "validationLoss": null, "learningRate": 0.01, "seconds": 0.1, "time": "t"}'
    (read,) = read_measurements(old + "\n")
    assert (read.step, read.epoch) == (2, 2)
    assert read.values == {"loss": 1.5, "learningRate": 0.01, "seconds": 0.1}


@pytest.mark.parametrize("bad", ["{", "[]", "{}", '{"step": -1}', '{"step": 1, "loss": "low"}'])
def test_a_line_that_is_none_is_named_by_its_number(bad: str) -> None:
    with pytest.raises(ValueError, match=r"^line 2: "):
        read_measurements(json.dumps({"step": 1, "loss": 1.0}) + "\n" + bad)


def test_nested_fields_become_dotted_names() -> None:
    document = {"a": {"b": {"c": 1}, "d": [1, "é"], "e": None}, "f": True, "g": [], "h": {}}
    assert flatten(document) == {"a.b.c": 1, "a.d": '[1,"é"]', "f": True, "g": "[]"}
    assert flatten({}) == {}


@pytest.mark.parametrize("uri", ["http://mlflow:5000", "https://mlflow.example.org/tracking", "https://[::1]:5000/"])
def test_addresses_of_servers(uri: str) -> None:
    assert MlflowTracking(uri=uri, experiment="e").uri == uri
    page = MlflowRun(uri=uri, experiment_id="1", run_id="r").page
    assert page == f"{uri.rstrip('/')}/#/experiments/1/runs/r"


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow:5000",
        "sqlite:///mlflow.db",
        "https://ada:secret@mlflow",
        "https://mlflow?token=1",
        "http:///x",
        "http://",
    ],
)
def test_what_is_no_address_of_a_server(uri: str) -> None:
    with pytest.raises(ValidationError, match="uri"):
        MlflowTracking(uri=uri, experiment="e")
