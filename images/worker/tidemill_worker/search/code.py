"""What a search chose, as something to review and to run: `config.yaml`, and the script that trains by it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

from tidemill.contract.tasks import TrainModel
from tidemill_worker.search import train as script

CONFIG, SCRIPT = "config.yaml", "train.py"
_HEAD = "# What the search chose. `python train.py --data FOLDER` trains it again: see train.py --help.\n"


def write(chosen: TrainModel, metrics: dict[str, dict[str, float]], folder: Path) -> None:
    """Both files. `metrics` are what the script should come to, by split."""
    document = json.loads(chosen.to_json())
    config = {
        "dataset": document["dataset"],
        "task": document["task"],
        "family": document["family"],
        "trainer": document["trainer"],
        "metrics": {split: metrics[split] for split in ("validation", "test") if split in metrics},
    }
    (folder / CONFIG).write_text(_HEAD + yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    shutil.copyfile(script.__file__, folder / SCRIPT)
