"""One training, nothing published: what a run does once, and each trial of a search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tidemill.contract.model import MODEL_FILE
from tidemill.contract.tasks import TrainModel
from tidemill_worker.context import Context
from tidemill_worker.errors import ModelInvalid
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.train import graph
from tidemill_worker.train.data import Data
from tidemill_worker.train.family import Fitted, Report, TakesTokens, family_of

PARITY_ROWS, PARITY_TEXTS = 2048, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model as a file, and the proof that it answers as what was trained."""

    folder: Path
    """Holds `model.onnx` and what the family puts beside it."""
    predictor: Predictor
    """Runs that very file."""
    epochs: int
    device: str


def _unwatched(_epoch: int, _loss: float) -> None:
    """Nobody wants to know."""


def train(task: TrainModel, data: Data, context: Context, report: Report = _unwatched) -> Trained:
    """Train with the parameters of `task.trainer`, checkpoints under `task.run_root`.

    Raises TrainingDiverged, Terminated after SIGTERM, ModelInvalid when the graph does not answer as the model does, and
    whatever `report` raises.
    """
    context.tracker.phase("Preprocessing", 0.05)
    fitted = family_of(task).fit(data, task, context, report)
    context.group.follow()
    context.tracker.phase("Exporting", 0.82)
    place = context.folder("model")
    graph.save(fitted.export(), place / MODEL_FILE)
    for name, body in fitted.files().items():
        (place / name).write_bytes(body)
    signature, rows = data.signature(), PARITY_ROWS
    if isinstance(fitted, TakesTokens):
        signature, rows = fitted.tokenised(signature, place), PARITY_TEXTS
    predictor = Predictor(place / MODEL_FILE, signature, threads=context.environment.cpus)
    check_parity(predictor, fitted, data, rows)
    return Trained(folder=place, predictor=predictor, epochs=fitted.epochs, device=fitted.device)


def check_parity(predictor: Predictor, fitted: Fitted, data: Data, most: int = PARITY_ROWS) -> None:
    """The graph must give what the trained model gives, preprocessing included, or nothing is published."""
    rows = data.sample(most)
    worst = data.worst(predictor.run(rows), fitted.raw(rows), rows)
    if not worst <= 1:
        raise ModelInvalid(f"the exported model differs from the trained one by {worst:.3g} times the tolerance")
