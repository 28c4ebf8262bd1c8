"""Tasks: what the operator asks of a Job's pod, one JSON document each (at most 10 kB, given as a pod annotation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationInfo

from tidemill.contract.base import Document
from tidemill.contract.basetask import BaseTask as BaseTask
from tidemill.contract.checkpoint import Checkpoint
from tidemill.contract.datasettasks import PrepareDataset as PrepareDataset
from tidemill.contract.datasettasks import PruneDataset as PruneDataset
from tidemill.contract.datasettasks import ResolvedInferenceLog as ResolvedInferenceLog
from tidemill.contract.datasettasks import ResolvedInput as ResolvedInput
from tidemill.contract.evaluating import EvaluationOptions, ReportOptions
from tidemill.contract.gates import Gate
from tidemill.contract.optimisation import Export, Optimisation
from tidemill.contract.references import ArtifactRef as ArtifactRef
from tidemill.contract.references import ModelRef as ModelRef
from tidemill.contract.references import ObjectRef as ObjectRef
from tidemill.contract.searching import Search
from tidemill.contract.tracking import Tracking
from tidemill.contract.trainers import (
    BUILT_IN,
    LANGUAGE,
    OWN,
    BuiltInTrainer,
    ContainerTrainer,
    Family,
    LanguageFamily,
    LanguageTrainer,
    ModelTask,
    OwnCode,
    ScriptTrainer,
)
from tidemill.contract.trainers.auto import AutoTrainer


def _of_kind(by: str, kinds: Mapping[Any, type[Document]]) -> BeforeValidator:
    """For a union whose members share most of their fields: the field `by`, which stands before, says which one it is."""

    def chosen(value: Any, info: ValidationInfo) -> Any:
        kind = kinds.get(info.data.get(by))
        return value if kind is None or isinstance(value, Document) else kind.model_validate(value)

    return BeforeValidator(chosen)


class TrainModel(BaseTask):
    """Train a built-in trainer and store the model artifact at `model_root`; checkpoints and metrics under `run_root`."""

    type: Literal["TrainModel"] = "TrainModel"
    task: ModelTask
    dataset: ArtifactRef
    family: Family = "tabular"
    trainer: Annotated[BuiltInTrainer, _of_kind("family", BUILT_IN)]
    checkpoint: Checkpoint = Checkpoint()
    gates: tuple[Gate, ...] = ()
    evaluation: EvaluationOptions = EvaluationOptions()
    production: ModelRef | None = None
    """What was in Production when the Job was made, for `evaluation.compareWith`."""
    tracking: Tracking | None = None
    run_root: str
    model_root: str
    stands_at: str | None = None
    """The trainer's path in the spec, where it is not that of its family."""
    base: ModelRef | None = None
    """The model whose weights a fine-tuning begins with, when the spec names a ModelVersion."""

    @property
    def trainer_name(self) -> str:
        """Of the family's trainer for this task, as in the spec."""
        return f"{self.family}{'' if self.task == 'Forecasting' else self.task}"

    @property
    def field(self) -> str:
        """The trainer's path in the spec."""
        return self.stands_at or f"spec.trainer.{self.trainer_name}"


class TrainLanguageModel(BaseTask):
    """Train a causal language model and store it at `model_root`; checkpoints and metrics under `run_root`."""

    type: Literal["TrainLanguageModel"] = "TrainLanguageModel"
    dataset: ArtifactRef
    family: LanguageFamily
    trainer: Annotated[LanguageTrainer, _of_kind("family", LANGUAGE)]
    base: ModelRef | None = None
    """As for TrainModel."""
    checkpoint: Checkpoint = Checkpoint()
    gates: tuple[Gate, ...] = ()
    evaluation: ReportOptions = ReportOptions()
    tracking: Tracking | None = None
    run_root: str
    model_root: str

    @property
    def trainer_name(self) -> str:
        """As in the spec."""
        return self.family

    @property
    def field(self) -> str:
        """The trainer's path in the spec."""
        return f"spec.trainer.{self.trainer_name}"


TrainingTask = TrainModel | TrainLanguageModel
"""Tasks that train: they resume from the same checkpoints and are tracked alike."""


class SearchModel(BaseTask):
    """Train with many parameters, and store the best model as `training` says. Exactly one of search and auto is set."""

    type: Literal["SearchModel"] = "SearchModel"
    training: TrainModel
    """What every trial does, with other parameters; of an automatic search the trainer is chosen, too."""
    search: Search | None = None
    auto: AutoTrainer | None = None

    @property
    def field(self) -> str:
        """Where the search stands in the spec."""
        return "spec.search" if self.search else f"spec.trainer.auto{self.training.task}"


