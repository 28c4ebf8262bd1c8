"""What trains: the union of all trainers, as `spec.trainer` of a TrainingRun has it."""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict, model_validator

from tidemill.contract.base import Document
from tidemill.contract.markers import cel, check_exactly_one, exactly_one, rules
from tidemill.contract.trainers import (
    BoostedTrainer,
    BuiltInTrainer,
    ContainerTrainer,
    Family,
    ForecastingTrainer,
    ImageTrainer,
    LanguageFamily,
    LanguageModelTrainer,
    LanguageTrainer,
    ModelTask,
    PreferenceTrainer,
    ScriptTrainer,
    TabularTrainer,
    TextTrainer,
)
from tidemill.contract.trainers.auto import AutoTrainer


def _no_loss(trainer: str) -> dict[str, Any]:
    return cel(
        f"!has(self.{trainer}) || self.{trainer}.loss == 'SquaredError'",
        "loss has no effect on a classification, which minimises cross entropy",
        field=f".{trainer}.loss",
    )


class Trainer(Document):
    """What trains."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("tabularRegression", "tabularClassification", "boostedRegression", "boostedClassification",
                "forecasting", "imageClassification", "autoRegression", "autoClassification", "textClassification",
                "languageModel", "preference", "container", "script"),
            _no_loss("tabularClassification"),
            _no_loss("boostedClassification"),
            cel("!has(self.boostedRegression) || self.boostedRegression.classWeights == 'None'",
                "classWeights has no effect on a regression, which has no classes",
                field=".boostedRegression.classWeights"),
        )
    )  # fmt: skip

    tabular_regression: TabularTrainer | None = None
    """A network that predicts a number."""
    tabular_classification: TabularTrainer | None = None
    """A network that predicts a class."""
    boosted_regression: BoostedTrainer | None = None
    """Boosted trees that predict a number."""
    boosted_classification: BoostedTrainer | None = None
    """Boosted trees that predict a class."""
    forecasting: ForecastingTrainer | None = None
    """Boosted trees that predict the next values of time series."""
    image_classification: ImageTrainer | None = None
    """A convolutional network that predicts what a picture shows."""
    auto_regression: AutoTrainer | None = None
    """Whatever predicts a number best."""
    auto_classification: AutoTrainer | None = None
    """Whatever predicts a class best."""
    text_classification: TextTrainer | None = None
    """A transformer that predicts a class from a text."""
    language_model: LanguageModelTrainer | None = None
    """A causal language model that learns from texts, or from prompts and completions."""
    preference: PreferenceTrainer | None = None
    """A causal language model that learns which of two answers is better."""
    container: ContainerTrainer | None = None
    """Any image by contract."""
    script: ScriptTrainer | None = None
    """A Python file of your own."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(
            self, "tabular_regression", "tabular_classification", "boosted_regression", "boosted_classification",
            "forecasting", "image_classification", "auto_regression", "auto_classification", "text_classification",
            "language_model", "preference", "container", "script",
        )  # fmt: skip
        return self

    @property
    def built_in(self) -> tuple[Family, BuiltInTrainer] | None:
        """The trainer of one family of models with that family, if this is one."""
        if trainer := self.tabular_regression or self.tabular_classification:
            return "tabular", trainer
        if self.forecasting:
            return "forecasting", self.forecasting
        if self.image_classification:
            return "image", self.image_classification
        if boosted := self.boosted_regression or self.boosted_classification:
            return "boosted", boosted
        return ("text", self.text_classification) if self.text_classification else None

    @property
    def language(self) -> tuple[LanguageFamily, LanguageTrainer] | None:
        """The trainer of causal language models with its name, if this is one."""
        if self.language_model:
            return "languageModel", self.language_model
        return ("preference", self.preference) if self.preference else None

    @property
    def base_version(self) -> tuple[str, str] | None:
        """The path of the field that names the ModelVersion whose weights are fine-tuned, and its name, if one does."""
        name, trainer = self.language or ("textClassification", self.text_classification)
        version = trainer.base.model_version if trainer else None
        return (f"spec.trainer.{name}.base.modelVersion", version) if version else None

    @property
    def transforms(self) -> bool:
        """Whether a transformer is trained, which is another image's business."""
        return self.text_classification is not None or self.language is not None

    @property
    def task(self) -> ModelTask | None:
        """What the model does; nothing with rows, if it is a language model."""
        if self.language:
            return None
        if self.own:
            return self.own.task
        if self.forecasting:
            return "Forecasting"
        number = self.tabular_regression or self.boosted_regression or self.auto_regression
        return "Regression" if number else "Classification"

    @property
    def own(self) -> ContainerTrainer | ScriptTrainer | None:
        """The user's own code, if this is such."""
        return self.container or self.script

    @property
    def automatic(self) -> AutoTrainer | None:
        """The trainer that chooses, if this is one."""
        return self.auto_regression or self.auto_classification
