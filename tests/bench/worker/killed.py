"""What a killed training loses: seconds that it takes longer than one that nothing befell, and what they are made of.

    python -m tests.bench.worker.killed [--rows 100000] [--epochs 40] [--repeats 5]

Each training is a process of its own against a local SeaweedFS. It is killed at a chance moment of its middle third and
started again at once; a cluster adds the time until there is a new pod. `lost` is the seconds of both processes together less
those of the whole one, `begun again` those of the second process until its first epoch's end (imports, download, features,
checkpoint), `epochs again` how many were trained twice. Medians; one JSON line for each way to be ended.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.worker.pipeline import table
from tests.worker.lab import Lab, make_lab, progress_of, start_seaweed

WAYS = (("SIGKILL", 1), ("SIGKILL", 10), ("SIGTERM", 10))
"""How it ends, and after how many epochs a checkpoint is written."""


@dataclass(frozen=True)
class Process:
    """A training process that ended."""

    seconds: float
    first: int
    """The first epoch that it told the end of."""
    until_first: float
    last: int


def training(lab: Lab, data: dict[str, Any], run: str, epochs: int, every: int) -> dict[str, Any]:
    """A training with the default network."""
    return {
        "type": "TrainModel",
        "task": "Regression",
        "dataset": data,
        "trainer": {"target": "y", "epochs": epochs, "batchSize": 512},
        "checkpoint": {"everyEpochs": every},
        "runRoot": f"{lab.root}/runs/{run}",
        "modelRoot": f"{lab.root}/models/{run}",
    }


def follow(lab: Lab, document: dict[str, Any], *, end_after: float | None = None, how: str = "SIGKILL") -> Process:
    """Run a training until its end, or until `end_after` seconds behind its first epoch."""
    command, variables, _ = lab.command(document)
    began = time.perf_counter()
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first, last, until_first = 0, 0, 0.0
    while process.poll() is None:
        try:
            epoch = progress_of(int(variables["TIDEMILL_PROGRESS_PORT"])).get("epoch") or 0
        except OSError:
            epoch = 0
        last = max(last, epoch)
        if last and not first:
            first, until_first = last, time.perf_counter() - began
        if first and end_after is not None and time.perf_counter() - began > until_first + end_after:
            process.send_signal(getattr(signal, how))
            process.wait()
        time.sleep(0.02)
    ended = time.perf_counter() - began
    assert first, "it ended before its first epoch did"
    assert (process.returncode == 0) is (end_after is None), f"the training ended with {process.returncode}"
    return Process(seconds=ended, first=first, until_first=until_first, last=last)


def main() -> None:
    """Whole trainings, then each way to be ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder, start_seaweed(Path(folder)) as seaweed:
        (Path(folder) / "lab").mkdir()
        lab = make_lab(seaweed, Path(folder) / "lab")
        uri = lab.put_table("raw.parquet", table(asked.rows))
        prepare = {"type": "PrepareDataset", "root": f"{lab.root}/d", "inputs": [{"name": "raw", "s3": {"uri": uri}}]}
        data = lab.run({**prepare, "split": {"random": {}}}).artifact.model_dump()
        for how, every in WAYS:
            wholes, lost, again, twice = [], [], [], []
            for number in range(asked.repeats):
                run = f"{how}-{every}-{number}"
                whole = follow(lab, training(lab, data, f"{run}-whole", asked.epochs, every))
                spent = whole.seconds - whole.until_first
                document = training(lab, data, run, asked.epochs, every)
                before = follow(lab, document, end_after=spent * chance.uniform(0.33, 0.67), how=how)
                after = follow(lab, document)
                wholes.append(whole.seconds)
                lost.append(before.seconds + after.seconds - whole.seconds)
                again.append(after.until_first)
                twice.append(before.last - after.first + 1)
            figures = {"whole": wholes, "lost": lost, "begun again": again}
            line = {name: round(statistics.median(values), 2) for name, values in figures.items()}
            print(
                json.dumps(
                    {
                        "ended by": how,
                        "checkpoint every": every,
                        "epochs": asked.epochs,
                        **line,
                        "epochs again": statistics.median(twice),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
