"""The task of a run that tries several models, and in how many pods."""

from __future__ import annotations

from tidemill.api.v1alpha1.trainingrun import TrainingRunSpec
from tidemill.contract.tasks import BaseTask, SearchModel, TrainingTask, TrainLanguageModel
from tidemill.contract.trainers import BuiltInTrainer, Family, TabularTrainer
from tidemill.contract.trainers.auto import AutoTrainer


def begun_with(auto: AutoTrainer) -> tuple[Family, BuiltInTrainer]:
    """A trainer with the columns of an automatic one: what every trial of it has in common."""
    return "tabular", TabularTrainer(target=auto.target, features=auto.features, exclude=auto.exclude, seed=auto.seed)


def searching(spec: TrainingRunSpec, training: TrainingTask) -> tuple[BaseTask, int]:
    """The task of a run and its number of pods: the training itself, or a search that makes many of it."""
    auto = spec.trainer.automatic
    budget = spec.search or auto
    if budget is None or isinstance(training, TrainLanguageModel):
        return training, 1
    if auto is not None:
        training = training.model_copy(update={"stands_at": f"spec.trainer.auto{training.task}"})
    return SearchModel(owner=training.owner, training=training, search=spec.search, auto=auto), budget.parallel
