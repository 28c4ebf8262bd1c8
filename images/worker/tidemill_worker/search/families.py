"""The search space of `auto…` trainers: families of models, each with the parameters that matter most for it.

Ranges follow what tuned benchmarks of tabular models found worth varying (Grinsztajn et al., NeurIPS 2022; Gorishniy et al.,
NeurIPS 2021), cut to what trains in minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import optuna

from tidemill.contract.searching import Parameter, Search
from tidemill.contract.trainers import BoostedTrainer, BuiltInTrainer, Family, ModelTask, TabularTrainer
from tidemill.contract.trainers.auto import AutoFamily, AutoTrainer

FAMILY = "family"
_PATIENCE = 5
_LAYERS = {"32": (32,), "64-32": (64, 32), "128-64": (128, 64), "256-128": (256, 128)}


@dataclass(frozen=True, slots=True)
class AutoSpace:
    """First a family, then its parameters; a parameter's name begins with its family's."""

    auto: AutoTrainer
    has_validation: bool
    """Without validation rows there is nothing to stop early by."""

    def trainer(self, trial: optuna.trial.BaseTrial) -> tuple[Family, BuiltInTrainer]:
        """What the trial trains."""
        chosen = cast(AutoFamily, trial.suggest_categorical(FAMILY, self.auto.families))
        common: dict[str, Any] = {
            "target": self.auto.target,
            "features": self.auto.features,
            "exclude": self.auto.exclude,
            "seed": self.auto.seed,
            "patience": _PATIENCE if self.has_validation else None,
        }
        if chosen == "Linear":
            return "tabular", TabularTrainer(**common, **_linear(trial))
        if chosen == "Network":
            return "tabular", TabularTrainer(**common, **_network(trial))
        return "boosted", BoostedTrainer(**common, **_boosting(trial))


def _linear(trial: optuna.trial.BaseTrial) -> dict[str, Any]:
    return {
        "hidden_layers": (),
        "epochs": 60,
        "learning_rate": trial.suggest_float("linear.learningRate", 1e-3, 0.1, log=True),
        "weight_decay": trial.suggest_float("linear.weightDecay", 1e-5, 1.0, log=True),
    }


def _network(trial: optuna.trial.BaseTrial) -> dict[str, Any]:
    return {
        "hidden_layers": _LAYERS[trial.suggest_categorical("network.hiddenLayers", tuple(_LAYERS))],
        "epochs": 60,
        "batch_size": trial.suggest_categorical("network.batchSize", (128, 512, 2048)),
        "learning_rate": trial.suggest_float("network.learningRate", 1e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_float("network.weightDecay", 1e-6, 1e-1, log=True),
        "dropout": trial.suggest_float("network.dropout", 0.0, 0.5),
    }


def _boosting(trial: optuna.trial.BaseTrial) -> dict[str, Any]:
    return {
        "trees": 1000,
        "learning_rate": trial.suggest_float("boosting.learningRate", 0.01, 0.3, log=True),
        "max_leaves": trial.suggest_int("boosting.maxLeaves", 8, 256, log=True),
        "min_rows_per_leaf": trial.suggest_int("boosting.minRowsPerLeaf", 5, 200, log=True),
        "subsample": trial.suggest_float("boosting.subsample", 0.5, 1.0),
        "feature_fraction": trial.suggest_float("boosting.featureFraction", 0.5, 1.0),
        "l2": trial.suggest_float("boosting.l2", 1e-3, 100.0, log=True),
    }


def search_of(auto: AutoTrainer, task: ModelTask) -> Search:
    """The search that an `auto…` trainer stands for; its parameters are the space's own."""
    return Search(
        parameters=(Parameter(name=FAMILY, choices=tuple(f"{name}" for name in ("Linear", "Network", "Boosting"))),),
        metric=auto.metric or ("rmse" if task == "Regression" else "logLoss"),
        trials=auto.trials,
        parallel=auto.parallel,
        timeout_seconds=auto.timeout_seconds,
        seed=auto.seed,
    )
