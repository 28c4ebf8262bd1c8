"""The built-in network on columns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tidemill.contract.features import TARGET_TRANSFORMED, Preprocessing
from tidemill.contract.markers import list_atomic, rules
from tidemill.contract.trainers.columns import COLUMN_RULES, ColumnTrainer
from tidemill.contract.trainers.descent import Descent


class TabularTrainer(Descent, ColumnTrainer):
    """A feed-forward network on columns, with the preprocessing fitted on the training split and part of the ONNX graph."""

    model_config = ConfigDict(json_schema_extra=rules(*COLUMN_RULES, TARGET_TRANSFORMED))

    preprocessing: Preprocessing | None = None
    """How columns become the network's features: fitted on the training split, part of the ONNX graph.

    Numbers that no entry names are standardised, the median for missing ones; text is embedded by its most frequent categories.
    """
    hidden_layers: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
        default=(64, 32), max_length=16, json_schema_extra=list_atomic()
    )
    """Units of each hidden layer; none gives a linear model."""
    max_categories: int = Field(default=50, ge=2, le=10_000)
    """Categories a text column keeps; the rest become one."""
    loss: Literal["SquaredError", "AbsoluteError", "Huber"] = "SquaredError"
    """Regression only."""
