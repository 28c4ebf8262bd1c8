"""What the trainer adds to a plain PyTorch loop: milliseconds of a step, and seconds until the first one.

    python -m tests.bench.worker.training [--rows 100000] [--batch 512] [--repeats 9]

Steps: the trainer's epoch (train, validate), the same with what surrounds it (checkpoint into a local SeaweedFS, log,
progress), and `by_hand`, in turns in one process, on the same arrays, with one thread. First step: processes from their start,
ours with the real task, and a script that downloads the same file, standardises numbers, numbers texts, and trains. Medians;
one JSON line each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.bench.worker import by_hand
from tests.bench.worker.pipeline import NUMBERS, TEXTS, table
from tests.worker.lab import OWNER, Lab, make_lab, start_seaweed

from tidemill.contract.tasks import TASK, TrainModel
from tidemill.contract.trainers import TabularTrainer
from tidemill_worker.train.epochs import Training
from tidemill_worker.train.loop import EncodedSplit, NetworkLearner

UNTIL_FIRST_STEP = """
import json, os, runpy, sys, time, torch
def step(*_, **__):
    print(json.dumps(time.time() - float(os.environ["BEGAN"])), file=sys.__stdout__, flush=True)
    os._exit(0)
torch.optim.AdamW.step = step
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def arrays(rows: int, validation: int) -> tuple[EncodedSplit, EncodedSplit, list[int]]:
    """Splits as the network sees `pipeline.table`, and the categories of each text column: numbers and as many missing
    indicators, and of texts the 50 most frequent ones."""
    rng, categories = np.random.default_rng(0), [min(50, 3 + 24 * i) for i in range(TEXTS)]

    def split(number: int) -> EncodedSplit:
        codes = np.stack([rng.integers(2, 2 + c, number) for c in categories], axis=1)
        values = rng.normal(size=(number, 2 * NUMBERS)).astype(np.float32)
        target = (values.sum(axis=1) + np.sin(codes).sum(axis=1)).astype(np.float32).reshape(-1, 1)
        return EncodedSplit(numbers=values, codes=codes, target=target)

    return split(rows), split(validation), categories


def document(lab: Lab, data: dict[str, Any], batch: int, run: str, epochs: int) -> dict[str, Any]:
    """A training with the default network."""
    return {
        "type": "TrainModel",
        "task": "Regression",
        "dataset": data,
        "trainer": {"target": "y", "epochs": epochs, "batchSize": batch},
        "runRoot": f"{lab.root}/runs/{run}",
        "modelRoot": f"{lab.root}/models/{run}",
    }


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def steps(lab: Lab, rows: int, batch: int, repeats: int) -> None:
    """Our epochs and those by hand in turns."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    train, validation, categories = arrays(rows, rows // 8)
    tensors = train.tensors(torch.device("cpu")), validation.tensors(torch.device("cpu"))
    nothing = {"uri": "s3://bucket/none", "digest": "sha256:" + "0" * 64}
    task = TASK.validate_python({"owner": OWNER, **document(lab, nothing, batch, "steps", 10_000)})
    assert isinstance(task, TrainModel)
    assert isinstance(task.trainer, TabularTrainer)
    context = lab.context()

    def learner() -> NetworkLearner:
        network = by_hand.network_for(tensors[0], categories)
        return NetworkLearner(task.trainer, context, network, train, validation, torch.nn.MSELoss())  # type: ignore[arg-type]

    ours, plain = learner(), by_hand.network_for(tensors[0], categories)
    optimizer = by_hand.optimizer_for(plain)
    whole = Training(learner(), task, context, lambda *_: None)
    taken: dict[str, list[float]] = {"by hand": [], "ours": [], "ours with checkpoints": []}
    for number in range(1, repeats + 3):
        turns = {
            "by hand": lambda n=number: by_hand.epoch(n, plain, optimizer, *tensors, batch),
            "ours": lambda n=number: ours.epoch(n),
            "ours with checkpoints": whole._epoch,
        }
        for name, turn in turns.items():
            taken[name].append(seconds(turn))
    medians = {name: statistics.median(times[2:]) for name, times in taken.items()}
    for name, median in medians.items():
        line = {
            "ms_a_step": round(1e3 * median / -(-rows // batch), 4),
            "beside_by_hand": round(median / medians["by hand"], 4),
            "epochs": repeats,
        }
        print(json.dumps({"loop": name, **line}), flush=True)


def first_step(lab: Lab, rows: int, batch: int, repeats: int) -> None:
    """Processes from their start until the optimizer is first called."""
    uri = lab.put_table("raw.parquet", table(rows))
    prepare = {"type": "PrepareDataset", "root": f"{lab.root}/d", "inputs": [{"name": "raw", "s3": {"uri": uri}}]}
    data = lab.run({**prepare, "split": {"random": {}}}).artifact.model_dump()
    taken: dict[str, list[float]] = {"by hand": [], "ours": []}
    for number in range(repeats):
        command, variables, _ = lab.command(document(lab, data, batch, f"first-{number}", 1))
        arguments = {
            "ours": ["tidemill_worker", command[-1]],
            "by hand": ["tests.bench.worker.first_step_by_hand", f"{data['uri']}/train.parquet", "y"],
        }
        for name, words in arguments.items():
            taken[name].append(_until_first_step(words, variables))
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
    for name, median in medians.items():
        print(json.dumps({"first step": name, "seconds": round(median, 2), "processes": repeats - 1}), flush=True)


def _until_first_step(words: list[str], variables: dict[str, str]) -> float:
    environment = {**variables, "BEGAN": repr(time.time())}
    done = subprocess.run(
        [sys.executable, "-c", UNTIL_FIRST_STEP, *words], env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Steps, then first steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with tempfile.TemporaryDirectory() as folder, start_seaweed(Path(folder)) as seaweed:
        (Path(folder) / "lab").mkdir()
        lab = make_lab(seaweed, Path(folder) / "lab")
        steps(lab, asked.rows, asked.batch, asked.repeats)
        first_step(lab, asked.rows, asked.batch, min(asked.repeats, 6))


if __name__ == "__main__":
    main()
