"""Text classification by transformers: what is learnt, what is left in the store, and that nothing of it is left to chance."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from tidemill.contract.model import Signature
from tidemill.contract.results import TrainResult
from tidemill_worker.errors import InvalidSpec

from .lab import Lab, Seaweed, make_lab
from .language import classify, fetch_weights, put_folder, text_data, wait_for_epoch
from .samples import Document

Made = tuple[Lab, Document, TrainResult]


@pytest.fixture(scope="module")
def made(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A corner of the store with one training that several tests look at."""
    lab = make_lab(seaweed, tmp_path_factory.mktemp("text"))
    data = text_data(lab)
    return lab, data, lab.run(classify(lab, data))


def lines_of(lab: Lab, run: str = "run") -> list[dict[str, Any]]:
    return [json.loads(line) for line in lab.get(f"{lab.root}/runs/{run}/uid/metrics.jsonl").splitlines()]


def test_topics_are_learnt(made: Made) -> None:
    lab, data, result = made
    assert result.metrics["test"]["accuracy"] > 0.85
    assert {"logLoss", "f1Macro", "rocAucOvrMacro"} <= set(result.metrics["validation"])
    assert (result.epochs, result.device) == (10, "cpu")
    lines = lines_of(lab)
    steps = lines[0]["step"]
    assert steps == -(-lab.get_table(f"{data['uri']}/train.parquet").num_rows // 8)
    assert [line["step"] for line in lines] == [steps * epoch for epoch in range(1, 11)]
    assert lines[-1]["validationLoss"] < lines[0]["validationLoss"]
    verified = lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()})
    assert (verified.inputs, verified.outputs) == (2, 2)


def test_the_graph_answers_as_the_weights_beside_it(made: Made, tmp_path: Path) -> None:
    """A client has tokenizer.json and the graph; whoever goes on training has the folder `huggingface`. Both agree."""
    lab, data, result = made
    uri = result.artifact.uri
    names = {name.removeprefix("models/words/run-uid/") for name in lab.list("models/words/run-uid/")}
    assert {"model.onnx", "tokenizer.json", "signature.json", "huggingface/model.safetensors"} <= names
    model = AutoModelForSequenceClassification.from_pretrained(fetch_weights(lab, uri, tmp_path / "weights")).eval()
    tokenizer = Tokenizer.from_str(lab.get(f"{uri}/tokenizer.json").decode())
    signature = Signature.model_validate(lab.get_json(f"{uri}/signature.json"))
    assert signature.tokens is not None
    tokenizer.enable_truncation(signature.tokens.max_tokens)
    tokenizer.enable_padding(pad_id=signature.tokens.pad)
    texts = [*lab.get_table(f"{data['uri']}/test.parquet")["text"].to_pylist()[:20], "rain", "Ω unseen 漢字"]
    rows = tokenizer.encode_batch(texts)
    feed = {
        "input_ids": np.array([row.ids for row in rows], np.int64),
        "attention_mask": np.array([row.attention_mask for row in rows], np.int64),
    }
    session = onnxruntime.InferenceSession(lab.get(f"{uri}/model.onnx"), providers=["CPUExecutionProvider"])
    label, probabilities = session.run(["label", "probabilities"], feed)
    with torch.no_grad():
        wanted = model(**{name: torch.from_numpy(value) for name, value in feed.items()}).logits.softmax(dim=1).numpy()
    assert np.abs(probabilities - wanted).max() < 1e-5
    assert [model.config.id2label[int(i)] for i in wanted.argmax(axis=1)] == label[:, 0].tolist()
    assert signature.classes == tuple(model.config.id2label.values())
    alone = session.run(["probabilities"], {k: v[:1, : len(tokenizer.encode(texts[0]).ids)] for k, v in feed.items()})[
        0
    ]
    assert np.abs(alone - probabilities[:1]).max() < 1e-5, "padding changes nothing"


def test_nothing_tells_where_it_was_made(made: Made) -> None:
    lab, _, result = made
    for name in lab.list("models/words/run-uid/"):
        body = lab.get(f"{lab.root}/{name}")
        if not name.endswith("provenance.json"):
            assert str(lab.work).encode() not in body, name
            assert b"site-packages" not in body, name
    config = lab.get_json(f"{result.artifact.uri}/huggingface/config.json")
    assert not config.get("_name_or_path")


