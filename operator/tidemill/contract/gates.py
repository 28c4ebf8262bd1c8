"""Metrics, and the bounds that a model must keep."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Column
from tidemill.contract.markers import bounds, cel, rules

RegressionMetric = Literal["mae", "rmse", "r2", "medianAbsoluteError", "p90AbsoluteError", "mape", "smape", "bias"]
ClassificationMetric = Literal[
    "accuracy", "f1Macro", "logLoss", "rocAuc", "balancedAccuracy", "rocAucOvrMacro", "averagePrecision",
    "averagePrecisionMacro", "brier", "expectedCalibrationError",
]  # fmt: skip
ForecastMetric = Literal[
    "mae", "rmse", "mase", "smape", "bias", "seasonalNaiveMae", "skill", "coverage", "intervalWidth", "quantileLoss",
]  # fmt: skip
LanguageMetric = Literal["loss", "perplexity"]
PreferenceMetric = Literal["loss", "rewardAccuracy", "rewardMargin"]
FairnessMeasure = Literal[
    "demographicParityDifference", "demographicParityRatio", "equalOpportunityDifference", "equalizedOddsDifference",
]  # fmt: skip
REGRESSION_METRICS: tuple[str, ...] = get_args(RegressionMetric)
CLASSIFICATION_METRICS: tuple[str, ...] = get_args(ClassificationMetric)
FORECAST_METRICS: tuple[str, ...] = get_args(ForecastMetric)
LANGUAGE_METRICS: tuple[str, ...] = get_args(LanguageMetric)
PREFERENCE_METRICS: tuple[str, ...] = get_args(PreferenceMetric)
FAIRNESS_MEASURES: tuple[str, ...] = get_args(FairnessMeasure)


class SliceReference(Document):
    """The rows with one value of a column of `evaluation.slices`."""

    column: Column
    """The column."""
    value: Annotated[str, Field(min_length=1, max_length=256)]
    """One of its most frequent values, `(other)` or `(missing)`; of a number a quarter of its range, `Q1` to `Q4`."""


class Gate(Document):
    """A bound that a metric must keep. A run whose model does not keep it fails with GateNotPassed; of a model in use a
    condition says so."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *bounds(),
            cel(f"(self.metric in {list(FAIRNESS_MEASURES)}) == has(self.group)",
                "group names the column whose groups a fairness measure compares: these need it, no other metric has it",
                field=".group"),
            cel("!has(self.group) || !has(self.slice)", "slice has no effect on a fairness measure", field=".slice"),
        )
    )  # fmt: skip

    metric: Literal[
        RegressionMetric, ClassificationMetric, ForecastMetric, LanguageMetric, PreferenceMetric, FairnessMeasure
    ]
    """Which metric of the evaluation; of a forecast also skill, the share of the seasonal-naive error that it saves, and
    coverage, the share of the values within its outermost quantiles. Or what lies between the groups of a column of
    `evaluation.fairness`: demographicParityDifference and demographicParityRatio of the rates at which they get the favorable
    class (a ratio of 0.8 is the four-fifths rule), equalOpportunityDifference of these rates where that class is right,
    equalizedOddsDifference the greater of that and of the same where it is wrong."""
    split: Literal["validation", "test"] = "test"
    """The split that it was computed on."""
    slice: SliceReference | None = None
    """Only these rows, instead of all."""
    group: Column | None = None
    """For a fairness measure: the column of `evaluation.fairness.groups` whose groups are compared."""
    min: float | None = None
    """The metric must be at least this."""
    max: float | None = None
    """The metric must be at most this."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("set min, max or both")
        return self

    def missed(self, value: float) -> str | None:
        """How a value breaks the bound, in words; None when it keeps it. NaN keeps none."""
        if self.min is not None and not value >= self.min:
            return f"is {value:.6g}, below the minimum {self.min:g}"
        if self.max is not None and not value <= self.max:
            return f"is {value:.6g}, above the maximum {self.max:g}"
        return None
