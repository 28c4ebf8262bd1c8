"""Trains this model again, as config.yaml says, and prints its metrics beside those that the search found.

    aws s3 cp --recursive "$(yq .dataset.uri config.yaml)" data
    python train.py --data data --out model.onnx

Needs the libraries of Tidemill's trainer image: run it there, or beside a checkout with requirements/trainer.txt installed. The
dataset's files are checked against the digest in config.yaml, so it is the very same data.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import yaml

from tidemill.contract.tasks import TrainModel
from tidemill_worker.local import context_in, place_dataset
from tidemill_worker.model.evaluation import evaluate_splits
from tidemill_worker.train.family import family_of
from tidemill_worker.train.trained import train


def main() -> None:
    """Read, train, evaluate: each step is one small module, named in the imports above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the dataset version's files")
    parser.add_argument("--out", type=Path, help="where to write the ONNX model")
    parser.add_argument(
        "--config", type=Path, default=Path(__file__).with_name("config.yaml"), help="default: beside this file"
    )
    given = parser.parse_args()
    config = yaml.safe_load(given.config.read_text())
    task = TrainModel.model_validate(
        {
            "owner": {"kind": "TrainingRun", "namespace": "local", "name": "local"},
            "runRoot": "s3://local/run",
            "modelRoot": "s3://local/model",
            **{key: config[key] for key in ("task", "family", "trainer", "dataset")},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        context = context_in(Path(folder))
        place_dataset(context, task.dataset, given.data)
        data = family_of(task).read(task, context)  # columns, target, splits
        trained = train(task, data, context)  # preprocessing, training with early stopping, the graph and its parity
        found = evaluate_splits(trained.predictor, data.dataset, ("validation", "test")).metrics
        if given.out is not None:
            shutil.copyfile(trained.folder / "model.onnx", given.out)
    print(json.dumps({"found": found, "expected": config["metrics"]}, indent=1))


if __name__ == "__main__":
    main()
