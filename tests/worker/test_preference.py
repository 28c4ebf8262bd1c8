"""Direct preference optimisation: the loss, the reference, what is learnt, and what can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import TASK, TrainLanguageModel
from tidemill.contract.trainers import PreferenceTrainer
from tidemill_worker.errors import ColumnMissing, DatasetEmpty, GateNotPassed, InvalidSpec
from tidemill_worker.language import causal
from tidemill_worker.language.preference import Preferences
from tidemill_worker.language.rows import SequenceMaker, batch

from .lab import Lab, Seaweed, make_lab
from .language import complete, fetch_weights, pair_data, prefer
from .samples import Document

Made = tuple[Lab, Document, TrainResult]
AT = "spec.trainer.preference"


@pytest.fixture(scope="module")
def made(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A corner of the store with a model that was fine-tuned a little."""
    lab = make_lab(seaweed, tmp_path_factory.mktemp("preference"))
    data = pair_data(lab)
    return lab, data, lab.run(complete(lab, data, run="sft"))


def test_the_better_answers_gain(made: Made) -> None:
    lab, data, sft = made
    gates = [{"metric": "rewardAccuracy", "min": 0.7}, {"metric": "loss", "max": 0.69, "split": "validation"}]
    result = lab.run(prefer(lab, data, sft.artifact.model_dump(), gates=gates, trainer={"beta": 0.5}))
    found = result.metrics["test"]
    assert set(found) == {"loss", "rewardAccuracy", "rewardMargin"}
    assert found["rewardMargin"] > 0
    assert found["loss"] < np.log(2), "that of a model which is its reference"
    names = {name.removeprefix("models/words/run-uid/") for name in lab.list("models/words/run-uid/")}
    assert {"adapter/adapter_model.safetensors", "huggingface/model.safetensors", "model.onnx"} <= names
    again = lab.run(prefer(lab, data, sft.artifact.model_dump(), run="again", gates=gates, trainer={"beta": 0.5}))
    assert again.artifact.digest == result.artifact.digest


def test_the_loss_is_that_of_the_paper(made: Made, tmp_path: Path) -> None:
    """Equation 7 of Rafailov et al. 2023, written out over single tokens, for a model that has left its reference."""
    lab, data, sft = made
    folder = fetch_weights(lab, sft.artifact.uri, tmp_path / "base")
    task = TASK.validate_python(
        {"owner": {"kind": "a", "namespace": "b", "name": "c"}, **prefer(lab, data, sft.artifact.model_dump())}
    )
    assert isinstance(task, TrainLanguageModel)
    trainer = task.trainer
    assert isinstance(trainer, PreferenceTrainer)
    table = lab.get_table(f"{data['uri']}/train.parquet").slice(0, 6)
    maker = SequenceMaker(folder, max_tokens=32, end=2)
    lesson = Preferences(trainer, maker, {"train": table, "validation": table.slice(0, 0)})
    reference = AutoModelForCausalLM.from_pretrained(folder).eval()
    torch.manual_seed(0)
    policy = causal.with_adapters(AutoModelForCausalLM.from_pretrained(folder), trainer.lora)
    lesson.begin(policy, 0, torch.device("cpu"))
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.5)
    loss, weight = lesson.loss(range(6), validation=False)

    def log_probability(model: torch.nn.Module, prompt: str, answer: str) -> float:
        begin = maker._tokenizer.encode(prompt).ids
        ids = torch.tensor([[*begin, *maker._tokenizer.encode(answer).ids, 2]])
        with torch.no_grad():
            steps = model(input_ids=ids).logits[0].double().log_softmax(dim=1)
        return sum(float(steps[place - 1, ids[0, place]]) for place in range(len(begin), ids.shape[1]))

    wanted = []
    for row in table.to_pylist():
        chosen, rejected = (
            log_probability(policy, row["prompt"], row[answer]) - log_probability(reference, row["prompt"], row[answer])
            for answer in ("chosen", "rejected")
        )
        wanted.append(np.log1p(np.exp(-trainer.beta * (chosen - rejected))))
    assert weight == 6
    assert float(loss) == pytest.approx(np.mean(wanted), rel=1e-5)
    assert abs(float(loss) - np.log(2)) > 1e-3, "it has left its reference"


