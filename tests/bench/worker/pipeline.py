"""Seconds of preparing, training, optimising, exporting and scoring 100,000 rows of 20 columns, on one core.

    python -m tests.bench.worker.pipeline [ROWS]

Wall-clock and CPU seconds of each task against a local SeaweedFS; one JSON line each. CPU seconds are what to compare
on a machine that does other things too.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tests.worker.lab import Lab, make_lab, start_seaweed

NUMBERS, TEXTS = 15, 5


def table(rows: int) -> dict[str, Any]:
    """Numbers with some missing values, texts of 3 to 100 categories, and a target that depends on both."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(rows, NUMBERS))
    codes = np.stack([rng.integers(0, 3 + 24 * i, rows) for i in range(TEXTS)], axis=1)
    target = numbers @ rng.normal(size=NUMBERS) + np.sin(codes).sum(axis=1) + rng.normal(size=rows)
    numbers[rng.random(numbers.shape) < 0.02] = np.nan
    columns: dict[str, Any] = {f"n{i}": numbers[:, i] for i in range(NUMBERS)}
    columns |= {f"t{i}": [f"v{c}" for c in codes[:, i]] for i in range(TEXTS)}
    return {**columns, "y": target}


def measured(lab: Lab, name: str, document: dict[str, Any]) -> Any:
    """Run a task and print what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = lab.run(document)
    seconds = {"wall": round(time.perf_counter() - wall, 2), "cpu": round(time.process_time() - cpu, 2)}
    print(json.dumps({"task": name, **seconds}), flush=True)
    return result


def main(rows: int) -> None:
    """The tasks in the order of a model's life."""
    with tempfile.TemporaryDirectory() as folder, start_seaweed(Path(folder)) as seaweed:
        (Path(folder) / "lab").mkdir()
        lab = make_lab(seaweed, Path(folder) / "lab")
        uri = lab.put_table("raw.parquet", table(rows))
        prepare = {
            "type": "PrepareDataset",
            "root": f"{lab.root}/d",
            "inputs": [{"name": "raw", "s3": {"uri": uri}}],
            "split": {"random": {}},
            "profile": {"target": "y"},
        }
        data = measured(lab, "PrepareDataset", prepare).artifact.model_dump()
        import torch  # noqa: F401 - its import is a matter of the image, not of the task

        train = {
            "type": "TrainModel",
            "task": "Regression",
            "dataset": data,
            "trainer": {"target": "y", "epochs": 10},
            "runRoot": f"{lab.root}/r",
            "modelRoot": f"{lab.root}/m",
        }
        model = measured(lab, "TrainModel, 10 epochs", train).artifact.model_dump()
        more = {"artifact": model, "root": f"{lab.root}/more"}
        optimise = {**more, "type": "OptimiseModel", "dataset": data, "optimisation": {"name": "int8"}}
        measured(lab, "OptimiseModel", optimise)
        measured(lab, "ExportModel", {**more, "type": "ExportModel", "export": {"name": "edge"}})
        measured(lab, "ScoreBatch", {**more, "type": "ScoreBatch", "dataset": data})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
