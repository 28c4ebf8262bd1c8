"""PublishModel and FetchDataset: a user's own container."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tidemill.contract.results import RESULT
from tidemill_worker.artifact import sha256
from tidemill_worker.errors import (
    ContractViolated,
    ModelInvalid,
    StoreUnavailable,
    Terminated,
)
from tidemill_worker.patience import insist
from tidemill_worker.progress import Tracker
from tidemill_worker.store import Store

from .lab import ACCESS, SECRET, Lab
from .samples import Document, Studio, dataset, flights, linear, publish_raw


def publishing(lab: Lab) -> Document:
    return {
        "type": "PublishModel",
        "dataset": dataset(lab, 100),
        "trainer": {"image": "mine", "target": "arr_delay"},
        "runRoot": f"{lab.root}/runs/mine/run-uid",
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
    (lab.environment.work_dir / "input").symlink_to("/proc/self")  # left by a user's image before the pod began anew
    result = lab.run({"type": "FetchDataset", "dataset": studio.data, "runRoot": f"{lab.root}/runs/mine/uid"})
    folder = lab.environment.work_dir / "input"
    assert not folder.is_symlink()
    manifest = studio.lab.get_json(f"{studio.data['uri']}/manifest.json")
    assert result.files == len(manifest["files"]) == sum(path.is_file() for path in folder.rglob("*"))
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


def test_files_named_as_tidemills_own_are_left_out(lab: Lab) -> None:
    """A manifest would make the folder another artifact, or one that never verifies."""
    document, output = publishing(lab), lab.environment.work_dir / "output"
    output.mkdir()
    (output / "model.onnx").write_bytes(linear(["night", "distance"]))
    (output / "manifest.json").write_bytes(lab.get(f"{document['dataset']['uri']}/manifest.json"))
    for name in ("provenance.json", "evaluation", "evaluation.json", "baseline.json"):
        (output / name).write_text("mine")
    result = lab.run(document)
    (warning,) = result.warnings
    assert (
        "of $TIDEMILL_OUTPUT baseline.json, evaluation, evaluation.json, manifest.json, provenance.json is left out"
        in warning
    )
    assert lab.get_json(f"{result.artifact.uri}/manifest.json")["kind"] == "model"
    assert lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()}).inputs == 2
    assert lab.run(document).artifact == result.artifact


class Gate(socketserver.ThreadingTCPServer):
    """A way to the store that can be closed: while it is, connections end at once."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Pass)
        self.target = ("127.0.0.1", int(endpoint.rpartition(":")[2]))
        self.open = False
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"


class _Pass(socketserver.BaseRequestHandler):
    server: Gate

    def handle(self) -> None:
        if not self.server.open:
            return
        with socket.create_connection(self.server.target) as upstream:
            back = threading.Thread(target=_copy, args=(upstream, self.request), daemon=True)
            back.start()
            _copy(self.request, upstream)
            back.join(timeout=10)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()


class OnWaiting(Tracker):
    """Does something when the task says that it waits for the store."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.act = act
        self.phases: list[str] = []

    def phase(self, phase: str, fraction: float = 0.0, message: str = "") -> None:
        super().phase(phase, fraction, message)
        self.phases.append(phase)
        if phase == "WaitingForStore":
            self.act()


def test_a_store_that_comes_back_gets_the_model(lab: Lab) -> None:
    document = publishing(lab)
    output = lab.environment.work_dir / "output"
    output.mkdir()
    (output / "model.onnx").write_bytes(linear(["night", "distance"]))
    with Gate(lab.seaweed.endpoint) as gate:
        threading.Thread(target=gate.serve_forever, daemon=True).start()
        tracker = OnWaiting(lambda: setattr(gate, "open", True))
        store = Store.connect(tracker, endpoint=gate.endpoint, credentials=(ACCESS, SECRET))
        result = lab.run(document, replace(lab.context(), store=store, tracker=tracker))
        gate.shutdown()
    assert tracker.phases.count("WaitingForStore") == 1
    assert result.artifact.uri == document["modelRoot"]
    assert any(name.endswith("/model.onnx") for name in lab.list("models/"))


def test_patience_ends_and_a_wish_to_stop_ends_it_at_once(lab: Lab) -> None:
    tries: list[float] = []

    def fail() -> None:
        tries.append(time.monotonic())
        raise StoreUnavailable("the store does not answer")

    context = lab.context()
    with pytest.raises(StoreUnavailable):
        insist(context, fail, patience=0.2, first=0.01)
    assert 3 <= len(tries) <= 10, "each wait is twice the one before"
    context = replace(lab.context(), tracker=OnWaiting(context.stop.event.set), stop=context.stop)
    tries.clear()
    with pytest.raises(Terminated):
        insist(context, fail, first=3600)
    assert len(tries) == 1


def scores(values: list[list[float]]) -> bytes:
    """A classifier that gives these numbers for each class, whatever it is asked: the first row of them, plus 0 · distance."""
    zero, answer = helper.make_tensor("zero", TensorProto.FLOAT, [1, 2], [0.0, 0.0]), np.array(values, np.float32)
    nodes = [
        helper.make_node("MatMul", ["distance", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "answer"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "scores",
        [helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
        [zero, numpy_helper.from_array(answer, "answer")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


CLASSIFIER = {"image": "mine", "target": "late", "task": "Classification"}


@pytest.mark.parametrize(("values", "said"), [([[-2.5, 3.0]], "-2.5, 3"), ([[0.9, 0.8]], "0.9, 0.8")])
def test_logits_are_not_taken_for_probabilities(lab: Lab, values: list[list[float]], said: str) -> None:
    """Their log loss and calibration would look like figures, and mean nothing."""
    with pytest.raises(ModelInvalid, match="are no probabilities in ") as caught:
        publish_raw(lab, scores(values), task={"trainer": CLASSIFIER})
    assert said in str(caught.value)
    assert "end its graph with Softmax" in str(caught.value)
    assert not lab.list("models/")


def test_probabilities_in_single_precision_are(lab: Lab) -> None:
    result = publish_raw(lab, scores([[1 / 3, 2 / 3]]), task={"trainer": CLASSIFIER})
    assert result.metrics["test"]["logLoss"] > 0


def test_a_figure_of_ones_own_that_is_no_number_is_left_out(lab: Lab) -> None:
    output = lab.environment.work_dir / "output"
    output.mkdir()
    (output / "metrics.json").write_text('{"test": {"mine": NaN, "yours": 1.5}, "holdout": {"theirs": Infinity}}')
    result = publish_raw(lab, linear(["night", "distance"]))
    assert result.metrics["test"]["yours"] == 1.5
    assert "mine" not in result.metrics["test"]
    (warning,) = result.warnings
    assert warning == "metrics.json: mine of test, theirs of holdout is not finite, and left out (2 in all)"
    assert RESULT.validate_json(result.to_json()) == result, "the operator reads it"
