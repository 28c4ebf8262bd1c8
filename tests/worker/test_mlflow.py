"""spec.tracking.mlflow against a real MLflow server: what arrives, exactly once, whatever happens to pod and server."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidemill.contract.results import RESULT, TrainResult
from tidemill.contract.tracking import Measurement, MlflowTracking, read_measurements
from tidemill_worker.errors import GateNotPassed
from tidemill_worker.tracking import mlflow as logger_module
from tidemill_worker.tracking.mlflow import MlflowLogger, Opening
from tidemill_worker.tracking.mlflow_api import MlflowServer, authorization

from .lab import Lab
from .mlflow_server import PASSWORD, USER, Mlflow, start_mlflow
from .samples import dataset, train

pytestmark = pytest.mark.slow
EXPERIMENT = "delays"
PATIENCE = 120.0
PATIENT_WORKER = (
    f"from tidemill_worker.tracking import mlflow; mlflow.TIMEOUT = mlflow.FAREWELL = {PATIENCE}; "
    "import sys; from tidemill_worker.main import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    with start_mlflow(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture(autouse=True)
def keys(lab: Lab) -> Path:
    """The Secret `mlflow`, mounted beside the task."""
    folder = lab.environment.secret_dir / "mlflow"
    folder.mkdir(parents=True)
    (folder / "MLFLOW_TRACKING_USERNAME").write_text(USER)
    (folder / "MLFLOW_TRACKING_PASSWORD").write_text(PASSWORD)
    return folder


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about what arrives, whatever else this machine has to do."""
    monkeypatch.setattr(logger_module, "TIMEOUT", PATIENCE)
    monkeypatch.setattr(logger_module, "FAREWELL", PATIENCE)


def tracked(lab: Lab, data: dict[str, Any], mlflow: Mlflow, run: str = "run", **more: Any) -> dict[str, Any]:
    spec = {"uri": mlflow.uri, "experiment": EXPERIMENT, "secretName": "mlflow"}
    return train(lab, data, run=run, tracking={"mlflow": spec}, **more)


def run_of(lab: Lab, mlflow: Mlflow, run: str = "run") -> dict[str, Any]:
    """What the server has of the run whose id is noted in the store."""
    noted = lab.get_json(f"{lab.root}/runs/{run}/uid/mlflow.json")
    assert noted["uri"] == mlflow.uri
    found: dict[str, Any] = mlflow.ask("runs/get", run_id=noted["runId"])["run"]
    return found


def measured(lab: Lab, run: str = "run") -> tuple[Measurement, ...]:
    return read_measurements(lab.get(f"{lab.root}/runs/{run}/uid/metrics.jsonl").decode())


def values(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {pair["key"]: pair["value"] for pair in pairs}


def test_parameters_steps_and_the_artifacts_address_arrive(lab: Lab, mlflow: Mlflow) -> None:
    data = dataset(lab, 500)
    result = lab.run(tracked(lab, data, mlflow))
    assert isinstance(result, TrainResult)
    assert result.warnings == ()
    found = run_of(lab, mlflow)
    info, told = found["info"], found["data"]
    assert (info["status"], info["run_name"]) == ("FINISHED", "flights")
    record = lab.get_json(f"{lab.root}/runs/run/uid/run.json")
    parameters = values(told["params"])
    assert parameters == {
        "dataset.uri": data["uri"],
        "dataset.digest": data["digest"],
        **{name: str(value) for name, value in record["parameters"].items()},
    }
    assert parameters["learningRate"] == "0.01"
    assert parameters["hiddenLayers"] == "[32,16]"
    steps = measured(lab)
    assert len(steps) == 8
    for name in ("loss", "validationLoss", "learningRate", "seconds"):
        assert mlflow.history(info["run_id"], name) == [(m.step, m.values[name]) for m in steps]
    for split, metrics in result.metrics.items():
        for name, value in metrics.items():
            assert mlflow.history(info["run_id"], f"{split}/{name}") == [(8, value)]
    tags = values(told["tags"])
    assert tags["tidemill.artifact.uri"] == result.artifact.uri
    assert tags["tidemill.artifact.digest"] == result.artifact.digest
    assert tags["tidemill.owner"] == "Dataset team/flights"
    assert mlflow.ask("artifacts/list", run_id=info["run_id"]).get("files", []) == [], (
        "the model's bytes stay in the store"
    )
    assert lab.run(train(lab, data, run="plain")).artifact.digest == result.artifact.digest


def test_a_run_that_was_killed_goes_on_with_the_same_mlflow_run(lab: Lab, mlflow: Mlflow) -> None:
    data = dataset(lab, 2000)
    document = tracked(lab, data, mlflow, trainer={"epochs": 40, "batchSize": 64}, checkpoint={"everyEpochs": 2})
    command, variables, log = lab.command(document, TIDEMILL_SECRET_DIR=str(lab.environment.secret_dir))
    command[1:3] = ["-c", PATIENT_WORKER]
    first: list[str] = []
    for _ in range(2):
        process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if _latest(lab) >= 6 * (len(first) + 1) and "runs/run/uid/mlflow.json" in lab.list("runs/"):
                break
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        first.append(lab.get_json(f"{lab.root}/runs/run/uid/mlflow.json")["runId"])
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    result = RESULT.validate_json(log.read_bytes())
    assert isinstance(result, TrainResult)
    assert result.warnings == ()
    found = run_of(lab, mlflow)
    assert {*first, found["info"]["run_id"]} == {first[0]}
    assert found["info"]["status"] == "FINISHED"
    assert [step for step, _ in mlflow.history(first[0], "loss")] == list(range(1, 41)), "each step once"
    assert mlflow.history(first[0], "loss") == [(m.step, m.values["loss"]) for m in measured(lab)]


def _latest(lab: Lab) -> int:
    if "runs/run/uid/checkpoints/latest.json" not in lab.list("runs/"):
        return 0
    return int(lab.get_json(f"{lab.root}/runs/run/uid/checkpoints/latest.json")["epoch"])


def test_a_run_whose_id_was_not_noted_is_found_again(lab: Lab, mlflow: Mlflow) -> None:
    document = tracked(lab, dataset(lab, 300), mlflow)
    lab.run(document)
    first = run_of(lab, mlflow)["info"]["run_id"]
    for name in lab.list("runs/run/uid/"):  # the pod died before it could note anything but its metrics
        if name.endswith("mlflow.json") or "/tasks/" in name:
            lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(f"{lab.root}/{name}"))
    lab.run(document)
    assert run_of(lab, mlflow)["info"]["run_id"] == first
    assert [step for step, _ in mlflow.history(first, "loss")] == list(range(1, 9))


