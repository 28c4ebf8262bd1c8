"""Causal language models: supervised fine-tuning on texts and on completions, with and without adapters."""

from __future__ import annotations

import math
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from tidemill.contract.model import Signature
from tidemill.contract.results import TrainResult
from tidemill_worker.errors import (
    ColumnMissing,
    ColumnType,
    DatasetEmpty,
    GateNotPassed,
    InvalidSpec,
    TrainingDiverged,
)
from tidemill_worker.language.rows import SequenceMaker

from .lab import Lab, Seaweed, make_lab
from .language import complete, fetch_weights, pair_data, put_folder, wait_for_epoch
from .samples import Document

Made = tuple[Lab, Document, TrainResult]
AT = "spec.trainer.languageModel"


@pytest.fixture(scope="module")
def made(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A corner of the store with one training from random weights."""
    lab = make_lab(seaweed, tmp_path_factory.mktemp("language"))
    data = pair_data(lab)
    return lab, data, lab.run(complete(lab, data))


def weights_of(lab: Lab, result: TrainResult, folder: Path) -> Path:
    return fetch_weights(lab, result.artifact.uri, folder)


def test_completions_are_learnt_and_judged_by_the_served_graph(made: Made, tmp_path: Path) -> None:
    """loss and perplexity are those of transformers on the same tokens: of the completion and its end, not of the prompt."""
    lab, data, result = made
    uri, found = result.artifact.uri, result.metrics["test"]
    assert set(result.metrics) == {"validation", "test"}
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["perplexity"] < 20, "of 400 tokens"
    folder = weights_of(lab, result, tmp_path / "weights")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    table = lab.get_table(f"{data['uri']}/test.parquet")
    rows = SequenceMaker(folder, max_tokens=32, end=2).completions(table, "prompt", "chosen")
    losses, tokens = 0.0, 0
    for row in rows:
        assert row is not None
        assert row.ids[-1] == 2
        labels = np.where(row.learnt, row.ids, -100)
        with torch.no_grad():
            loss = model(input_ids=torch.from_numpy(row.ids[None]), labels=torch.from_numpy(labels[None])).loss
        losses, tokens = losses + float(loss) * row.answers, tokens + row.answers
    assert found["loss"] == pytest.approx(losses / tokens, rel=1e-5)
    verified = lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()})
    assert (verified.inputs, verified.outputs) == (2, 1)
    signature = Signature.model_validate(lab.get_json(f"{uri}/signature.json"))
    assert signature.task == "Other"


def test_the_graph_goes_on_with_a_prompt(made: Made) -> None:
    """As a client does it: the most likely token, again and again. The answer has words of the prompt's topic."""
    lab, _, result = made
    uri = result.artifact.uri
    tokenizer = Tokenizer.from_str(lab.get(f"{uri}/tokenizer.json").decode())
    session = onnxruntime.InferenceSession(lab.get(f"{uri}/model.onnx"), providers=["CPUExecutionProvider"])
    ids = tokenizer.encode("money: ").ids
    begin = len(ids)
    while len(ids) < 32 and ids[-1] != 2:
        feed = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, len(ids)), np.int64)}
        (logits,) = session.run(["logits"], feed)
        ids.append(int(logits[0, -1].argmax()))
    said = tokenizer.decode(ids[begin:])
    assert said.strip(), "it says something"
    assert set(said) <= set("abcdefghijklmnopqrstuvwxyz </s>"), said


def test_plain_texts(made: Made) -> None:
    lab, data, _ = made
    trainer = {"prompt": None, "completion": None, "text": "chosen", "epochs": 2}
    result = lab.run(complete(lab, data, run="text", trainer=trainer))
    assert result.metrics["test"]["perplexity"] < 400


