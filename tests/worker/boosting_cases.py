"""Columns that are hard for trees, and a training that stops before it is published."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tidemill.contract.tasks import TASK, TrainModel
from tidemill_worker.context import Context
from tidemill_worker.train import boosting
from tidemill_worker.train import data as training_data
from tidemill_worker.train.boosting import FittedForest
from tidemill_worker.train.data import TrainingData

from .lab import OWNER, Lab

Document = dict[str, Any]


def lines_of(lab: Lab, run: str = "run") -> list[Document]:
    text = lab.get(f"{lab.root}/runs/{run}/uid/metrics.jsonl").decode()
    return [json.loads(line) for line in text.splitlines()]


def parsed(document: Document) -> TrainModel:
    task = TASK.validate_python({"owner": OWNER, **document})
    assert isinstance(task, TrainModel)
    return task


HARD = 10_000
CODES = [f"c{i}" for i in range(80)]


def hard(number: int, seed: int) -> Document:
    """Columns of all magnitudes, with missing values and many categories."""
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=number) * 10.0 ** rng.integers(-6, 7, number)
    wide[rng.random(number) < 0.1] = np.nan
    full, share = rng.integers(0, 1000, number).astype(float), rng.random(number)
    code, kind = rng.integers(0, len(CODES), number), rng.integers(0, 5, number)
    target = np.nan_to_num(np.sign(wide) * np.log1p(np.abs(wide))) + full / 300 + np.sin(code) * 3
    target += (kind == 2) * share * 4 + rng.normal(size=number) * 0.3
    return {
        "wide": wide.tolist(),
        "full": full.tolist(),
        "share": share.tolist(),
        "code": [None if i % 20 == 0 else CODES[c] for i, c in enumerate(code)],
        "kind": [f"k{k}" for k in kind],
        "target": target.tolist(),
        "side": np.where(target > np.quantile(target, 0.8), "high", "low").tolist(),
        "quarter": [f"q{q}" for q in np.digitize(target, np.quantile(target, [0.25, 0.5, 0.75]))],
    }


def fit(lab: Lab, document: Document) -> tuple[FittedForest, TrainingData, Context]:
    """Training alone, without export."""
    task, context = parsed(document), lab.context()
    data = training_data.read(task, context)
    return boosting.fit(data, task, context, lambda _epoch, _loss: None), data, context
