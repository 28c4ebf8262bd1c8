"""Texts, models in Hugging Face's layout, and task documents for the tests of transformers. All of it is tiny."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .lab import Lab
from .samples import Document, dataset_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRATCH = {"layers": 1, "width": 16, "heads": 2, "vocabulary": 400}
TOPICS = {
    "weather": ("rain", "wind", "storm", "sunny", "clouds", "forecast"),
    "money": ("bank", "price", "loan", "market", "tax", "interest"),
    "sport": ("goal", "match", "team", "coach", "league", "score"),
}
FILLER = ("the", "a", "today", "we", "saw", "again", "much", "little", "Über", "naïve")
PLAIN = {"html": False, "pictures": False, "confidence": {"resamples": 0}}
SPLIT = {"split": {"random": {"validation": 0.2, "test": 0.2, "seed": 1}}}


def texts(number: int, seed: int = 0) -> Document:
    """Short texts, each with words of one topic."""
    rng = np.random.default_rng(seed)
    rows: Document = {"text": [], "topic": [], "id": list(range(number))}
    for _ in range(number):
        topic = str(rng.choice(list(TOPICS)))
        words = [*rng.choice(TOPICS[topic], 2), *rng.choice(FILLER, 3)]
        rows["text"].append(" ".join(rng.permutation(words)))
        rows["topic"].append(topic)
    return rows


def pairs(number: int, seed: int = 0) -> Document:
    """Prompts that name a topic, the better answer of that topic, and one of another."""
    rng = np.random.default_rng(seed)
    rows: Document = {"prompt": [], "chosen": [], "rejected": []}
    for _ in range(number):
        topic, other = (str(name) for name in rng.choice(list(TOPICS), 2, replace=False))
        rows["prompt"].append(f"{topic}: ")
        rows["chosen"].append(" ".join(rng.choice(TOPICS[topic], 2)))
        rows["rejected"].append(" ".join(rng.choice(TOPICS[other], 2)))
    return rows


def text_data(lab: Lab, number: int = 160, **more: Any) -> Document:
    return _data(lab, {**texts(number), **more})


def pair_data(lab: Lab, number: int = 120, **more: Any) -> Document:
    return _data(lab, {**pairs(number), **more})


def _data(lab: Lab, columns: Document) -> Document:
    """Each set of columns has a folder of its own: a task that was done before would not be done again."""
    return dataset_of(lab, columns, root=f"{lab.root}/datasets/{'-'.join(columns)}", **SPLIT)


def example(script: Path) -> ModuleType:
    """An example's script, as a module."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def classify(lab: Lab, data: Document, run: str = "run", **more: Any) -> Document:
    trainer = {
        "base": {"scratch": {**SCRATCH, "width": 64}},
        "text": "text",
        "target": "topic",
        "maxTokens": 24,
        "epochs": 10,
        "batchSize": 8,
        "learningRate": 0.002,
        "seed": 3,
        **more.pop("trainer", {}),
    }
    return {
        "type": "TrainModel",
        "task": "Classification",
        "family": "text",
        "dataset": data,
        "trainer": trainer,
        "evaluation": PLAIN,
        **_places(lab, run),
        **more,
    }


def complete(lab: Lab, data: Document, run: str = "run", **more: Any) -> Document:
    trainer = {
        "base": {"scratch": SCRATCH},
        "prompt": "prompt",
        "completion": "chosen",
        "maxTokens": 32,
        "epochs": 8,
        "batchSize": 8,
        "learningRate": 0.02,
        "seed": 3,
        **more.pop("trainer", {}),
    }
    trainer = {name: value for name, value in trainer.items() if value is not None}
    return {
        "type": "TrainLanguageModel",
        "family": "languageModel",
        "dataset": data,
        "trainer": trainer,
        "evaluation": PLAIN,
        **_places(lab, run),
        **more,
    }


def prefer(lab: Lab, data: Document, base: Document, run: str = "run", **more: Any) -> Document:
    """DPO from a model artifact."""
    trainer = {
        "base": {"modelVersion": "sft-v1"},
        "prompt": "prompt",
        "chosen": "chosen",
        "rejected": "rejected",
        "maxTokens": 32,
        "epochs": 5,
        "batchSize": 8,
        "learningRate": 0.02,
        "lora": {"rank": 4, "alpha": 8},
        "seed": 3,
        **more.pop("trainer", {}),
    }
    return {
        "type": "TrainLanguageModel",
        "family": "preference",
        "dataset": data,
        "trainer": trainer,
        "base": {"name": "sft-v1", **base},
        "evaluation": PLAIN,
        **_places(lab, run),
        **more,
    }


def _places(lab: Lab, run: str) -> Document:
    return {"runRoot": f"{lab.root}/runs/{run}/uid", "modelRoot": f"{lab.root}/models/words/{run}-uid"}


def put_folder(lab: Lab, folder: Path, name: str = "base") -> Document:
    """A folder as a base in the store, with the digest as a user would get it by sha256sum."""
    lines = ""
    for path in sorted(folder.iterdir()):
        lab.put(f"{name}/{path.name}", path.read_bytes())
        if path.suffix in (".json", ".safetensors"):
            lines += f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
    return {"uri": f"{lab.root}/{name}/", "digest": "sha256:" + hashlib.sha256(lines.encode()).hexdigest()}


def fetch_weights(lab: Lab, uri: str, folder: Path) -> Path:
    """An artifact's folder `huggingface`, here."""
    prefix = f"{uri.removeprefix(lab.root + '/')}/huggingface/"
    folder.mkdir(parents=True, exist_ok=True)
    for key in lab.list(prefix):
        (folder / key.rpartition("/")[2]).write_bytes(lab.get(f"{lab.root}/{key}"))
    return folder


def wait_for_epoch(lab: Lab, run: str, epoch: int, process: subprocess.Popen[bytes]) -> None:
    """Until the process has stored a checkpoint of that epoch, or a later one."""
    pointer, deadline = f"runs/{run}/uid/checkpoints/latest.json", time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if pointer in lab.list(f"runs/{run}/") and lab.get_json(f"{lab.root}/{pointer}")["epoch"] >= epoch:
            return
        time.sleep(0.01)
    assert process.poll() is None, "the training ended before it could be interrupted"
    raise AssertionError("no checkpoint in 90 seconds")
