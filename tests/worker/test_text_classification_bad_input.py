"""Text classification and what can be wrong: columns, bases, lengths, losses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import BertConfig, BertForSequenceClassification

from tidemill_worker.errors import (
    ColumnMissing,
    ColumnType,
    GateNotPassed,
    InvalidData,
    InvalidSpec,
    ObjectNotFound,
    TrainingDiverged,
)
from tidemill_worker.language import scratch

from .lab import Lab
from .language import SCRATCH, classify, put_folder, text_data

AT = "spec.trainer.textClassification"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny encoder in Hugging Face's layout."""
    place = tmp_path / "encoder"
    spec = scratch.Scratch.model_validate(SCRATCH)
    place.mkdir()
    size = scratch.learn_tokenizer(["some words of no meaning"], spec, place, framed=True)
    BertForSequenceClassification(scratch.encoder(spec, vocabulary=size, tokens=16)).save_pretrained(place)
    assert BertConfig.from_pretrained(place).vocab_size == size
    return place


@pytest.mark.parametrize(
    ("trainer", "error", "words"),
    [
        ({"text": "nosuch"}, ColumnMissing, f"{AT}.text: there is no column 'nosuch'"),
        ({"target": "nosuch"}, ColumnMissing, f"{AT}.target: there is no column 'nosuch'"),
        ({"text": "id"}, ColumnType, f"{AT}.text: column 'id' is int64, not text: cast it"),
        ({"target": "one"}, InvalidData, "has 1 class"),
        ({"base": {"store": {"uri": "s3://tidemill/nowhere/", "digest": "sha256:" + "0" * 64}}}, ObjectNotFound,
            f"{AT}.base.store.uri: s3://tidemill/nowhere/ has no config.json (nothing is there)"),
    ],
)  # fmt: skip
def test_columns_and_places_that_do_not_exist(lab: Lab, trainer: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error) as caught:
        lab.run(classify(lab, text_data(lab, 40, one=["same"] * 40), trainer=trainer))
    assert words in caught.value.message
    assert 64 <= caught.value.exit_code <= 78
    assert not lab.list("runs/run/uid/checkpoints/")
    assert not lab.list("models/")


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"base": {}}, "set exactly one of"),
        ({"base": {"modelVersion": "a-v1", "scratch": {}}}, "set exactly one of"),
        ({"base": {"scratch": {"width": 18, "heads": 4}}}, "even multiple of heads"),
        ({"base": {"scratch": {"vocabulary": 10}}}, "greater than or equal to 300"),
        ({"maxTokens": 1}, "greater than or equal to 2"),
        ({"warmup": 1}, "less than 1"),
    ],
)
def test_values_that_the_contract_refuses(lab: Lab, trainer: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        lab.run(classify(lab, {"uri": "s3://a/b", "digest": "sha256:" + "0" * 64}, trainer=trainer))


def test_a_folder_that_was_changed_is_not_used(lab: Lab, folder: Path) -> None:
    stored = put_folder(lab, folder)
    lab.put("base/config.json", (folder / "config.json").read_bytes().replace(b"gelu", b"relu"))
    with pytest.raises(
        InvalidData, match=r"base\.store\.digest: .* holds sha256:[0-9a-f]{64} \(config\.json, "
    ) as caught:
        lab.run(classify(lab, text_data(lab, 40), trainer={"base": {"store": stored}, "maxTokens": 16}))
    assert caught.value.field == f"{AT}.base.store.digest"


def test_weights_in_a_pickle_are_not_read(lab: Lab, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        ObjectNotFound, match=r"has no model\.safetensors \(config\.json, pytorch_model\.bin, .*are not read"
    ):
        lab.run(classify(lab, text_data(lab, 40), trainer={"base": {"store": put_folder(lab, folder)}}))


def test_a_folder_that_asks_for_code_of_its_own_gets_none(lab: Lab, folder: Path) -> None:
    text = (
        (folder / "config.json")
        .read_text()
        .replace('"model_type": "bert"', '"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}')
    )
    (folder / "config.json").write_text(text)
    (folder / "mine.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(InvalidData, match=r"base\.store: the model cannot be loaded"):
        lab.run(
            classify(lab, text_data(lab, 40), trainer={"base": {"store": put_folder(lab, folder)}, "maxTokens": 16})
        )
    assert "mine" not in sys.modules


def test_damaged_weights(lab: Lab, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500])
    with pytest.raises(InvalidData, match=r"base\.store: the model cannot be loaded"):
        lab.run(
            classify(lab, text_data(lab, 40), trainer={"base": {"store": put_folder(lab, folder)}, "maxTokens": 16})
        )


def test_weights_of_another_model(lab: Lab, folder: Path) -> None:
    """Their names do not fit: transformers would begin with random weights and only warn."""
    body = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(body.replace(b"bert.encoder", b"sert.encoder"))
    stored = put_folder(lab, folder)
    with pytest.raises(InvalidData, match=r"base\.store: \d+ of \d+ weights are not in the folder, bert\.encoder"):
        lab.run(classify(lab, text_data(lab, 40), trainer={"base": {"store": stored}, "maxTokens": 16}))


def test_more_tokens_than_the_base_has_positions(lab: Lab, folder: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"textClassification\.maxTokens: the base takes 16 tokens, not 24"):
        lab.run(classify(lab, text_data(lab, 40), trainer={"base": {"store": put_folder(lab, folder)}}))


def test_a_version_that_is_no_transformer(lab: Lab) -> None:
    data = text_data(lab, 40)
    base = {"name": "delay-v1", **data}
    with pytest.raises(InvalidSpec, match=r"base\.modelVersion: ModelVersion delay-v1 has no folder huggingface/"):
        lab.run(classify(lab, data, base=base, trainer={"base": {"modelVersion": "delay-v1"}}))


def test_a_learning_rate_that_is_too_great(lab: Lab) -> None:
    trainer = {"learningRate": 1, "weightDecay": 10, "warmup": 0, "epochs": 60}
    document = classify(lab, text_data(lab, 60), trainer=trainer)
    with pytest.raises(
        TrainingDiverged, match=r"the loss became nan in epoch \d+ with learning rate 1: lower learningRate"
    ):
        lab.run(document)
    assert not lab.list("models/")


def test_a_gate_that_is_not_passed(lab: Lab) -> None:
    with pytest.raises(GateNotPassed, match=r"test accuracy is .*, below the minimum 1\.1"):
        lab.run(classify(lab, text_data(lab, 60), trainer={"epochs": 1}, gates=[{"metric": "accuracy", "min": 1.1}]))
    assert not lab.list("models/")


def test_patience_without_a_validation_split(lab: Lab) -> None:
    data = text_data(lab, 40)
    empty = lab.run(
        {
            "type": "PrepareDataset",
            "root": f"{lab.root}/datasets/none",
            "inputs": [{"name": "raw", "s3": {"uri": f"{lab.root}/raw.parquet"}}],
            "split": {"random": {"validation": 0, "test": 0.2}},
        }
    ).artifact.model_dump()
    assert data != empty
    with pytest.raises(InvalidSpec, match=r"textClassification\.patience needs a validation split"):
        lab.run(classify(lab, empty, trainer={"patience": 1}))


def test_empty_and_missing_texts_are_texts(lab: Lab) -> None:
    rows: dict[str, Any] = {"remark": [None if i % 3 else ("" if i % 2 else "rain") for i in range(60)]}
    result = lab.run(classify(lab, text_data(lab, 60, **rows), trainer={"text": "remark", "epochs": 1}))
    assert 0 <= result.metrics["test"]["accuracy"] <= 1
