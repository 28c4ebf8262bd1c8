"""What trains: one file a trainer. Part of TrainingRun's spec and of the tasks alike."""

from typing import Literal

from tidemill.contract.trainers.boosting import BoostedTrainer
from tidemill.contract.trainers.columns import ColumnTrainer
from tidemill.contract.trainers.container import ContainerTrainer, EnvVar, OwnTrainer
from tidemill.contract.trainers.forecasting import ForecastingTrainer
from tidemill.contract.trainers.images import ImageTrainer
from tidemill.contract.trainers.languagemodel import LanguageModelTrainer
from tidemill.contract.trainers.network import TabularTrainer
from tidemill.contract.trainers.preference import PreferenceTrainer
from tidemill.contract.trainers.script import ScriptTrainer
from tidemill.contract.trainers.text import TextTrainer

__all__ = [
    "BUILT_IN",
    "LANGUAGE",
    "OWN",
    "BoostedTrainer",
    "BuiltInTrainer",
    "ColumnTrainer",
    "ContainerTrainer",
    "EnvVar",
    "Family",
    "ForecastingTrainer",
    "ImageTrainer",
    "LanguageFamily",
    "LanguageModelTrainer",
    "LanguageTrainer",
    "ModelTask",
    "OwnCode",
    "OwnTrainer",
    "PreferenceTrainer",
    "ScriptTrainer",
    "TabularTrainer",
    "TextTrainer",
]

ModelTask = Literal["Regression", "Classification", "Forecasting"]
"""What a trained model does."""
Family = Literal["tabular", "boosted", "forecasting", "image", "text"]
"""A built-in trainer; with the task it is the name in `spec.trainer`: tabularRegression, boostedClassification …; a forecast is
one by its name alone."""
BuiltInTrainer = TabularTrainer | BoostedTrainer | ForecastingTrainer | ImageTrainer | TextTrainer
BUILT_IN: dict[Family, type[BuiltInTrainer]] = {
    "tabular": TabularTrainer,
    "boosted": BoostedTrainer,
    "forecasting": ForecastingTrainer,
    "image": ImageTrainer,
    "text": TextTrainer,
}

LanguageFamily = Literal["languageModel", "preference"]
"""A trainer of causal language models, by its name in `spec.trainer`."""
LanguageTrainer = LanguageModelTrainer | PreferenceTrainer
LANGUAGE: dict[LanguageFamily, type[LanguageTrainer]] = {
    "languageModel": LanguageModelTrainer,
    "preference": PreferenceTrainer,
}

OwnCode = Literal["container", "script"]
"""Code of the user's own, by its name in `spec.trainer`."""
OWN: dict[OwnCode, type[ContainerTrainer] | type[ScriptTrainer]] = {
    "container": ContainerTrainer,
    "script": ScriptTrainer,
}
