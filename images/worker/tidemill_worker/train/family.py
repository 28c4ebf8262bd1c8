"""Families of models: what each brings to a training that all of them share.

A family is a module with the functions `read` and `fit`. The loop over epochs with checkpoints and early stopping,
the proof that the graph answers as the trained model does, evaluation, gates and publishing are none of its business.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import onnx
import pyarrow as pa

from tidemill.contract.model import Signature
from tidemill.contract.tasks import TrainModel
from tidemill.contract.trainers import Family as FamilyName
from tidemill_worker.context import Context
from tidemill_worker.train.data import Data

Report = Callable[[int, float], None]
"""Called after every epoch with its number and the loss that judges it; what it raises ends the training."""


class Fitted(Protocol):
    """A trained model that is no file yet."""

    @property
    def epochs(self) -> int:
        """Epochs that were trained."""

    @property
    def device(self) -> str:
        """What trained: cpu or cuda."""

    def raw(self, rows: pa.Table) -> np.ndarray:
        """What the trained model itself answers, as the family's data compares it (`Data.worst`): of columns [rows, outputs],
        the standardised target, or a logit for each class."""

    def export(self) -> onnx.ModelProto:
        """A graph that takes and gives what the data's signature says (or takes tokens, see TakesTokens)."""

    def files(self) -> dict[str, bytes]:
        """What lies beside the graph in the model's folder, by name."""


@runtime_checkable
class TakesTokens(Protocol):
    """What is `Fitted` besides, when its graph takes tokens: raw columns are not its inputs."""

    def tokenised(self, signature: Signature, folder: Path) -> Signature:
        """The signature with the model's own inputs; the tokenizer, and what else belongs to the model, goes to the folder."""


class Family(Protocol):
    """How models of one kind are trained."""

    def read(self, task: TrainModel, context: Context) -> Data:
        """Download, choose, check. Raises what is wrong with spec or data before anything is trained."""

    def fit(self, data: Any, task: TrainModel, context: Context, report: Report) -> Fitted:
        """Train on what `read` gave with the task's trainer, from its newest checkpoint under `task.run_root` if there is one.

        Raises TrainingDiverged, and Terminated after SIGTERM.
        """


_MODULES: dict[FamilyName, str] = {
    "tabular": "tidemill_worker.train.tabular",
    "boosted": "tidemill_worker.train.boosting",
    "forecasting": "tidemill_worker.train.forecasting",
    "image": "tidemill_worker.train.image",
    "text": "tidemill_worker.language.classifier",
}


def family_of(task: TrainModel) -> Family:
    """Imported on demand: only networks need torch, only trees LightGBM, only texts Hugging Face's libraries."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin burn the quota that the others need
    return cast(Family, import_module(_MODULES[task.family]))
