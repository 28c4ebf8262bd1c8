"""Tasks: what the operator asks of a Job's pod, one JSON document each (at most 10 kB, given as a pod annotation)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tidemill.contract.base import Document
from tidemill.contract.canonical import digest, short
from tidemill.contract.expectations import Expectation
from tidemill.contract.optimisation import Export, Optimisation
from tidemill.contract.profiling import ProfileOptions
from tidemill.contract.sources import InferenceLogSource, S3Source
from tidemill.contract.split import Split
from tidemill.contract.steps import Transform
from tidemill.contract.training import Checkpoint, ContainerTrainer, Gate, TabularTrainer


class ArtifactRef(Document):
    """An immutable artifact: its folder and the digest of its manifest."""

    uri: str = Field(pattern=r"^s3://.+$", max_length=1024)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class ObjectRef(Document):
    """The resource on whose behalf a task runs, as it appears in messages."""

    kind: str
    namespace: str
    name: str
    uid: str = ""
    generation: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class ResolvedInferenceLog(Document):
    """An inference log with the folder it lies in."""

    root: str
    source: InferenceLogSource


class ResolvedInput(Document):
    """A named input whose place is known: exactly one of s3, dataset, inferenceLog."""

    name: str
    s3: S3Source | None = None
    dataset: ArtifactRef | None = None
    inference_log: ResolvedInferenceLog | None = None


class BaseTask(Document):
    """What every task has."""

    owner: ObjectRef

    @property
    def task_id(self) -> str:
        """Twelve hexadecimal digits that name this very task: same document, same id."""
        return short(digest(self.model_dump(mode="json", by_alias=True, exclude_none=True)))


class PrepareDataset(BaseTask):
    """Read the inputs, transform, check, split, profile, and store an immutable version under `<root>/<digest hex>/`."""

    type: Literal["PrepareDataset"] = "PrepareDataset"
    root: str
    inputs: tuple[ResolvedInput, ...]
    transform: Transform | None = None
    expectations: tuple[Expectation, ...] = ()
    split: Split
    profile: ProfileOptions = ProfileOptions()


class TrainModel(BaseTask):
    """Train a built-in trainer and store the model artifact at `model_root`; checkpoints and metrics under `run_root`."""

    type: Literal["TrainModel"] = "TrainModel"
    task: Literal["Regression", "Classification"]
    dataset: ArtifactRef
    trainer: TabularTrainer
    checkpoint: Checkpoint = Checkpoint()
    gates: tuple[Gate, ...] = ()
    run_root: str
    model_root: str


class FetchDataset(BaseTask):
    """Download a dataset's verified files into `<work dir>/input` for a user's own container."""

    type: Literal["FetchDataset"] = "FetchDataset"
    dataset: ArtifactRef


class PublishModel(BaseTask):
    """Take `<work dir>/output/model.onnx` of a user's own container, evaluate it, and store it as a model artifact."""

    type: Literal["PublishModel"] = "PublishModel"
    dataset: ArtifactRef
    trainer: ContainerTrainer
    gates: tuple[Gate, ...] = ()
    model_root: str


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


Task = Annotated[
    PrepareDataset
    | TrainModel
    | FetchDataset
    | PublishModel
    | VerifyModel
    | OptimiseModel
    | ExportModel
    | ScoreBatch
    | PublishEdge
    | CompareModels,
    Field(discriminator="type"),
]
TASK: TypeAdapter[Task] = TypeAdapter(Task)
"""Parses any task: `TASK.validate_json(text)`."""
