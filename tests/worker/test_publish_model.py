"""PublishModel and FetchDataset: a user's own container."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill_worker.artifact import sha256
from tidemill_worker.errors import (
    ContractViolated,
    ModelInvalid,
)

from .lab import Lab
from .samples import Document, Studio, dataset, flights, linear, publish_raw


def publishing(lab: Lab) -> Document:
    return {
        "type": "PublishModel",
        "dataset": dataset(lab, 100),
        "trainer": {"image": "mine", "target": "arr_delay"},
        "modelRoot": f"{lab.root}/models/mine/run-uid",
    }


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
    with pytest.raises(ContractViolated, match=r"left no model\.onnx in \$TIDEMILL_OUTPUT") as caught:
        lab.run(publishing(lab))
    assert caught.value.exit_code == 70


def test_fetch_lays_out_the_dataset(studio: Studio, lab: Lab) -> None:
    result = lab.run({"type": "FetchDataset", "dataset": studio.data})
    folder = lab.environment.work_dir / "input"
    manifest = studio.lab.get_json(f"{studio.data['uri']}/manifest.json")
    assert result.files == len(manifest["files"]) == len(list(folder.iterdir()))
    for entry in manifest["files"]:
        assert sha256(folder / entry["path"]) == entry["sha256"]


def _link(path: Path) -> None:
    path.symlink_to("/proc/self/environ")


LEFT: list[tuple[str, Callable[[Path], None], str]] = [
    ("x", _link, "is a symbolic link (to /proc/self/environ)"),
    ("model.onnx", _link, "is a symbolic link"),
    ("metrics.json", _link, "is a symbolic link"),
    ("weights.bin", lambda path: os.mkfifo(path), "is neither a file nor a folder"),
]


@pytest.mark.parametrize(("name", "leave", "words"), LEFT)
def test_nothing_that_a_container_left_leads_out_of_its_folder(
    lab: Lab, name: str, leave: Callable[[Path], None], words: str
) -> None:
    output = lab.environment.work_dir / "output"
    output.mkdir()
    (output / "model.onnx").write_bytes(linear(["night", "distance"]))
    (output / name).unlink(missing_ok=True)
    leave(output / name)
    with pytest.raises(ContractViolated) as caught:
        lab.run(publishing(lab))
    assert f"$TIDEMILL_OUTPUT/{name} {words}" in str(caught.value)
    assert not lab.list("models/")


def test_an_output_folder_that_is_a_link_is_refused(lab: Lab) -> None:
    elsewhere = lab.work / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.onnx").write_bytes(linear(["night", "distance"]))
    (lab.environment.work_dir / "output").symlink_to(elsewhere)
    with pytest.raises(ContractViolated, match=r"\$TIDEMILL_OUTPUT is a symbolic link"):
        lab.run(publishing(lab))


def test_a_users_folders_and_planted_scratch_stay_out_of_the_artifact(lab: Lab) -> None:
    work = lab.environment.work_dir
    (work / "output/logs").mkdir(parents=True)
    (work / "output/logs/x").symlink_to("/proc/self/environ")
    planted = lab.work / "planted"
    (planted / "model").mkdir(parents=True)
    (planted / "model/x").symlink_to("/proc/self/environ")
    (work / "scratch").symlink_to(planted)
    publish_raw(lab, linear(["night", "distance"]))
    names = {n.rsplit("/", 1)[1] for n in lab.list("models/")}
    assert "model.onnx" in names
    assert not names & {"x", "logs"}
