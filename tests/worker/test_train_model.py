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
import pyarrow as pa
import pytest

from tidemill.contract.model import Baseline, Signature
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import TASK, TrainModel
from tidemill_worker.errors import Terminated
from tidemill_worker.train.checkpoint import CheckpointFolder
from tidemill_worker.train.preprocess import Preprocessor
from tidemill_worker.train.tabular import fit, read

from .interrupting import wait_for_epoch
from .lab import OWNER, Lab
from .samples import CARRIERS, dataset, train


def test_regression_learns_and_publishes_a_complete_model(lab: Lab) -> None:
    data = dataset(lab)
    result = lab.run(train(lab, data))
    assert isinstance(result, TrainResult)
    assert result.epochs == 8
    assert set(result.metrics) == {"train", "validation", "test"}
    assert result.metrics["test"]["mae"] < 5
    assert result.metrics["test"]["r2"] > 0.85
    model = result.artifact.uri
    names = [n.rsplit("/", 1)[1] for n in lab.list("models/") if not n.endswith(".png")]
    assert sorted(names) == [
        "baseline.json", "calibration.parquet", "evaluation.html", "evaluation.json", "explanation.json", "manifest.json",
        "model.onnx", "provenance.json", "signature.json",
    ]  # fmt: skip
    signature = Signature.model_validate(lab.get_json(f"{model}/signature.json"))
    assert [(i.name, i.datatype) for i in signature.inputs] == [
        ("dep_delay", "FP32"), ("distance", "FP32"), ("night", "FP32"), ("carrier", "BYTES"),
    ]  # fmt: skip
    assert signature.outputs[0].name == "prediction"
    assert signature.target == "arr_delay"
    assert signature.example is not None
    assert set(signature.example) == {i.name for i in signature.inputs}
    baseline = Baseline.model_validate(lab.get_json(f"{model}/baseline.json"))
    assert [f.name for f in baseline.features] == ["dep_delay", "distance", "night", "carrier"]
    for feature in (*baseline.features, *baseline.predictions):
        assert sum(feature.counts) + feature.missing == baseline.rows
        assert len(feature.counts) == len(feature.bins())
    assert baseline.predictions[0].name == "prediction.prediction"
    assert baseline.features[0].missing > 0
    calibration = lab.get_table(f"{model}/calibration.parquet")
    assert calibration.num_rows == 512
    assert "arr_delay" in calibration.column_names
    lines = [json.loads(line) for line in lab.get(f"{lab.root}/runs/run/uid/metrics.jsonl").decode().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 9))
    assert lines[-1]["loss"] < lines[0]["loss"]
    provenance = lab.get_json(f"{model}/provenance.json")
    assert provenance["inputs"] == {data["uri"]: data["digest"]}
    assert provenance["seed"] == 3
    assert provenance["builderImage"] == "worker@sha256:test"
    assert provenance["versions"]["torch"]


def test_the_graph_takes_raw_columns_missing_and_unknown_values_included(lab: Lab) -> None:
    result = lab.run(train(lab, dataset(lab)))
    session = ort.InferenceSession(lab.get(f"{result.artifact.uri}/model.onnx"))

    def predict(delay: float, carrier: str) -> float:
        column = {"dep_delay": delay, "distance": 1000.0, "night": 0.0}
        feed: dict[str, Any] = {k: np.array([[v]], np.float32) for k, v in column.items()}
        feed["carrier"] = np.array([[carrier]], dtype=object)
        return float(session.run(["prediction"], feed)[0][0, 0])

    known = {c: predict(5.0, c) for c in CARRIERS}
    assert known["B6"] - known["DL"] == pytest.approx(15, abs=4)
    assert min(known.values()) - 5 < predict(5.0, "never seen") < max(known.values()) + 5
    assert np.isfinite(predict(float("nan"), ""))
    assert predict(float("nan"), "AA") == predict(float("inf"), "AA")


