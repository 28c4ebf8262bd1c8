"""TrainModel and what can be wrong: divergence, gates, columns, a damaged dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidemill.contract.tasks import ArtifactRef
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

from .lab import Lab
from .samples import boost, dataset, dataset_of, flights, train


def test_nan_loss_names_epoch_and_learning_rate(lab: Lab) -> None:
    data = dataset(lab, 500)
    with pytest.raises(TrainingDiverged) as caught:
        lab.run(train(lab, data, trainer={"learningRate": 10, "hiddenLayers": [64] * 12, "epochs": 200}))
    error = caught.value
    assert error.exit_code == 68
    assert error.reason == "TrainingDiverged"
    assert "in epoch" in error.message
    assert "learning rate 10" in error.message
    assert not lab.list("models/")


def test_gates(lab: Lab) -> None:
    data = dataset(lab, 1000)
    gates = [{"metric": "mae", "max": 0.001}, {"metric": "r2", "split": "validation", "min": 0.1}]
    with pytest.raises(GateNotPassed) as caught:
        lab.run(train(lab, data, gates=gates))
    assert caught.value.reason == "GateNotPassed"
    assert 64 <= caught.value.exit_code <= 78
    assert "test mae is" in caught.value.message
    assert "above the maximum 0.001" in caught.value.message
    assert "r2" not in caught.value.message
    assert caught.value.field == "spec.gates[0]"
    assert not lab.list("models/")


NEVER: list[tuple[str, dict[str, Any], str]] = [
    ("Regression", {"metric": "accuracy", "min": 0.5}, "there is no accuracy for this task; there are mae, rmse, r2"),
    ("Classification", {"metric": "mae", "max": 9}, "there is no mae for this task; there are accuracy"),
    ("Regression", {"metric": "mae", "max": 9}, "the test split has no labelled row to judge by"),
    ("Regression", {"metric": "r2", "min": 0, "split": "validation"}, "the target is the same in every row"),
    ("Classification", {"metric": "rocAuc", "min": 0, "split": "validation"}, "rocAuc needs a target of two classes"),
]


@pytest.mark.parametrize(("kind", "gate", "words"), NEVER, ids=lambda v: v["metric"] if isinstance(v, dict) else None)
def test_a_gate_that_cannot_hold_is_found_before_the_training(
    lab: Lab, kind: str, gate: dict[str, Any], words: str
) -> None:
    columns = flights(300)
    columns["arr_delay"] = [1.0 if kind == "Regression" and gate["metric"] == "r2" else v for v in columns["arr_delay"]]
    columns["late"] = ["a", "b", "c"] * 100
    data = dataset_of(lab, columns, split={"random": {"test": 0}})
    with pytest.raises(InvalidSpec) as caught:
        lab.run(train(lab, data, kind, gates=[gate]))
    assert words in caught.value.message
    assert str(caught.value.field).startswith("spec.gates[0]")
    trained = [n for n in lab.list("runs/") if "checkpoints" in n or n.endswith("metrics.jsonl")]
    assert not trained, "no epoch was trained"


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
        lab.run(train(lab, data, kind, trainer=trainer))
    assert words in caught.value.message
    assert 64 <= caught.value.exit_code <= 78


def test_one_changed_byte_of_the_dataset_is_refused(lab: Lab) -> None:
    data = dataset(lab, 500)
    name = data["uri"].removeprefix(lab.root + "/") + "/train.parquet"
    body = bytearray(lab.get(f"{lab.root}/{name}"))
    body[len(body) // 2] ^= 1
    lab.put(name, bytes(body))
    code, result, _ = lab.process(train(lab, data))
    assert code == 69
    assert result is not None
    assert result.type == "Failure"
    assert result.reason == "ArtifactCorrupt"
    assert f"{data['uri']}/train.parquet differs from its manifest" in result.message


def test_an_artifact_never_changes(lab: Lab) -> None:
    data = dataset(lab, 500)
    first = lab.run(train(lab, data))
    before = lab.get(f"{first.artifact.uri}/model.onnx")
    other = train(lab, data, trainer={"seed": 9}, run="other")
    other["modelRoot"] = first.artifact.uri
    assert lab.run(other).artifact == first.artifact, "the folder's artifact is the result: it is never trained over"
    assert lab.get(f"{first.artifact.uri}/model.onnx") == before
    with pytest.raises(ArtifactCorrupt, match="does not have the digest"):
        Artifact(lab.context(), ArtifactRef(uri=first.artifact.uri, digest="sha256:" + "0" * 64), name="model")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1e39, 2.0], "holds 1e+39, and a model's answer is at most 3.4e+38"),
        ([-1e300, 1e300], "holds 1e+300"),
        ([1e12, 1e12 + 1], "differ by 1 around 1e+12, less than single precision"),
        ([1e-40, 2e-40], "differ by 1e-40"),
    ],
)
@pytest.mark.parametrize("family", ["tabular", "boosted"])
def test_a_target_that_single_precision_cannot_hold(lab: Lab, values: list[float], words: str, family: str) -> None:
    columns = {**flights(100), "arr_delay": values * 50}
    document = (train if family == "tabular" else boost)(lab, dataset_of(lab, columns))
    with pytest.raises(InvalidData) as caught:
        lab.run(document)
    assert words in caught.value.message
    assert caught.value.field == f"spec.trainer.{family}Regression.target"


@pytest.mark.parametrize("family", ["tabular", "boosted"])
def test_a_target_that_is_always_the_same_is_predicted(lab: Lab, family: str) -> None:
    """Of equal values the standard deviation is a rounding error. What differs in another split is an error like any other."""
    columns = {**flights(1000), "arr_delay": [0.1] * 1000}
    document = (train if family == "tabular" else boost)(lab, dataset_of(lab, columns))
    found = lab.run(document).metrics["test"]
    assert found["mae"] < 0.05
    assert "r2" not in found
