"""How a model is trained and judged: trainers, checkpoints, gates. Part of TrainingRun's spec and of the train task alike."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Column
from tidemill.contract.markers import bounds, cel, list_atomic, list_map, list_set, rules


class TabularTrainer(Document):
    """A feed-forward network on columns, with the preprocessing fitted on the training split and part of the ONNX graph."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!has(self.features) || !(self.target in self.features)", "the target cannot be a feature",
                field=".features"),
            cel("!has(self.features) || !has(self.exclude) || self.exclude.size() == 0",
                "exclude has no effect beside features", field=".exclude"),
        )
    )  # fmt: skip

    target: Column
    """The column to predict."""
    features: tuple[Column, ...] | None = Field(
        default=None, min_length=1, max_length=512, json_schema_extra=list_set()
    )
    """Columns to learn from; by default all but the target and internal ones."""
    exclude: tuple[Column, ...] = Field(default=(), max_length=512, json_schema_extra=list_set())
    """Columns to leave out of the default features."""
    hidden_layers: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
        default=(64, 32), max_length=16, json_schema_extra=list_atomic()
    )
    """Units of each hidden layer; none gives a linear model."""
    epochs: int = Field(default=20, ge=1, le=100_000)
    """Passes over the training split, at most."""
    batch_size: int = Field(default=512, ge=1, le=1_000_000)
    """Rows of one optimiser step."""
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    """Step size of the optimiser."""
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    """Pulls the weights towards zero."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the hidden units that are dropped in training."""
    patience: int | None = Field(default=None, ge=1)
    """Stop when the validation loss has not fallen for so many epochs; the best weights are kept."""
    max_categories: int = Field(default=50, ge=2, le=10_000)
    """Categories a text column keeps; the rest become one."""
    loss: Literal["SquaredError", "AbsoluteError", "Huber"] = "SquaredError"
    """Regression only."""
    seed: int = 0
    """Seed of initial weights, dropout and the order of rows."""


class EnvVar(Document):
    """A plain environment variable; secrets come through `envFromSecret`."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)
    """Name of the variable."""
    value: str = Field(default="", max_length=4096)
    """Its value."""


class ContainerTrainer(Document):
    """Any image by contract.

    It finds `train.parquet`, `validation.parquet` and `test.parquet` in `$TIDEMILL_INPUT`, writes `model.onnx` and, if it
    likes, `metrics.json` ({"validation": {"mae": 1.0}, "test": {...}}) to `$TIDEMILL_OUTPUT`, and exits 0.
    """

    image: str = Field(min_length=1, max_length=512)
    """The image, best by digest."""
    command: tuple[str, ...] | None = Field(default=None, max_length=64, json_schema_extra=list_atomic())
    """Entry point, instead of the image's."""
    args: tuple[str, ...] | None = Field(default=None, max_length=64, json_schema_extra=list_atomic())
    """Arguments, instead of the image's."""
    env: tuple[EnvVar, ...] = Field(default=(), max_length=64, json_schema_extra=list_map("name"))
    """Environment variables."""
    env_from_secret: str | None = Field(default=None, max_length=253)
    """A Secret of the same namespace whose keys become environment variables."""
    target: Column
    """The column that the model predicts: the evaluation needs it."""
    task: Literal["Regression", "Classification"] = "Regression"
    """What the model does: it decides which metrics are computed."""


class Checkpoint(Document):
    """Training state is kept in the store so that a killed pod resumes."""

    every_epochs: int = Field(default=1, ge=1)
    """A checkpoint is stored after every so many epochs."""


REGRESSION_METRICS = ("mae", "rmse", "r2", "medianAbsoluteError")
CLASSIFICATION_METRICS = ("accuracy", "f1Macro", "logLoss", "rocAuc")


class Gate(Document):
    """A bound that a metric of the trained model must keep, or the run fails with GateNotPassed."""

    model_config = ConfigDict(json_schema_extra=rules(*bounds()))

    metric: Literal["mae", "rmse", "r2", "medianAbsoluteError", "accuracy", "f1Macro", "logLoss", "rocAuc"]
    """Which metric of the evaluation."""
    split: Literal["validation", "test"] = "test"
    """The split that it was computed on."""
    min: float | None = None
    """The metric must be at least this."""
    max: float | None = None
    """The metric must be at most this."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("set min, max or both")
        return self
