"""TrainModel against a real store: quality, parity, resume, gates, bad input."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tidemill.contract.model import Baseline, Signature
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import TASK, ArtifactRef
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import (
    ArtifactCorrupt,
    ColumnMissing,
    ColumnType,
    GateNotPassed,
    InvalidData,
    InvalidSpec,
    TrainingDiverged,
)
from tidemill_worker.train.checkpoint import CheckpointFolder

from .conftest import OWNER, Lab

CARRIERS = np.array(["AA", "UA", "DL", "B6"])


def flights(number: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    delay, distance = rng.normal(5, 20, number), rng.integers(100, 3000, number)
    carrier = rng.integers(0, 4, number)
    arrival = delay * 0.9 + np.array([0, 5, -5, 10])[carrier] - distance / 500 + rng.normal(0, 2, number)
    return {
        "dep_delay": [None if i % 17 == 0 else float(v) for i, v in enumerate(delay)],
        "distance": distance.tolist(),
        "night": (rng.random(number) < 0.3).tolist(),
        "carrier": [None if i % 23 == 0 else str(CARRIERS[c]) for i, c in enumerate(carrier)],
        "arr_delay": arrival.tolist(),
        "late": ["late" if v > 15 else "on time" for v in arrival],
        "_tidemill_request_id": [f"r{i}" for i in range(number)],
    }


def dataset(lab: Lab, number: int = 3000, **more: Any) -> dict[str, Any]:
    columns = {**flights(number), **more}
    uri = lab.put_table("raw.parquet", columns)
    result = lab.run(
        {
            "type": "PrepareDataset",
            "root": f"{lab.root}/datasets/flights",
            "inputs": [{"name": "raw", "s3": {"uri": uri}}],
            "split": {"random": {"validation": 0.2, "test": 0.2}},
        }
    )
    reference: dict[str, Any] = result.artifact.model_dump()
    return reference


def task(lab: Lab, data: dict[str, Any], kind: str = "Regression", run: str = "run", **more: Any) -> dict[str, Any]:
    trainer = {
        "target": "arr_delay" if kind == "Regression" else "late",
        "exclude": ["late"] if kind == "Regression" else ["arr_delay"],
        "epochs": 8,
        "hiddenLayers": [32, 16],
        "batchSize": 128,
        "learningRate": 0.01,
        "seed": 3,
        **more.pop("trainer", {}),
    }
    return {
        "type": "TrainModel",
        "task": kind,
        "dataset": data,
        "trainer": trainer,
        "runRoot": f"{lab.root}/runs/{run}/uid",
        "modelRoot": f"{lab.root}/models/delay/{run}-uid",
        **more,
    }


def test_regression_learns_and_publishes_a_complete_model(lab: Lab) -> None:
    data = dataset(lab)
    result = lab.run(task(lab, data))
    assert isinstance(result, TrainResult) and result.epochs == 8
    assert set(result.metrics) == {"train", "validation", "test"}
    assert result.metrics["test"]["mae"] < 5 and result.metrics["test"]["r2"] > 0.85, result.metrics
    model = result.artifact.uri
    names = [n.rsplit("/", 1)[1] for n in lab.list("models/")]
    assert sorted(names) == [
        "baseline.json", "calibration.parquet", "evaluation.json", "manifest.json", "model.onnx", "provenance.json",
        "signature.json",
    ]  # fmt: skip
    signature = Signature.model_validate(lab.get_json(f"{model}/signature.json"))
    assert [(i.name, i.datatype) for i in signature.inputs] == [
        ("dep_delay", "FP32"), ("distance", "FP32"), ("night", "FP32"), ("carrier", "BYTES"),
    ]  # fmt: skip
    assert signature.outputs[0].name == "prediction" and signature.target == "arr_delay"
    assert signature.example is not None and set(signature.example) == {i.name for i in signature.inputs}
    baseline = Baseline.model_validate(lab.get_json(f"{model}/baseline.json"))
    assert [f.name for f in baseline.features] == ["dep_delay", "distance", "night", "carrier"]
    for feature in (*baseline.features, *baseline.predictions):
        assert sum(feature.counts) + feature.missing == baseline.rows
        assert len(feature.counts) == len(feature.bins())
    assert baseline.predictions[0].name == "prediction.prediction" and baseline.features[0].missing > 0
    calibration = lab.get_table(f"{model}/calibration.parquet")
    assert calibration.num_rows == 512 and "arr_delay" in calibration.column_names
    lines = [json.loads(line) for line in lab.get(f"{lab.root}/runs/run/uid/metrics.jsonl").decode().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 9)) and lines[-1]["loss"] < lines[0]["loss"]
    provenance = lab.get_json(f"{model}/provenance.json")
    assert provenance["inputs"] == {data["uri"]: data["digest"]} and provenance["seed"] == 3
    assert provenance["builderImage"] == "worker@sha256:test" and provenance["versions"]["torch"]


def test_the_graph_takes_raw_columns_missing_and_unknown_values_included(lab: Lab) -> None:
    result = lab.run(task(lab, dataset(lab)))
    session = ort.InferenceSession(lab.get(f"{result.artifact.uri}/model.onnx"))

    def predict(delay: float, carrier: str) -> float:
        column = {"dep_delay": delay, "distance": 1000.0, "night": 0.0}
        feed: dict[str, Any] = {k: np.array([[v]], np.float32) for k, v in column.items()}
        feed["carrier"] = np.array([[carrier]], dtype=object)
        return float(session.run(["prediction"], feed)[0][0, 0])

    known = {c: predict(5.0, c) for c in CARRIERS}
    assert known["B6"] - known["DL"] == pytest.approx(15, abs=4)
    assert min(known.values()) - 5 < predict(5.0, "never seen") < max(known.values()) + 5
    assert np.isfinite(predict(float("nan"), "")) and predict(float("nan"), "AA") == predict(float("inf"), "AA")


@pytest.mark.parametrize("target", ["late", "carrier", "night"])
def test_classification(lab: Lab, target: str) -> None:
    data = dataset(lab)
    result = lab.run(task(lab, data, "Classification", trainer={"target": target, "exclude": []}))
    found = result.metrics["test"]
    assert {"accuracy", "f1Macro", "logLoss"} <= set(found)
    assert ("rocAuc" in found) == (target != "carrier")
    if target == "late":
        assert found["accuracy"] > 0.9 and found["rocAuc"] > 0.9
    signature = Signature.model_validate(lab.get_json(f"{result.artifact.uri}/signature.json"))
    classes = {"late": ("late", "on time"), "carrier": ("AA", "B6", "DL", "UA"), "night": ("false", "true")}[target]
    assert signature.classes == classes and [o.name for o in signature.outputs] == ["label", "probabilities"]
    baseline = Baseline.model_validate(lab.get_json(f"{result.artifact.uri}/baseline.json"))
    assert [p.name for p in baseline.predictions] == ["prediction.label"]


def test_the_same_task_again_does_no_work(lab: Lab) -> None:
    document = task(lab, dataset(lab, 500))
    first = lab.run(document)
    for name in lab.list("datasets/"):
        lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(f"{lab.root}/{name}"))
    assert lab.run(document) == first
    for name in lab.list("runs/run/uid/tasks/"):  # the pod died between manifest and record
        lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(f"{lab.root}/{name}"))
    assert lab.run(document) == first


def test_equal_seeds_give_equal_models_and_other_seeds_do_not(lab: Lab) -> None:
    data = dataset(lab, 500)
    first, second = lab.run(task(lab, data, run="a")), lab.run(task(lab, data, run="b"))
    assert first.artifact.digest == second.artifact.digest
    assert lab.run(task(lab, data, run="c", trainer={"seed": 4})).artifact.digest != first.artifact.digest


def _wait_for_epoch(lab: Lab, run: str, epoch: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if f"runs/{run}/uid/checkpoints/latest.json" in lab.list(f"runs/{run}/"):
            latest = lab.get_json(f"{lab.root}/runs/{run}/uid/checkpoints/latest.json")
            if latest["epoch"] >= epoch:
                return
        time.sleep(0.01)
    assert process.poll() is None, "the training ended before it could be interrupted"
    raise AssertionError("no checkpoint in 90 seconds")


LONG = {"epochs": 40, "dropout": 0.2, "patience": 30, "batchSize": 64}


def test_killed_at_random_epochs_it_ends_as_if_nothing_had_happened(lab: Lab) -> None:
    data = dataset(lab, 2000)
    smooth = lab.run(task(lab, data, run="smooth", trainer=LONG))
    document = task(lab, data, run="rough", trainer=LONG)
    command, variables, log = lab.command(document)
    epochs = sorted(random.Random(7).sample(range(3, 30), 2))
    for epoch in epochs:
        process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_epoch(lab, "rough", epoch, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL and not log.exists()
    code, rough, output = lab.process(document)
    assert code == 0 and isinstance(rough, TrainResult), output
    assert "resumed from checkpoint" in output
    assert rough.metrics == smooth.metrics and rough.epochs == smooth.epochs
    assert rough.artifact.digest == smooth.artifact.digest


def test_sigterm_saves_the_last_epoch_and_exits_143(lab: Lab) -> None:
    data = dataset(lab, 2000)
    document = task(lab, data, trainer={**LONG, "epochs": 10_000, "patience": None}, checkpoint={"everyEpochs": 3})
    command, variables, log = lab.command(document)
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _wait_for_epoch(lab, "run", 6, process)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 143 and time.monotonic() - asked < 10 and not log.exists()
    last = [json.loads(line) for line in errors.splitlines() if b'"epoch"' in line]
    assert last[-1]["message"] == "checkpoint kept for the next pod"
    latest = lab.get_json(f"{lab.root}/runs/run/uid/checkpoints/latest.json")
    assert latest["epoch"] == last[-1]["epoch"] >= 6
    kept = [n for n in lab.list("runs/run/uid/checkpoints/") if n.endswith(".npz")]
    assert len(kept) == 2, "old checkpoints are removed"


def test_a_damaged_checkpoint_is_not_used(lab: Lab) -> None:
    data = dataset(lab, 500)
    document = task(lab, data)
    clean = lab.run(task(lab, data, run="clean"))
    context = lab.context()
    parsed = TASK.validate_python({"owner": OWNER, **document})
    CheckpointFolder(context.store, f"{lab.root}/runs/run/uid", parsed.task_id).save(4, b"anything")
    lab.put("runs/run/uid/checkpoints/epoch-000004.npz", b"anything else")
    assert lab.run(document).artifact.digest == clean.artifact.digest


def test_patience_stops_early_and_keeps_the_best_weights(lab: Lab) -> None:
    data = dataset(lab, 500)
    result = lab.run(task(lab, data, trainer={"epochs": 300, "patience": 5, "learningRate": 0.03}))
    assert result.epochs < 300
    lines = [json.loads(line) for line in lab.get(f"{lab.root}/runs/run/uid/metrics.jsonl").decode().splitlines()]
    best = min(lines, key=lambda line: line["validationLoss"])
    assert len(lines) == best["epoch"] + 5


def test_nan_loss_names_epoch_and_learning_rate(lab: Lab) -> None:
    data = dataset(lab, 500)
    with pytest.raises(TrainingDiverged) as caught:
        lab.run(task(lab, data, trainer={"learningRate": 10, "hiddenLayers": [64] * 12, "epochs": 200}))
    error = caught.value
    assert error.exit_code == 68 and error.reason == "TrainingDiverged"
    assert "in epoch" in error.message and "learning rate 10" in error.message
    assert not lab.list("models/")


def test_gates(lab: Lab) -> None:
    data = dataset(lab, 1000)
    gates = [{"metric": "mae", "max": 0.001}, {"metric": "r2", "split": "validation", "min": 0.1}]
    with pytest.raises(GateNotPassed) as caught:
        lab.run(task(lab, data, gates=gates))
    assert caught.value.reason == "GateNotPassed" and 64 <= caught.value.exit_code <= 78
    assert "test mae is" in caught.value.message and "above the maximum 0.001" in caught.value.message
    assert "r2" not in caught.value.message and caught.value.field == "spec.gates[0]" and not lab.list("models/")
    with pytest.raises(InvalidSpec, match="there is no accuracy"):
        lab.run(task(lab, data, gates=[{"metric": "accuracy", "min": 0.5}]))


@pytest.mark.parametrize(
    ("trainer", "kind", "error", "words"),
    [
        (
            {"target": "nosuch"},
            "Regression",
            ColumnMissing,
            "spec.trainer.tabularRegression.target: there is no column",
        ),
        ({"features": ["nosuch"], "exclude": []}, "Regression", ColumnMissing, "tabularRegression.features"),
        ({"exclude": ["nosuch"]}, "Regression", ColumnMissing, "tabularRegression.exclude"),
        ({"target": "late", "exclude": ["when"]}, "Regression", ColumnType, "'late' is string, not a number"),
        ({"target": "arr_delay", "exclude": ["when"]}, "Classification", ColumnType, "holds fractions"),
        ({"features": ["distance"], "exclude": ["late"]}, "Regression", InvalidSpec, "exclude has no effect"),
        ({"features": ["arr_delay"], "exclude": []}, "Regression", InvalidSpec, "cannot be a feature"),
        ({"features": ["when"], "exclude": []}, "Regression", ColumnType, "'when' is timestamp[us]"),
        ({"exclude": []}, "Regression", ColumnType, "'when' is timestamp[us]"),
        ({"target": "one", "exclude": ["when"]}, "Classification", InvalidData, "has 1 class"),
    ],
)
def test_columns_that_do_not_fit(lab: Lab, trainer: dict[str, Any], kind: str, error: type, words: str) -> None:
    when = np.array(["2020-01-01"] * 200, dtype="datetime64[us]")
    data = dataset(lab, 200, when=when, one=["same"] * 200)
    with pytest.raises(error) as caught:
        lab.run(task(lab, data, kind, trainer=trainer))
    assert words in caught.value.message and 64 <= caught.value.exit_code <= 78, caught.value.message


def test_one_changed_byte_of_the_dataset_is_refused(lab: Lab) -> None:
    data = dataset(lab, 500)
    name = data["uri"].removeprefix(lab.root + "/") + "/train.parquet"
    body = bytearray(lab.get(f"{lab.root}/{name}"))
    body[len(body) // 2] ^= 1
    lab.put(name, bytes(body))
    code, result, _ = lab.process(task(lab, data))
    assert code == 69 and result is not None and result.type == "Failure" and result.reason == "ArtifactCorrupt"
    assert f"{data['uri']}/train.parquet differs from its manifest" in result.message


def test_an_artifact_never_changes(lab: Lab) -> None:
    data = dataset(lab, 500)
    first = lab.run(task(lab, data))
    before = lab.get(f"{first.artifact.uri}/model.onnx")
    other = task(lab, data, trainer={"seed": 9}, run="other")
    other["modelRoot"] = first.artifact.uri
    assert lab.run(other).artifact == first.artifact, "the folder's artifact is the result: it is never trained over"
    assert lab.get(f"{first.artifact.uri}/model.onnx") == before
    with pytest.raises(ArtifactCorrupt, match="does not have the digest"):
        Artifact(lab.context(), ArtifactRef(uri=first.artifact.uri, digest="sha256:" + "0" * 64), name="model")