@pytest.mark.parametrize("target", ["late", "carrier", "night"])
def test_classification(lab: Lab, target: str) -> None:
    data = dataset(lab)
    result = lab.run(train(lab, data, "Classification", trainer={"target": target, "exclude": []}))
    found = result.metrics["test"]
    assert {"accuracy", "f1Macro", "logLoss"} <= set(found)
    assert ("rocAuc" in found) == (target != "carrier")
    if target == "late":
        assert found["accuracy"] > 0.9
        assert found["rocAuc"] > 0.9
    signature = Signature.model_validate(lab.get_json(f"{result.artifact.uri}/signature.json"))
    classes = {"late": ("late", "on time"), "carrier": ("AA", "B6", "DL", "UA"), "night": ("false", "true")}[target]
    assert signature.classes == classes
    assert [o.name for o in signature.outputs] == ["label", "probabilities"]
    baseline = Baseline.model_validate(lab.get_json(f"{result.artifact.uri}/baseline.json"))
    assert [p.name for p in baseline.predictions] == ["prediction.label"]


def test_the_same_task_again_does_no_work(lab: Lab) -> None:
    document = train(lab, dataset(lab, 500))
    first = lab.run(document)
    for name in lab.list("datasets/"):
        lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(f"{lab.root}/{name}"))
    assert lab.run(document) == first
    for name in lab.list("runs/run/uid/tasks/"):  # the pod died between manifest and record
        lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(f"{lab.root}/{name}"))
    assert lab.run(document) == first.model_copy(update={"device": ""}), "what trained is not known any more"


def test_equal_seeds_give_equal_models_and_other_seeds_do_not(lab: Lab) -> None:
    data = dataset(lab, 500)
    first, second = lab.run(train(lab, data, run="a")), lab.run(train(lab, data, run="b"))
    assert first.artifact.digest == second.artifact.digest
    assert lab.run(train(lab, data, run="c", trainer={"seed": 4})).artifact.digest != first.artifact.digest


def files_of(lab: Lab, result: TrainResult) -> dict[str, str]:
    """Path → sha256 of a model's files: unlike the digest they say what differs."""
    manifest = lab.get_json(f"{result.artifact.uri}/manifest.json")
    return {file["path"]: file["sha256"] for file in manifest["files"]}


LONG = {"epochs": 40, "dropout": 0.2, "patience": 30, "batchSize": 64}


