"""SearchModel: many trainings with different parameters, shared by the pods of an Indexed Job; the best becomes the model.

A trial is a TrainModel task with a folder of its own in the run's. The winner's is carried out once more, by pod 0 and to its
end: it finds its last checkpoint, so that nothing is trained again.
"""

from __future__ import annotations

import json
from pathlib import Path

import optuna

from tidemill.contract.directions import HIGHER_IS_BETTER, LOWER_IS_BETTER
from tidemill.contract.layout import join
from tidemill.contract.model import Evaluation
from tidemill.contract.reasons import FailureReason
from tidemill.contract.results import PartResult, Result, SearchSummary, TrainResult
from tidemill.contract.tasks import SearchModel, TrainModel
from tidemill.contract.trainers.auto import AutoTrainer
from tidemill_worker import memory
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.errors import InvalidSpec, ModelInvalid
from tidemill_worker.model.evaluation import evaluate_splits
from tidemill_worker.recorded import recorded
from tidemill_worker.report import gates
from tidemill_worker.search import code, report, space
from tidemill_worker.search.families import AutoSpace, search_of
from tidemill_worker.search.journal import StoreJournal
from tidemill_worker.search.space import Space, SpecSpace
from tidemill_worker.search.trials import Trials, Unfit, best, open_study, wanted
from tidemill_worker.tasks import train_model
from tidemill_worker.tracking.run import TrackedRun
from tidemill_worker.train.data import Data
from tidemill_worker.train.family import Report, family_of
from tidemill_worker.train.target import Target
from tidemill_worker.train.trained import Trained, train

REPORT_FOLDER = "search"
"""In the model's artifact."""


def run(task: SearchModel, context: Context) -> Result:
    """Pod 0: the model that this task made before, or a new one. Other pods: their share of the trials."""
    if context.environment.pod_index:
        data = family_of(task.training).read(task.training, context)
        _trials(task, data, context).work()
        return PartResult()
    return recorded(context, task, task.training.run_root, lambda: _stored(task, context) or _search(task, context))


def _stored(task: SearchModel, context: Context) -> TrainResult | None:
    """A pod that died between the manifest and the record left a complete artifact."""
    found = train_model.finished(task.training, context)
    if found is None:
        return None
    artifact = Artifact(context, found.artifact, name="model")
    told = json.loads(artifact.fetch(join(REPORT_FOLDER, report.TRIALS_FILE)).read_text())
    return found.model_copy(update={"search": SearchSummary.model_validate(told["summary"])})


def _search(task: SearchModel, context: Context) -> TrainResult:
    data = family_of(task.training).read(task.training, context)
    trials = _trials(task, data, context)
    trials.work()
    trials.settle()
    study = trials.study
    chosen = _training(task, _space(task, data), best(study))
    context.tracker.scope = None

    def add(evaluation: Evaluation, folder: Path) -> None:
        code.write(chosen, evaluation.metrics, folder)
        (folder / REPORT_FOLDER).mkdir()
        report.write(study, trials.search, folder / REPORT_FOLDER)

    with TrackedRun(chosen, context, folder=task.training.run_root) as told:
        trained = train(chosen, data, context)
        result = train_model.publish_trained(chosen, data, trained, context, add)
        return told.finished(result.model_copy(update={"search": report.summary(study, trials.search)}))


def _trials(task: SearchModel, data: Data, context: Context) -> Trials:
    search = task.search or search_of(_auto(task), task.training.task)
    tried = _space(task, data)
    field = "spec.search.metric" if task.search else f"{task.field}.metric"
    if search.metric not in LOWER_IS_BETTER | HIGHER_IS_BETTER:
        known = ", ".join(sorted(LOWER_IS_BETTER | HIGHER_IS_BETTER))
        raise InvalidSpec(f"{field}: there is no metric {search.metric}; there are {known}", field=field)
    if not len(data.validation):
        raise InvalidSpec(f"{field}: a search needs a validation split, which is empty", field="spec.dataset")
    target = getattr(data, "target", None)
    if isinstance(target, Target):  # that of a forecast is told after the first trial
        gates.check_metric(
            search.metric, "validation", data.dataset, data.plan, target=target.column, classes=target.classes, at=field
        )
    if task.search is not None:
        space.check(task.training.trainer, search)
    journal = StoreJournal(context.store, join(task.training.run_root, "search", "journal"))
    study = open_study(journal, search, maximize=search.metric in HIGHER_IS_BETTER)
    count = wanted(search)

    def objective(trial: optuna.Trial, told: Report) -> float:
        summary = report.summary(study, search)
        context.tracker.scope = (summary.trials / count, 1 / count, f"trial {trial.number + 1} of {count}")
        context.tracker.search = summary
        trained = _train(_training(task, tried, trial), data, context, told)
        found = evaluate_splits(trained.predictor, data.dataset, ("validation",)).metrics["validation"]
        if search.metric not in found:
            raise InvalidSpec(
                f"{field}: there is no {search.metric} for this task; there are {', '.join(found)}", field=field
            )
        return found[search.metric]

    def ended(study: optuna.Study) -> None:
        context.tracker.search = report.summary(study, search)

    return Trials(
        study=study,
        search=search,
        worker=context.environment.pod_index,
        objective=objective,
        check=context.stop.check,
        told=ended,
    )


def _train(task: TrainModel, data: Data, context: Context, told: Report) -> Trained:
    """Train, or raise Unfit where these parameters alone are what cannot be trained."""
    try:
        return train(task, data, context, told)
    except (InvalidSpec, ModelInvalid) as error:
        raise Unfit(error.message, reason=error.reason) from error
    except Exception as error:  # each library has an error of its own for it
        if (advice := memory.explain(error)) is None:
            raise
        raise Unfit(advice, reason=FailureReason.OUT_OF_MEMORY) from error


def _space(task: SearchModel, data: Data) -> Space:
    if task.search is not None:
        return SpecSpace(task.training.family, task.training.trainer, task.search)
    return AutoSpace(_auto(task), has_validation=len(data.validation) > 0)


def _auto(task: SearchModel) -> AutoTrainer:
    assert task.auto is not None, "a search has parameters of its own, or is automatic"
    return task.auto


def _training(task: SearchModel, tried: Space, trial: optuna.trial.BaseTrial) -> TrainModel:
    """A trial's task: with checkpoints and metrics of its own, and the run's model as its result."""
    family, trainer = tried.trainer(trial)
    root = join(task.training.run_root, "trials", f"{trial.number:04d}")
    return task.training.model_copy(update={"family": family, "trainer": trainer, "run_root": root})
