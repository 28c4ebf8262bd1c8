"""Training without choosing a trainer: several families of models are tried within a budget."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from tidemill.contract.markers import cel, list_set, rules
from tidemill.contract.trainers.columns import COLUMN_RULES, ColumnTrainer

AutoFamily = Literal["Linear", "Network", "Boosting"]


class AutoTrainer(ColumnTrainer):
    """Tries families of models and their parameters within a budget, and keeps the best model by the validation split.

    What it chose stands in status and, as code that can be reviewed and run, beside the model (`train.py`, `config.yaml`).
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            *COLUMN_RULES, cel("self.parallel <= self.trials", "more pods than trials would idle", field=".parallel")
        )
    )

    families: tuple[AutoFamily, ...] = Field(
        default=("Linear", "Network", "Boosting"), min_length=1, max_length=3, json_schema_extra=list_set()
    )
    """Which are tried: Linear (a network without hidden layers), Network, Boosting (of decision trees)."""
    metric: str | None = Field(default=None, pattern=r"^[a-z][A-Za-z0-9]{1,62}$")
    """Which metric of the validation split decides; by default rmse for a regression, logLoss for a classification."""
    trials: int = Field(default=30, ge=1, le=1000)
    """How many models are tried, those that were given up early included."""
    parallel: int = Field(default=1, ge=1, le=64)
    """Pods that try models at the same time, each with the run's resources. With one, the outcome is repeatable."""
    timeout_seconds: int | None = Field(default=None, ge=60)
    """No trial begins later than so many seconds after the first one did."""
    seed: int = 0
    """Seed of everything that is drawn."""