class FetchDataset(BaseTask):
    """Lay out what a user's own code needs: `<work dir>/input` with a dataset's verified files, `output`, `checkpoint` with
    what an earlier pod of the run left, and `code` with the file of a script trainer."""

    type: Literal["FetchDataset"] = "FetchDataset"
    dataset: ArtifactRef
    script: ScriptTrainer | None = None
    run_root: str


class PublishModel(BaseTask):
    """Take `<work dir>/output/model.onnx` of a user's own code, evaluate it, and store it as a model artifact."""

    type: Literal["PublishModel"] = "PublishModel"
    dataset: ArtifactRef
    kind: OwnCode = "container"
    trainer: Annotated[ContainerTrainer | ScriptTrainer, _of_kind("kind", OWN)]
    gates: tuple[Gate, ...] = ()
    evaluation: EvaluationOptions = EvaluationOptions()
    production: ModelRef | None = None
    """As for TrainModel."""
    run_root: str
    model_root: str

    @property
    def field(self) -> str:
        """The trainer's path in the spec."""
        return f"spec.trainer.{self.kind}"


class WatchTraining(BaseTask):
    """While a user's own code trains: tell how far it is, and keep its metrics and checkpoints under the run's folder."""

    type: Literal["WatchTraining"] = "WatchTraining"
    training: PublishModel
    """What follows it in the pod."""


class VerifyModel(BaseTask):
    """Check every file of a model artifact against its manifest, the ONNX graph, and one real inference."""

    type: Literal["VerifyModel"] = "VerifyModel"
    artifact: ArtifactRef


class OptimiseModel(BaseTask):
    """Make one optimised variant and measure it against the original."""

    type: Literal["OptimiseModel"] = "OptimiseModel"
    artifact: ArtifactRef
    dataset: ArtifactRef | None = None
    """Its test split measures the error; without it the calibration rows compare outputs with the original's."""
    optimisation: Optimisation
    root: str


class ExportModel(BaseTask):
    """Export to an edge format and measure parity."""

    type: Literal["ExportModel"] = "ExportModel"
    artifact: ArtifactRef
    export: Export
    root: str


class ScoreBatch(BaseTask):
    """Score every row of a dataset to parquet under `<root>/<digest hex>/`."""

    type: Literal["ScoreBatch"] = "ScoreBatch"
    artifact: ArtifactRef
    dataset: ArtifactRef
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")
    root: str


class PublishEdge(BaseTask):
    """Publish an edge bundle: the exported model, its signature and a manifest with hashes, under `<root>/<digest hex>/`."""

    type: Literal["PublishEdge"] = "PublishEdge"
    model: str
    version: int
    export: ArtifactRef
    format: Literal["OpenVINO"]
    root: str


class CompareModels(BaseTask):
    """Evaluate champion and challenger on the same split of the same dataset."""

    type: Literal["CompareModels"] = "CompareModels"
    champion: ArtifactRef
    challenger: ArtifactRef
    dataset: ArtifactRef
    split: Literal["validation", "test"] = "test"
    metric: str
    root: str


class EvaluateModel(BaseTask):
    """Judge the model in use on a version of a dataset, and store the report that a training writes under
    `<root>/<digest hex>/`."""

    type: Literal["EvaluateModel"] = "EvaluateModel"
    model: ModelRef
    dataset: ArtifactRef
    dataset_name: str
    """As it appears in messages."""
    trained_on: ArtifactRef | None = None
    """What the model was trained on, where that is known: its training split says how columns are cut into slices, so that
    `Q1` is the same range on every version."""
    evaluation: ReportOptions = ReportOptions()
    gates: tuple[Gate, ...] = ()
    root: str


Task = Annotated[
    PrepareDataset
    | PruneDataset
    | TrainModel
    | TrainLanguageModel
    | SearchModel
    | FetchDataset
    | PublishModel
    | WatchTraining
    | VerifyModel
    | OptimiseModel
    | ExportModel
    | ScoreBatch
    | PublishEdge
    | CompareModels
    | EvaluateModel,
    Field(discriminator="type"),
]
TASK: TypeAdapter[Task] = TypeAdapter(Task)
"""Parses any task: `TASK.validate_json(text)`."""
