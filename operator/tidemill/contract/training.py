"""How a model is trained and judged: trainers, checkpoints, gates. Part of TrainingRun's spec and of the train task alike."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.data import Column
from tidemill.contract.markers import cel, list_atomic, list_map, list_set, rules


class TabularTrainer(Document):
    """A feed-forward network on columns, with the preprocessing fitted on the training split and part of the ONNX graph."""

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
    epochs: int = Field(default=20, ge=1, le=100_000)
    batch_size: int = Field(default=512, ge=1, le=1_000_000)
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    """Stop when the validation loss has not fallen for so many epochs; the best weights are kept."""
    max_categories: int = Field(default=50, ge=2, le=10_000)
    """Categories a text column keeps; the rest become one."""
    loss: Literal["SquaredError", "AbsoluteError", "Huber"] = "SquaredError"
    """Regression only."""
    seed: int = 0


class EnvVar(Document):
    """A plain environment variable; secrets come through `envFromSecret`."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)
    value: str = Field(default="", max_length=4096)


class ContainerTrainer(Document):
    """Any image by contract.

    It finds `train.parquet`, `validation.parquet` and `test.parquet` in `$TIDEMILL_INPUT`, writes `model.onnx` and, if it
    likes, `metrics.json` ({"validation": {"mae": 1.0}, "test": {...}}) to `$TIDEMILL_OUTPUT`, and exits 0.
    """

    image: str = Field(min_length=1, max_length=512)
    command: tuple[str, ...] | None = Field(default=None, max_length=64, json_schema_extra=list_atomic())
    args: tuple[str, ...] | None = Field(default=None, max_length=64, json_schema_extra=list_atomic())
    env: tuple[EnvVar, ...] = Field(default=(), max_length=64, json_schema_extra=list_map("name"))
    env_from_secret: str | None = Field(default=None, max_length=253)
    target: Column
    """The column that the model predicts: the evaluation needs it."""
    task: Literal["Regression", "Classification"] = "Regression"


class Checkpoint(Document):
    """Training state is kept in the store so that a killed pod resumes."""

    every_epochs: int = Field(default=1, ge=1)


class Gate(Document):
    """A bound that a metric of the trained model must keep, or the run fails with GateNotPassed."""

    model_config = ConfigDict(json_schema_extra=rules(cel("has(self.min) || has(self.max)", "set min, max or both")))

    metric: Literal["mae", "rmse", "r2", "medianAbsoluteError", "accuracy", "f1Macro", "logLoss", "rocAuc"]
    split: Literal["validation", "test"] = "test"
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("set min, max or both")
        return self
