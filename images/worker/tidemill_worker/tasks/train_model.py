"""TrainModel: a built-in training, from a dataset version to a model artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tidemill.contract.layout import join
from tidemill.contract.model import EVALUATION_FILE, MODEL_FILE, Evaluation
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import ArtifactRef, TrainingTask, TrainModel
from tidemill.contract.tracking import METRICS_FILE
from tidemill_worker.artifact import Artifact, existing, publish
from tidemill_worker.context import Context
from tidemill_worker.model import folder
from tidemill_worker.model.baseline import baseline
from tidemill_worker.recorded import ArtifactResult, recorded
from tidemill_worker.report import build, gates
from tidemill_worker.report.production import told
from tidemill_worker.tracking.run import TrackedRun
from tidemill_worker.train.data import Data
from tidemill_worker.train.family import family_of
from tidemill_worker.train.trained import Trained, train


def run(task: TrainModel, context: Context) -> ArtifactResult:
    """The model that this task made before, or a new one. Of several processes the leader tells and records it."""
    if not context.group.leads:
        return finished(task, context) or _train(task, context)

    def work() -> TrainResult:
        with TrackedRun(task, context) as told:
            return told.finished(finished(task, context) or _train(task, context))

    return recorded(context, task, task.run_root, work)


def finished(task: TrainingTask, context: Context) -> TrainResult | None:
    """A pod that died between the manifest and the record left a complete artifact: nothing is trained twice."""
    ref = existing(context, task.model_root)
    return _result(task, context, ref) if ref is not None else None


def _result(task: TrainingTask, context: Context, ref: ArtifactRef) -> TrainResult:
    artifact = Artifact(context, ref, name="model")
    lines = context.store.read_or_none(join(task.run_root, METRICS_FILE)) or b""
    evaluation = artifact.parse(EVALUATION_FILE, Evaluation)
    return TrainResult(
        artifact=ref,
        metrics=evaluation.metrics,
        comparison=told(evaluation),
        epochs=lines.count(b"\n"),
        size_bytes=artifact.manifest.file(MODEL_FILE).size,
    )


def _train(task: TrainModel, context: Context) -> TrainResult:
    data = family_of(task).read(task, context)
    return publish_trained(task, data, train(task, data, context), context)


def _nothing_more(_evaluation: Evaluation, _folder: Path) -> None:
    """The usual files are all."""


def publish_trained(
    task: TrainModel,
    data: Data,
    trained: Trained,
    context: Context,
    add: Callable[[Evaluation, Path], None] = _nothing_more,
) -> TrainResult:
    """Evaluate the model, hold its gates, and store it with the files that `add` adds to its folder.

    Raises GateNotPassed, with nothing stored.
    """
    context.tracker.phase("Evaluating", 0.86)
    predictor = trained.predictor
    splits = ("train", "validation", "test")
    measured = build.measure(data.plan, predictor, data.dataset, splits, context, task.production)
    evaluation = measured.evaluation
    gates.hold(evaluation, task.gates)
    context.tracker.phase("Explaining", 0.9)
    explanation = build.explain(data.plan, predictor, measured.scored, data.table, context)
    build.write(trained.folder, data.plan, evaluation, explanation)
    folder.write(
        trained.folder,
        signature=predictor.signature,
        baseline=baseline(predictor, data.table),
        evaluation=evaluation,
        calibration=folder.calibration_rows(data.table),
    )
    add(evaluation, trained.folder)
    ref = publish(context, task, kind="model", folder=trained.folder, uri=task.model_root, seed=task.trainer.seed)
    return TrainResult(
        artifact=ref,
        metrics=evaluation.metrics,
        comparison=told(evaluation),
        epochs=trained.epochs,
        size_bytes=(trained.folder / MODEL_FILE).stat().st_size,
        device=trained.device,
        warnings=context.tracker.warnings,
    )