def test_a_gate_that_does_not_hold_ends_the_mlflow_run_as_failed(lab: Lab, mlflow: Mlflow) -> None:
    with pytest.raises(GateNotPassed):
        lab.run(tracked(lab, dataset(lab, 300), mlflow, gates=[{"metric": "mae", "max": 1e-6}]))
    found = run_of(lab, mlflow)
    assert found["info"]["status"] == "FAILED"
    assert len(mlflow.history(found["info"]["run_id"], "loss")) == 8
    assert "tidemill.artifact.uri" not in values(found["data"]["tags"])


def test_a_wrong_password_is_a_warning(lab: Lab, mlflow: Mlflow, keys: Path) -> None:
    (keys / "MLFLOW_TRACKING_PASSWORD").write_text("wrong")
    result = lab.run(tracked(lab, dataset(lab, 300), mlflow))
    (warning,) = result.warnings
    assert mlflow.uri in warning
    assert "401" in warning
    assert "not authenticated" in warning
    assert len(measured(lab)) == 8


def test_a_run_that_was_deleted_on_the_server_is_a_warning(lab: Lab, mlflow: Mlflow) -> None:
    document = tracked(lab, dataset(lab, 300), mlflow)
    lab.run(document)
    mlflow.ask("runs/delete", {"run_id": run_of(lab, mlflow)["info"]["run_id"]})
    for name in lab.list("runs/run/uid/tasks/"):
        lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(f"{lab.root}/{name}"))
    (warning,) = lab.run(document).warnings
    assert "must be in the 'active' state" in warning


def test_a_server_that_hangs_is_told_the_rest_when_it_answers_again(
    lab: Lab, mlflow: Mlflow, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger_module, "PAUSE", 0.01)
    monkeypatch.setattr(logger_module, "FIRST", 0.2)
    folder = f"{lab.root}/runs/hanging/uid"
    server = MlflowServer(mlflow.uri, authorization(keys), timeout=PATIENCE)
    logger = MlflowLogger(
        server,
        MlflowTracking(uri=mlflow.uri, experiment=EXPERIMENT),
        Opening(name="hanging", start=1_700_000_000_000, parameters={"a": "1"}, tags={}),
        lab.context().store,
        folder=folder,
        measured=f"{folder}/metrics.jsonl",
    )

    def say(first: int, last: int) -> None:
        for step in range(first, last + 1):
            logger.log(Measurement(step=step, time="2026-01-01T00:00:00Z", values={"loss": 1 / step}))

    def until(check: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not check():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    say(1, 5)
    until(lambda: f"{folder}/mlflow.json".removeprefix(f"{lab.root}/") in lab.list("runs/hanging/"))
    run_id = json.loads(lab.get(f"{folder}/mlflow.json"))["runId"]
    until(lambda: len(mlflow.history(run_id, "loss")) == 5)
    server.timeout = 1.0
    mlflow.freeze()
    try:
        began = time.monotonic()
        say(6, 2000)
        assert time.monotonic() - began < 5, "the training is not held up"
        until(lambda: logger.problem)
    finally:
        server.timeout = PATIENCE
        mlflow.thaw()
    until(lambda: not logger.problem)
    assert logger.end("FINISHED") == ""
    assert mlflow.history(run_id, "loss") == [(step, pytest.approx(1 / step)) for step in range(1, 2001)]
