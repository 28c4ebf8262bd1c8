"""Search for hyperparameters: what is tried, how, and when it ends. Part of TrainingRun's spec and of its task."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.markers import cel, check_exactly_one, exactly_one, list_map, list_set, rules

_ORDERED = cel("self.min < self.max", "min must be less than max", field=".min")


class FloatRange(Document):
    """A number between min and max, both included."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _ORDERED, cel("!self.log || self.min > 0.0", "a logarithmic range begins above 0", field=".min")
        )
    )

    min: float
    """The smallest value."""
    max: float
    """The greatest value."""
    log: bool = False
    """Orders of magnitude are equally likely: for learning rates and penalties."""


class IntRange(Document):
    """A whole number between min and max, both included."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _ORDERED, cel("!self.log || self.min > 0", "a logarithmic range begins above 0", field=".min")
        )
    )

    min: int
    """The smallest value."""
    max: int
    """The greatest value."""
    log: bool = False
    """Orders of magnitude are equally likely."""


class Parameter(Document):
    """One field of the trainer, and the values that it may take."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("float", "int", "choices")))

    name: Annotated[str, Field(pattern=r"^[a-z][A-Za-z0-9]{0,62}$")]
    """A field of the trainer: `learningRate`, `hiddenLayers` …"""
    float_: FloatRange | None = Field(default=None, alias="float")
    int_: IntRange | None = Field(default=None, alias="int")
    choices: tuple[Annotated[str, Field(max_length=256)], ...] | None = Field(
        default=None, min_length=2, max_length=64, json_schema_extra=list_set()
    )
    """Any of these, each written as in YAML: `0.5`, `Huber`, `[64, 32]`."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "float_", "int_", "choices")
        return self


class Search(Document):
    """Trainings with different parameters; the best one becomes the run's model.

    Trials share one Optuna study (Akiba et al., KDD 2019). A pod that is killed goes on with its trial where that was.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.parallel <= self.trials", "more pods than trials would idle", field=".parallel")
        )
    )

    parameters: tuple[Parameter, ...] = Field(min_length=1, max_length=32, json_schema_extra=list_map("name"))
    """What is searched; every other field of the trainer stays as it is."""
    metric: str = Field(pattern=r"^[a-z][A-Za-z0-9]{1,62}$")
    """Which metric of the validation split decides, such as `rmse` or `rocAuc`."""
    sampler: Literal["TPE", "Random", "Grid"] = "TPE"
    """TPE learns from the trials before (Bergstra et al. 2011), Random does not, Grid tries every combination of choices."""
    pruner: Literal["None", "Median", "Hyperband"] = "Median"
    """What ends hopeless trials early, by the validation loss of each epoch: Median of the trials before, or Hyperband
    (Li et al. 2018)."""
    trials: int = Field(default=20, ge=1, le=1000)
    """How many are made, those that were pruned included."""
    parallel: int = Field(default=1, ge=1, le=64)
    """Pods that make trials at the same time, each with the run's resources. With one, a search is repeatable."""
    timeout_seconds: int | None = Field(default=None, ge=60)
    """No trial begins later than so many seconds after the first one did; the best one until then is taken."""
    seed: int = 0
    """Seed of the sampler."""