def test_the_same_bytes_however_it_was_interrupted(made: Made) -> None:
    """A second training in a process of its own is killed after an epoch, goes on, is told to end, and goes on again."""
    lab, data, result = made
    document = classify(lab, data, run="again")
    command, variables, _ = lab.command(document)
    for epoch, how in ((1, signal.SIGKILL), (2, signal.SIGTERM)):
        process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for_epoch(lab, "again", epoch, process)
        process.send_signal(how)
        process.communicate(timeout=60)
        assert process.returncode in (-signal.SIGKILL, 143, 0)
    code, again, output = lab.process(document)
    assert code == 0, output
    assert isinstance(again, TrainResult)
    assert again.artifact.digest == result.artifact.digest
    assert again.metrics == result.metrics


def test_a_version_and_a_folder_of_the_store_are_gone_on_with(made: Made, tmp_path: Path) -> None:
    """What has learnt topics needs one small step to know them; a new head is made for other classes."""
    lab, data, result = made
    little = {"epochs": 1, "learningRate": 1e-6}
    base = {"name": "topics-v1", **result.artifact.model_dump()}
    version = lab.run(
        classify(lab, data, run="version", base=base, trainer={"base": {"modelVersion": "topics-v1"}, **little})
    )
    assert version.metrics["test"]["accuracy"] == result.metrics["test"]["accuracy"]
    weights = fetch_weights(lab, result.artifact.uri, tmp_path / "weights")
    (weights / "pytorch_model.bin").write_bytes(b"never read")
    stored = put_folder(lab, weights)
    store = lab.run(classify(lab, data, run="store", trainer={"base": {"store": stored}, **little}))
    assert store.artifact.digest == version.artifact.digest
    other = text_data(lab, kind=["even" if i % 2 else "odd" for i in range(160)])
    headed = lab.run(classify(lab, other, run="head", trainer={"base": {"store": stored}, "target": "kind", **little}))
    signature = lab.get_json(f"{headed.artifact.uri}/signature.json")
    assert signature["classes"] == ["even", "odd"]


def test_epochs_of_some_steps(made: Made) -> None:
    """Passes over the rows do not matter to an epoch that is counted in steps: the stream of rows goes on."""
    lab, data, _ = made
    trainer = {"epochs": 4, "stepsPerEpoch": 4, "patience": 3}
    result = lab.run(classify(lab, data, run="steps", trainer=trainer))
    assert [line["step"] for line in lines_of(lab, "steps")] == [4, 8, 12, 16]
    assert result.epochs == 4


def test_slices_gates_and_a_page(made: Made) -> None:
    lab, data, _ = made
    result = lab.run(
        classify(
            lab,
            data,
            run="page",
            trainer={"epochs": 2},
            evaluation={"slices": ["topic"], "pictures": False},
            gates=[{"metric": "accuracy", "min": 0.3, "slice": {"column": "topic", "value": "sport"}}],
        )
    )
    evaluation = lab.get_json(f"{result.artifact.uri}/evaluation.json")
    assert {s["value"] for s in evaluation["details"]["test"]["slices"]} == {"weather", "money", "sport"}
    assert b"accuracy" in lab.get(f"{result.artifact.uri}/evaluation.html")
    baseline = lab.get_json(f"{result.artifact.uri}/baseline.json")
    assert [p["name"] for p in baseline["predictions"]] == ["prediction.label"]
    assert not baseline["features"]


def test_rows_are_scored_in_batch_where_tokens_can_be_made(made: Made) -> None:
    lab, data, result = made
    task = {
        "type": "ScoreBatch",
        "artifact": result.artifact.model_dump(),
        "dataset": data,
        "splits": ["test"],
        "root": f"{lab.root}/batch",
    }
    scores = lab.get_table(f"{lab.run(task).artifact.uri}/test.parquet")
    hit = np.mean(
        [a == b for a, b in zip(scores["topic"].to_pylist(), scores["prediction.label"].to_pylist(), strict=True)]
    )
    assert hit == pytest.approx(result.metrics["test"]["accuracy"])


def test_an_image_without_the_library_says_who_makes_the_tokens(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch Deployment's Job runs in the worker's image, which verifies such a model but cannot feed it."""
    lab, data, result = made
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    artifact = result.artifact.model_dump()
    assert lab.run({"type": "VerifyModel", "artifact": artifact}).outputs == 2
    with pytest.raises(
        InvalidSpec, match=r"this image cannot make them of texts: its clients do, with tokenizer\.json"
    ):
        lab.run({"type": "ScoreBatch", "artifact": artifact, "dataset": data, "root": f"{lab.root}/elsewhere"})
