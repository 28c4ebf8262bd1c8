"""What a training tells besides its model: run.json, metrics by step; and a tracking server that is away or is none."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tidemill.contract.results import TrainResult
from tidemill.contract.tracking import Measurement, MlflowTracking, read_measurements
from tidemill_worker.errors import GateNotPassed
from tidemill_worker.tracking import mlflow as logger_module
from tidemill_worker.tracking.mlflow import MlflowLogger, Opening
from tidemill_worker.tracking.mlflow_api import MlflowRefused, MlflowServer, authorization

from .lab import OWNER, Lab, free_ports
from .samples import dataset, train


def test_run_json_says_what_the_training_was_started_with(lab: Lab) -> None:
    data = dataset(lab, 300)
    with pytest.raises(GateNotPassed):
        lab.run(train(lab, data, gates=[{"metric": "mae", "max": 1e-6}]))
    record = lab.get_json(f"{lab.root}/runs/run/uid/run.json")
    assert record["owner"] == "Dataset team/flights"
    assert (record["datasetUri"], record["datasetDigest"]) == (data["uri"], data["digest"])
    assert record["parameters"]["trainer"] == "tabularRegression"
    assert record["parameters"]["target"] == "arr_delay"
    assert record["parameters"]["hiddenLayers"] == "[32,16]"
    assert record["parameters"]["learningRate"] == 0.01
    assert (record["seed"], record["image"]) == (3, "worker@sha256:test")
    assert record["versions"]["torch"]
    assert not {"AWS_SECRET_ACCESS_KEY", "tidemill-secret"} & set(json.dumps(record).split('"'))


def test_every_step_is_a_line_with_its_metrics_by_name(lab: Lab) -> None:
    lab.run(train(lab, dataset(lab, 300), trainer={"epochs": 3}))
    text = lab.get(f"{lab.root}/runs/run/uid/metrics.jsonl").decode()
    for number, line in enumerate(map(json.loads, text.splitlines()), start=1):
        assert list(line) == ["step", "epoch", "loss", "validationLoss", "learningRate", "seconds", "time"]
        assert line["step"] == line["epoch"] == number
    read = read_measurements(text)
    assert [m.step for m in read] == [1, 2, 3]
    assert [m.values["loss"] for m in read] == [json.loads(line)["loss"] for line in text.splitlines()]


def test_of_a_search_the_runs_folder_has_what_the_best_trial_measured(lab: Lab) -> None:
    training = {"owner": OWNER, **train(lab, dataset(lab, 300), trainer={"epochs": 2})}
    rates = {"name": "learningRate", "choices": ["0.00001", "0.02"]}
    search = {"metric": "mae", "trials": 2, "sampler": "Grid", "pruner": "None", "parameters": [rates]}
    lab.run({"type": "SearchModel", "training": training, "search": search})
    record = lab.get_json(f"{lab.root}/runs/run/uid/run.json")
    assert record["parameters"]["learningRate"] == 0.02
    measured = lab.get(f"{lab.root}/runs/run/uid/metrics.jsonl")
    assert [m.values["learningRate"] for m in read_measurements(measured.decode())] == [0.02, 0.02]
    trials = {lab.get(f"{lab.root}/runs/run/uid/trials/{number:04}/metrics.jsonl") for number in range(2)}
    assert measured in trials


def test_without_a_tracker_nothing_is_noted_of_one(lab: Lab) -> None:
    result = lab.run(train(lab, dataset(lab, 300), trainer={"epochs": 1}))
    assert result.warnings == ()
    names = [name.rsplit("/", 1)[1] for name in lab.list("runs/run/uid/")]
    assert {"run.json", "metrics.jsonl"} <= set(names)
    assert "mlflow.json" not in names


def test_a_server_that_is_down_costs_a_warning_and_nothing_else(lab: Lab) -> None:
    data, (port,) = dataset(lab, 300), free_ports(1)
    plain = lab.run(train(lab, data, run="plain"))
    spec = {"uri": f"http://127.0.0.1:{port}", "experiment": "delays"}
    result = lab.run(train(lab, data, tracking={"mlflow": spec}))
    assert isinstance(result, TrainResult)
    assert (result.artifact.digest, result.metrics) == (plain.artifact.digest, plain.metrics)
    (warning,) = result.warnings
    assert warning.startswith(f"MLflow at http://127.0.0.1:{port} was not told of everything")
    assert "Connection refused" in warning
    assert len(lab.get(f"{lab.root}/runs/run/uid/metrics.jsonl").splitlines()) == 8


def test_a_secret_without_its_keys_is_a_warning_that_names_them(lab: Lab) -> None:
    spec = {"uri": "http://127.0.0.1:9", "experiment": "delays", "secretName": "mlflow"}
    (warning,) = lab.run(train(lab, dataset(lab, 300), trainer={"epochs": 1}, tracking={"mlflow": spec})).warnings
    assert "Secret mlflow has neither MLFLOW_TRACKING_TOKEN nor MLFLOW_TRACKING_USERNAME and" in warning


def test_a_silent_server_holds_nothing_up_and_the_queue_is_bounded(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and never answers, as behind a firewall that drops packets."""
    monkeypatch.setattr(logger_module, "QUEUE", 100)
    monkeypatch.setattr(logger_module, "FAREWELL", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        logger = start_logger(lab, f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)
        began = time.monotonic()
        for step in range(20_000):
            logger.log(Measurement(step=step, time="2026-01-01T00:00:00Z", values={"loss": 1.0}))
        assert time.monotonic() - began < 5
        assert len(logger._waiting) + len(logger._batch) <= 200
        began = time.monotonic()
        assert "timed out" in logger.end("FINISHED")
        assert time.monotonic() - began < 5


def test_a_server_that_is_no_mlflow_is_told_apart(lab: Lab) -> None:
    with scripted(200, b"<html>Welcome</html>") as (uri, _):
        logger = start_logger(lab, uri)
        assert "is there an MLflow server at this address?" in logger.end("FINISHED")
    with scripted(200, b"[1]") as (uri, _):
        assert "is there an MLflow server at this address?" in start_logger(lab, uri).end("FINISHED")
    with scripted(200, b"{}") as (uri, _):
        assert "experiment" in start_logger(lab, uri).end("FINISHED")


def test_a_redirect_is_not_followed_with_the_credentials(lab: Lab) -> None:
    with scripted(200, b"{}") as (elsewhere, reached), scripted(301, b"", Location=elsewhere) as (uri, _):
        problem = start_logger(lab, uri, "Bearer secret").end("FINISHED")
        assert f"it redirects to {elsewhere}: name that address" in problem
        assert "secret" not in problem
        assert reached == []


def test_a_token_goes_into_the_header_and_wins_over_a_password(lab: Lab) -> None:
    folder = lab.work / "keys"
    folder.mkdir()
    assert authorization(folder) is None
    (folder / "MLFLOW_TRACKING_USERNAME").write_text("ada\n")
    assert authorization(folder) is None, "a name without a password is nothing"
    (folder / "MLFLOW_TRACKING_PASSWORD").write_text("lovelace\n")
    assert authorization(folder) == "Basic YWRhOmxvdmVsYWNl"
    (folder / "MLFLOW_TRACKING_TOKEN").write_text("t0ken\n")
    with scripted(403, b'{"error_code": "PERMISSION_DENIED", "message": "not you"}') as (uri, seen):
        with pytest.raises(MlflowRefused, match="403 PERMISSION_DENIED on experiments/get-by-name: not you"):
            MlflowServer(uri, authorization(folder), timeout=5).experiment("delays")
        assert [headers["Authorization"] for headers in seen] == ["Bearer t0ken"]


def start_logger(lab: Lab, uri: str, credentials: str | None = None, *, timeout: float = 5.0) -> MlflowLogger:
    return MlflowLogger(
        MlflowServer(uri, credentials, timeout=timeout),
        MlflowTracking(uri=uri, experiment="delays"),
        Opening(name="run", start=1, parameters={}, tags={}),
        lab.context().store,
        folder=f"{lab.root}/runs/run/uid",
        measured=f"{lab.root}/runs/run/uid/metrics.jsonl",
    )


@contextmanager
def scripted(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[Any]]]:
    """A server that answers everything alike, and the headers of the requests that arrived."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(self.headers)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """The test looks at `seen`."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
