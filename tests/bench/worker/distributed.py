"""Milliseconds of a step with one process and with two, beside the same loop by hand under torchrun.

    python -m tests.bench.worker.distributed [--rows 100000] [--batch 512] [--epochs 12] [--rounds 3]

One process is an ordinary run; two are one pod with `processesPerNode: 2`, each with one thread. By hand is `by_hand` under
torchrun with one and two processes. All in turns, as processes of their own; a run counts by the median of its epochs but the
first two, a contender by the median of its rounds. Two processes want two cores for themselves: on a busy machine they wait for
each other, and the figures say nothing. One JSON line each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tests.bench.worker.pipeline import table
from tests.bench.worker.training import arrays, document
from tests.worker.lab import Lab, make_lab, start_seaweed
from tests.worker.pods import distributed

SKIPPED = 2
"""Epochs at a run's beginning: allocators and threads warm up."""


def ours(lab: Lab, asked: dict[str, Any], processes: int, strategy: str = "DDP") -> list[float]:
    """Seconds of each epoch, as the log tells them."""
    if processes == 1:
        command, variables, _ = lab.command(asked)
        done = subprocess.run(command, env=variables, capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stderr
        entries = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"time"')]
        return [entry["seconds"] for entry in entries if entry["message"] == "epoch"]
    with distributed(lab, asked, nodes="1", processes=processes, strategy=strategy) as training:
        pod = training.start(0)
        assert pod.wait() == 0, pod.log()
        leader = pod.lines("group formed")[0]["leader"]
        assert leader in range(processes)
        return [entry["seconds"] for entry in pod.lines("epoch")][::processes]


def by_hand(data: Path, batch: int, epochs: int, processes: int) -> list[float]:
    """Seconds of each epoch."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    script = [str(Path(__file__).with_name("by_hand.py")), str(data), "--batch", str(batch), "--epochs", str(epochs)]
    done = subprocess.run([sys.executable, *torchrun, *script], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def main() -> None:
    """All contenders in turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    taken: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, start_seaweed(Path(folder)) as seaweed:
        (Path(folder) / "lab").mkdir()
        lab = make_lab(seaweed, Path(folder) / "lab")
        uri = lab.put_table("raw.parquet", table(asked.rows * 10 // 8))
        prepare = {"type": "PrepareDataset", "root": f"{lab.root}/d", "inputs": [{"name": "raw", "s3": {"uri": uri}}]}
        data = lab.run({**prepare, "split": {"random": {"validation": 0.1, "test": 0.1}}}).artifact.model_dump()
        rows, others = (lab.get_table(f"{data['uri']}/{split}.parquet").num_rows for split in ("train", "validation"))
        train, validation, categories = arrays(rows, others)
        npz, parts = Path(folder) / "data.npz", {}
        for name, split in (("train", train), ("validation", validation)):
            parts |= {f"{name}-{part}": getattr(split, part) for part in ("numbers", "codes", "target")}
        np.savez(npz, categories=np.array(categories), **parts)
        for turn in range(asked.rounds):
            for processes in (1, 2):
                run = f"{turn}-{processes}"
                measured = {
                    "by hand": by_hand(npz, asked.batch, asked.epochs, processes),
                    "ours": ours(lab, document(lab, data, asked.batch, run, asked.epochs), processes),
                }
                if processes == 2:
                    fsdp = document(lab, data, asked.batch, f"{run}-fsdp", asked.epochs)
                    measured["ours, FSDP"] = ours(lab, fsdp, processes, "FSDP")
                for name, seconds in measured.items():
                    taken.setdefault((name, processes), []).append(statistics.median(seconds[SKIPPED:]))
    count = -(-rows // asked.batch)
    for (name, processes), medians in sorted(taken.items(), key=lambda item: (item[0][1], item[0][0])):
        median, plain = statistics.median(medians), statistics.median(taken["by hand", processes])
        line = {"ms_a_step": round(1e3 * median / count, 3), "beside_by_hand": round(median / plain, 3)}
        print(json.dumps({"loop": name, "processes": processes, **line, "rounds": asked.rounds}), flush=True)


if __name__ == "__main__":
    main()
