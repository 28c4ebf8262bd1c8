"""PublishModel and FetchDataset: a user's own container."""

from __future__ import annotations

import json

import pytest

from tidemill_worker.artifact import sha256
from tidemill_worker.errors import (
    ContractViolated,
    ModelInvalid,
)

from .lab import Lab
from .samples import Studio, dataset, flights, linear, publish_raw


def test_a_users_model_is_evaluated_and_published(lab: Lab) -> None:
    output = lab.environment.work_dir / "output"
    output.mkdir()
    (output / "metrics.json").write_text(json.dumps({"test": {"mine": 0.5, "mae": 0.0}, "validation": {}}))
    result = publish_raw(lab, linear(["night", "distance"]))
    assert result.metrics["test"]["mine"] == 0.5
    assert result.metrics["test"]["mae"] > 1, "our own figures win"
    names = sorted(n.rsplit("/", 1)[1] for n in lab.list("models/"))
    assert "model.onnx" in names
    assert "baseline.json" in names
    assert "metrics.json" not in names
    verified = lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()})
    assert verified.inputs == 2


def test_a_users_matrix_model(lab: Lab) -> None:
    columns = {k: v for k, v in flights(300).items() if k in ("distance", "arr_delay")} | {"x1": list(range(300))}
    result = publish_raw(lab, linear(["distance", "x1"], matrix=True), columns)
    assert result.metrics["test"]["mae"] > 0
    assert lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()}).inputs == 1


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"not onnx", ModelInvalid, "not a valid ONNX model"),
        (linear(["nosuch", "distance"]), ContractViolated, "input nosuch of model.onnx is no column"),
        (linear(["distance"], batch=1), ContractViolated, "the first dimension is the batch"),
        (linear(["dep_delay", "distance"]), ModelInvalid, "is not finite for"),
    ],
)
def test_a_users_model_that_does_not_fit(lab: Lab, body: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        publish_raw(lab, body)
    assert words in str(caught.value)
    assert not lab.list("models/")


def test_a_container_that_left_no_model(lab: Lab) -> None:
    document = {
        "type": "PublishModel",
        "dataset": dataset(lab, 100),
        "trainer": {"image": "mine", "target": "arr_delay"},
        "modelRoot": f"{lab.root}/models/mine/run-uid",
    }
    with pytest.raises(ContractViolated, match=r"left no model\.onnx in \$TIDEMILL_OUTPUT") as caught:
        lab.run(document)
    assert caught.value.exit_code == 70


def test_fetch_lays_out_the_dataset(studio: Studio, lab: Lab) -> None:
    result = lab.run({"type": "FetchDataset", "dataset": studio.data})
    folder = lab.environment.work_dir / "input"
    manifest = studio.lab.get_json(f"{studio.data['uri']}/manifest.json")
    assert result.files == len(manifest["files"]) == len(list(folder.iterdir()))
    for entry in manifest["files"]:
        assert sha256(folder / entry["path"]) == entry["sha256"]