def test_adapters_are_merged_and_kept(made: Made, tmp_path: Path) -> None:
    """What is served is the base with the adapters that lie beside it added; the base's other weights are untouched."""
    lab, data, result = made
    folder = weights_of(lab, result, tmp_path / "base")
    trainer = {
        "base": {"store": put_folder(lab, folder, "sft")},
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
        "epochs": 3,
        "learningRate": 0.003,
    }
    tuned = lab.run(complete(lab, data, run="lora", trainer=trainer))
    assert tuned.metrics["validation"]["loss"] < result.metrics["validation"]["loss"]
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).write_bytes(lab.get(f"{tuned.artifact.uri}/adapter/{name}"))
    base = AutoModelForCausalLM.from_pretrained(folder)
    whole = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    merged = load_file(weights_of(lab, tuned, tmp_path / "merged") / "model.safetensors")
    own = whole.state_dict()
    assert {name for name, tensor in merged.items() if not torch.allclose(tensor, own[name], atol=1e-6)} == set()
    before = load_file(folder / "model.safetensors")
    changed = {name for name, tensor in merged.items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all("proj" in name for name in changed), "linear layers only"


def test_the_same_bytes_however_it_was_interrupted(made: Made, tmp_path: Path) -> None:
    lab, data, result = made
    stored = put_folder(lab, weights_of(lab, result, tmp_path / "base"), "again")
    trainer = {
        "base": {"store": stored},
        "lora": {"rank": 2, "alpha": 4, "dropout": 0.2},
        "stepsPerEpoch": 2,
        "epochs": 6,
        "patience": 5,
    }
    smooth = lab.run(complete(lab, data, run="smooth", trainer=trainer))
    document = complete(lab, data, run="rough", trainer=trainer)
    command, variables, _ = lab.command(document)
    for epoch, how in ((2, signal.SIGKILL), (4, signal.SIGTERM)):
        process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for_epoch(lab, "rough", epoch, process)
        process.send_signal(how)
        process.communicate(timeout=60)
    code, rough, output = lab.process(document)
    assert code == 0, output
    assert isinstance(rough, TrainResult)
    assert (rough.artifact.digest, rough.metrics) == (smooth.artifact.digest, smooth.metrics)


@pytest.mark.parametrize(
    ("trainer", "error", "words"),
    [
        ({"prompt": "nosuch"}, ColumnMissing, f"{AT}.prompt: there is no column 'nosuch'"),
        ({"completion": "place"}, ColumnType, f"{AT}.completion: column 'place' is int64, not text"),
        ({"completion": "nothing"}, DatasetEmpty, f"{AT}: no training row has something to learn within 32 tokens"),
        ({"maxTokens": 2}, DatasetEmpty, "no training row has something to learn within 2 tokens of prompt, chosen"),
    ],
)
def test_columns_that_do_not_fit(lab: Lab, trainer: dict[str, Any], error: type, words: str) -> None:
    data = pair_data(lab, 30, place=list(range(30)), nothing=[""] * 30)
    with pytest.raises(error) as caught:
        lab.run(complete(lab, data, trainer=trainer))
    assert words in caught.value.message
    assert not lab.list("models/")
    assert not lab.list("runs/run/uid/checkpoints/")


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"text": "chosen"}, "set text alone, or prompt and completion"),
        ({"completion": None}, "set text alone, or prompt and completion"),
        ({"lora": {}}, "lora has no effect on random weights"),
    ],
)
def test_values_that_the_contract_refuses(lab: Lab, trainer: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        lab.run(complete(lab, {"uri": "s3://a/b", "digest": "sha256:" + "0" * 64}, trainer=trainer))


def test_rows_that_do_not_fit_are_left_out_and_counted(lab: Lab) -> None:
    data = pair_data(lab, 40, chosen=["" if i % 4 == 0 else "rain" for i in range(40)])
    result = lab.run(complete(lab, data, trainer={"epochs": 1}))
    assert any("rows of the train split are left out: empty" in warning for warning in result.warnings)


def test_an_encoder_is_no_language_model(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    for name, body in {"config.json": '{"model_type": "vit"}', "tokenizer.json": "{}", "model.safetensors": ""}.items():
        (folder / name).write_text(body)
    with pytest.raises(InvalidSpec, match=r"model_type 'vit', which is no causal language model"):
        lab.run(complete(lab, pair_data(lab, 30), trainer={"base": {"store": put_folder(lab, folder)}}))


def test_gates(lab: Lab) -> None:
    data = pair_data(lab, 30)
    with pytest.raises(GateNotPassed, match=r"test perplexity is .*, above the maximum 1"):
        lab.run(complete(lab, data, trainer={"epochs": 1}, gates=[{"metric": "perplexity", "max": 1}]))
    with pytest.raises(
        InvalidSpec, match=r"spec\.gates\[0\]: there is no accuracy for this task; there are loss, perpl"
    ):
        lab.run(complete(lab, data, run="other", gates=[{"metric": "accuracy", "max": 1}]))
    assert not lab.list("models/")


def test_a_loss_that_is_no_number(lab: Lab) -> None:
    trainer = {"learningRate": 1, "weightDecay": 10, "warmup": 0, "epochs": 200}
    document = complete(lab, pair_data(lab, 30), trainer=trainer)
    with pytest.raises(TrainingDiverged, match=r"the loss became nan in epoch \d+ .*lower learningRate"):
        lab.run(document)


def test_it_answers_no_row_of_a_dataset(made: Made) -> None:
    lab, data, result = made
    task = {"type": "ScoreBatch", "artifact": result.artifact.model_dump(), "dataset": data, "root": f"{lab.root}/b"}
    with pytest.raises(InvalidSpec, match="a language model goes on with tokens"):
        lab.run(task)
