"""TrainLanguageModel: from texts, completions or preferences to a causal language model."""

from __future__ import annotations

from tidemill.contract.model import EVALUATION_FILE, MODEL_FILE
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import TrainLanguageModel
from tidemill_worker.artifact import publish
from tidemill_worker.context import Context
from tidemill_worker.language import trained
from tidemill_worker.recorded import ArtifactResult, recorded
from tidemill_worker.report import build, gates
from tidemill_worker.tasks.train_model import finished
from tidemill_worker.tracking.run import TrackedRun


def run(task: TrainLanguageModel, context: Context) -> ArtifactResult:
    """The model that this task made before, or a new one."""

    def work() -> TrainResult:
        with TrackedRun(task, context) as told:
            return told.finished(finished(task, context) or _train(task, context))

    return recorded(context, task, task.run_root, work)


def _train(task: TrainLanguageModel, context: Context) -> TrainResult:
    """Raises GateNotPassed, with nothing stored."""
    model = trained.train(task, context)
    context.tracker.phase("Evaluating", 0.86)
    evaluation = model.evaluation()
    gates.hold(evaluation, task.gates)
    build.write(model.folder, model.plan, evaluation, None)
    (model.folder / EVALUATION_FILE).write_text(evaluation.to_json())
    ref = publish(context, task, kind="model", folder=model.folder, uri=task.model_root, seed=task.trainer.seed)
    return TrainResult(
        artifact=ref,
        metrics=evaluation.metrics,
        epochs=model.course.epoch,
        size_bytes=(model.folder / MODEL_FILE).stat().st_size,
        device=model.device,
        warnings=context.tracker.warnings,
    )
