"""What is measured and explained of a model. Part of TrainingRun's and Deployment's specs and of the tasks alike."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tidemill.contract.base import Document
from tidemill.contract.columns import Column
from tidemill.contract.markers import cel, list_set, rules

ClassName = Annotated[str, Field(min_length=1, max_length=256)]


class FairnessOptions(Document):
    """Groups of people (or of anything) that are compared with each other.

    Of a classification: how often each group gets the favorable class, and how often it does where that is right (Hardt,
    Price & Srebro 2016). Of a regression: mean prediction, error and bias of each group.
    """

    groups: tuple[Column, ...] = Field(min_length=1, max_length=8, json_schema_extra=list_set())
    """Columns whose values are the groups: text, whole numbers or booleans, at most 20 values each. They need not be
    features."""
    favorable: ClassName | None = None
    """The class that is good to get. A classification needs it, a regression has none."""


class ConfidenceOptions(Document):
    """Intervals around the metrics of the validation and the test split, by the percentile bootstrap (Efron 1979)."""

    level: float = Field(default=0.95, ge=0.5, le=0.999)
    """Share of such intervals that hold the true value."""
    resamples: int = Field(default=1000, ge=0, le=10_000)
    """How often the rows are drawn anew; 0 leaves the intervals out. A thousand take a
    CPU about half a second a split."""


class ExplainOptions(Document):
    """Which columns matter to the model, measured on the ONNX model itself, whatever trained it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.method == 'SHAP' || !has(self.shapRows)", "shapRows has no effect unless method is SHAP",
                field=".shapRows"),
        )
    )  # fmt: skip

    method: Literal["Permutation", "SHAP", "None"] = "Permutation"
    """Permutation: how much the error grows when a column's values are shuffled among the rows (Breiman 2001), five times.
    SHAP: besides that, the share of every column in single predictions (Shapley values; Lundberg & Lee 2017)."""
    rows: int = Field(default=2000, ge=10, le=20_000)
    """Rows of the validation split whose values are shuffled, at most."""
    shap_rows: int | None = Field(default=None, ge=1, le=500)
    """Rows of the validation split whose predictions are explained one by one, at most; by default 100."""


class ThresholdOptions(Document):
    """From which probability on a row should count as positive, for a classification of two classes.

    It is chosen on the validation split and reported with its figures there and on the test split. The model is left as it
    is: its label stays the likelier class. Whoever uses the probabilities applies the threshold.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("(self.choose == 'MaxF1') != has(self.atLeast)",
                "MinPrecision and MinRecall need atLeast; it has no effect on MaxF1", field=".atLeast"),
        )
    )  # fmt: skip

    positive: ClassName | None = None
    """The class that is looked for; by default the second of the two, as rocAuc has it."""
    choose: Literal["MaxF1", "MinPrecision", "MinRecall"] = "MaxF1"
    """MaxF1: the greatest F1. MinPrecision: the most recall with at least such a precision. MinRecall: the reverse."""
    at_least: float | None = Field(default=None, gt=0, le=1)
    """The precision or recall that must be kept."""


class ReportOptions(Document):
    """What is measured and explained besides the metrics, for evaluation.json, evaluation.html and explanation.json."""

    slices: tuple[Column, ...] = Field(default=(), max_length=16, json_schema_extra=list_set())
    """Columns by which the metrics are also told apart: numbers are cut at the training split's quartiles (Q1 to Q4), of
    texts and booleans its ten most frequent values are taken. They need not be features."""
    fairness: FairnessOptions | None = None
    confidence: ConfidenceOptions = ConfidenceOptions()
    explain: ExplainOptions = ExplainOptions()
    threshold: ThresholdOptions | None = None
    html: bool = True
    """Also as a self-contained HTML page."""
    pictures: bool = True
    """Every picture also as a PNG file below `evaluation/`."""


class EvaluationOptions(ReportOptions):
    """What is measured and explained besides the metrics, for evaluation.json, evaluation.html and explanation.json, of a model
    that was just trained."""

    compare_with: Literal["Production"] | None = None
    """Production: the version that is in Production when the Job is made is judged on the same rows, and the difference told
    with its interval. Nothing depends on it; for that see DriftPolicy."""