@pytest.mark.slow
def test_the_loss_and_its_gradient_are_those_of_trl(made: Made, tmp_path: Path) -> None:
    """The field's own implementation, on the same tokens and the same adapters."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    lab, data, sft = made
    folder = fetch_weights(lab, sft.artifact.uri, tmp_path / "base")
    trainer = PreferenceTrainer.model_validate({**prefer(lab, data, {})["trainer"], "beta": 0.3})
    table = lab.get_table(f"{data['uri']}/train.parquet").slice(0, 8)
    theirs = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        args=DPOConfig(
            output_dir=str(tmp_path / "trl"),
            beta=0.3,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(table.to_pylist()),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", eos_token="</s>"
        ),
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    maker = SequenceMaker(folder, max_tokens=32, end=2)
    ours = Preferences(trainer, maker, {"train": table, "validation": table.slice(0, 0)})
    ours.begin(theirs.model, 0, torch.device("cpu"))
    torch.manual_seed(0)
    adapters = {name: p for name, p in theirs.model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in adapters.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    mine = gradients(ours.loss(range(8), validation=False)[0], adapters)
    pairs = ours._splits["train"]
    made_batch = batch([*pairs.chosen, *pairs.rejected], 0, torch.device("cpu"))
    inputs = {
        "input_ids": made_batch.ids,
        "attention_mask": made_batch.mask,
        "completion_mask": made_batch.learnt.long(),
    }
    wanted = gradients(theirs.compute_loss(theirs.model, inputs), adapters)
    assert mine[0] == pytest.approx(wanted[0], rel=1e-5)
    for name, gradient in wanted[1].items():
        assert torch.allclose(mine[1][name], gradient, rtol=1e-3, atol=1e-6), name


def gradients(loss: torch.Tensor, parameters: dict[str, torch.nn.Parameter]) -> tuple[float, dict[str, torch.Tensor]]:
    """Of a loss, by parameter; and the loss."""
    found = torch.autograd.grad(loss, list(parameters.values()))
    return float(loss.detach()), dict(zip(parameters, found, strict=True))


@pytest.mark.parametrize(
    ("trainer", "error", "words"),
    [
        ({"chosen": "nosuch"}, ColumnMissing, f"{AT}.chosen: there is no column 'nosuch'"),
        ({"rejected": "same"}, DatasetEmpty, f"{AT}: no training row has something to learn"),
        ({"maxTokens": 64}, InvalidSpec, f"{AT}.maxTokens: the base takes 32 tokens, not 64"),
    ],
)
def test_what_does_not_fit(made: Made, trainer: dict[str, Any], error: type, words: str) -> None:
    lab, _, sft = made
    same = lab.get_table(f"{lab.root}/raw.parquet")["chosen"].to_pylist()
    own = pair_data(lab, same=same)
    with pytest.raises(error) as caught:
        lab.run(prefer(lab, own, sft.artifact.model_dump(), run="wrong", trainer=trainer))
    assert words in caught.value.message
    assert not lab.list("models/words/wrong-uid/")


def test_gates(made: Made) -> None:
    lab, data, sft = made
    gate = {"metric": "rewardAccuracy", "min": 1.1}
    with pytest.raises(GateNotPassed, match=r"test rewardAccuracy is .*, below the minimum 1\.1"):
        lab.run(prefer(lab, data, sft.artifact.model_dump(), run="gate", trainer={"epochs": 1}, gates=[gate]))


def test_random_weights_are_no_reference(made: Made) -> None:
    lab, data, sft = made
    with pytest.raises(ValidationError, match="set exactly one of"):
        lab.run(prefer(lab, data, sft.artifact.model_dump(), trainer={"base": {"scratch": {}}}))
