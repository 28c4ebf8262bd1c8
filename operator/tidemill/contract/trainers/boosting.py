"""The built-in gradient boosting of decision trees on columns."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.markers import cel, rules
from tidemill.contract.trainers.columns import COLUMN_RULES, ColumnTrainer
from tidemill.contract.trainers.trees import TreeGrowth

_QUANTILE = "loss Quantile needs quantile, which has no effect on another loss"


class BoostedTrainer(TreeGrowth, ColumnTrainer):
    """Gradient-boosted decision trees on columns (Friedman 2001), by LightGBM (Ke et al. 2017).

    Numbers need no scaling, missing values and categories are split on as they are. An epoch is ten trees, for several
    classes ten trees of each. Trees are trained on CPUs.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            *COLUMN_RULES, cel("(self.loss == 'Quantile') == has(self.quantile)", _QUANTILE, field=".quantile")
        )
    )

    loss: Literal["SquaredError", "AbsoluteError", "Huber", "Quantile"] = "SquaredError"
    """Regression only. Huber: squared below one standard deviation of the target, absolute above. Quantile: `quantile`."""
    quantile: float | None = Field(default=None, gt=0, lt=1)
    """What loss Quantile estimates: the value that so large a share of the targets lies below."""
    class_weights: Literal["None", "Balanced"] = "None"
    """Classification only. Balanced: every class weighs the same however rare it is; the probabilities are then no longer
    the classes' frequencies."""

    @model_validator(mode="after")
    def _quantile(self) -> Self:
        if (self.loss == "Quantile") != (self.quantile is not None):
            raise ValueError(_QUANTILE)
        return self