@pytest.mark.slow
def test_killed_at_random_epochs_it_ends_as_if_nothing_had_happened(lab: Lab) -> None:
    data = dataset(lab, 2000)
    smooth = lab.run(train(lab, data, run="smooth", trainer=LONG))
    document = train(lab, data, run="rough", trainer=LONG)
    command, variables, log = lab.command(document)
    epochs = sorted(random.Random(7).sample(range(3, 30), 2))
    for epoch in epochs:
        process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_epoch(lab, "rough", epoch, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert not log.exists()
    code, rough, output = lab.process(document)
    assert code == 0, output
    assert isinstance(rough, TrainResult)
    assert "resumed from checkpoint" in output
    assert rough.metrics == smooth.metrics
    assert rough.epochs == smooth.epochs
    assert files_of(lab, rough) == files_of(lab, smooth)
    assert rough.artifact.digest == smooth.artifact.digest


def test_sigterm_saves_the_last_epoch_and_exits_143(lab: Lab) -> None:
    data = dataset(lab, 2000)
    document = train(lab, data, trainer={**LONG, "epochs": 10_000, "patience": None}, checkpoint={"everyEpochs": 3})
    command, variables, log = lab.command(document)
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for_epoch(lab, "run", 6, process)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - asked < 10
    assert not log.exists()
    last = [json.loads(line) for line in errors.splitlines() if b'"epoch"' in line]
    assert last[-1]["message"] == "checkpoint kept for the next pod"
    latest = lab.get_json(f"{lab.root}/runs/run/uid/checkpoints/latest.json")
    assert latest["epoch"] == last[-1]["epoch"] >= 6
    kept = [n for n in lab.list("runs/run/uid/checkpoints/") if n.endswith(".npz")]
    assert len(kept) == 2, "old checkpoints are removed"


def test_a_damaged_checkpoint_is_not_used(lab: Lab) -> None:
    data = dataset(lab, 500)
    document = train(lab, data)
    clean = lab.run(train(lab, data, run="clean"))
    context = lab.context()
    parsed = TASK.validate_python({"owner": OWNER, **document})
    CheckpointFolder(context.store, f"{lab.root}/runs/run/uid", parsed.task_id).save(4, b"anything")
    lab.put("runs/run/uid/checkpoints/epoch-000004.npz", b"anything else")
    assert lab.run(document).artifact.digest == clean.artifact.digest


@pytest.mark.parametrize(
    "pointer", [b"", b"null", b"[]", b"7", b"{}", b'{"file": 1, "sha256": 2, "task": 3}', b"\xff\xfe"]
)
def test_a_foreign_pointer_to_checkpoints_is_not_followed(lab: Lab, pointer: bytes) -> None:
    lab.put("runs/run/uid/checkpoints/latest.json", pointer)
    assert CheckpointFolder(lab.context().store, f"{lab.root}/runs/run/uid", "task").load() is None


def test_a_pod_that_resumes_reports_its_last_epoch(lab: Lab) -> None:
    """The pod before may have died between storing it and telling a search of it."""
    task = TASK.validate_python({"owner": OWNER, **train(lab, dataset(lab, 300))})
    assert isinstance(task, TrainModel)

    def until_the_third(epoch: int, _loss: float) -> None:
        if epoch == 3:
            raise Terminated

    context, told = lab.context(), list[tuple[int, float]]()
    data = read(task, context)
    with pytest.raises(Terminated):
        fit(data, task, context, until_the_third)
    fit(data, task, context, lambda epoch, loss: told.append((epoch, loss)))
    assert [epoch for epoch, _ in told] == list(range(3, 9))
    lines = [json.loads(line) for line in lab.get(f"{task.run_root}/metrics.jsonl").decode().splitlines()]
    assert [loss for _, loss in told] == [line["validationLoss"] for line in lines[2:]]


def test_a_column_of_equal_values_does_not_blow_up_what_differs_later() -> None:
    """The standard deviation of a thousand equal numbers is a rounding error: divided by it, any other value is enormous."""
    table = pa.table({"x": pa.array([0.1] * 1000), "tiny": pa.array([1e-42, 2e-42] * 500)})
    fitted = Preprocessor.fit(table, ["x", "tiny"], [], 10)
    assert fitted.scales.tolist() == [0, 0]
    numbers, _ = fitted.encode(pa.table({"x": [0.2], "tiny": [1.0]}))
    assert numbers.tolist() == [[0, 0]]


def test_patience_stops_early_and_keeps_the_best_weights(lab: Lab) -> None:
    data = dataset(lab, 500)
    result = lab.run(train(lab, data, trainer={"epochs": 300, "patience": 5, "learningRate": 0.03}))
    assert result.epochs < 300
    lines = [json.loads(line) for line in lab.get(f"{lab.root}/runs/run/uid/metrics.jsonl").decode().splitlines()]
    best = min(lines, key=lambda line: line["validationLoss"])
    assert len(lines) == best["epoch"] + 5


def test_a_gpu_that_is_not_there_is_reported(lab: Lab) -> None:
    """The run goes on, and whoever looks at its progress or its result knows that the GPU idles."""
    asking = lab.with_environment(gpu="nvidia.com/gpu")
    data, context = dataset(asking, 300), asking.context()
    seen: list[str] = []
    epoch = context.tracker.epoch

    def watched(**values: Any) -> None:
        epoch(**values)
        seen.append(context.tracker.current.message)

    context.tracker.epoch = watched  # type: ignore[method-assign]
    result = asking.run(train(asking, data, trainer={"epochs": 2}), context)
    assert result.device == "cpu"
    (warning,) = result.warnings
    assert "although a GPU was asked for (nvidia.com/gpu)" in warning
    assert "images.trainer" in warning
    assert seen == [warning, warning]
    plain = lab.run(train(lab, data, trainer={"epochs": 2}, run="plain"))
    assert (plain.device, plain.warnings) == ("cpu", ())
