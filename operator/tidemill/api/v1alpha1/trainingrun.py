"""TrainingRun: one training, from a dataset version to a model version."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.api.base import AGE_COLUMN, READY_COLUMNS, Column, Digest, Names, ObjectName, Resource, Status, Time
from tidemill.api.v1alpha1.common import JobOptions, NodePlacement, Resources, VersionReference
from tidemill.api.v1alpha1.modelversion import ModelTemplate
from tidemill.contract.base import Document
from tidemill.contract.markers import cel, check_exactly_one, exactly_one, immutable, list_atomic, rules
from tidemill.contract.results import Progress
from tidemill.contract.training import (
    CLASSIFICATION_METRICS,
    REGRESSION_METRICS,
    Checkpoint,
    ContainerTrainer,
    Gate,
    TabularTrainer,
)


class DatasetReference(Document):
    """The Dataset to train on: the version that is newest when the run starts, or a fixed one."""

    name: ObjectName
    """A Dataset of the same namespace."""
    digest: Digest | None = None
    """A fixed version; without it the newest one."""


class Trainer(Document):
    """What trains."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("tabularRegression", "tabularClassification", "container"),
            cel(
                "!has(self.tabularClassification) || self.tabularClassification.loss == 'SquaredError'",
                "loss has no effect on a classification, which minimises cross entropy",
                field=".tabularClassification.loss",
            ),
        )
    )

    tabular_regression: TabularTrainer | None = None
    """A network that predicts a number."""
    tabular_classification: TabularTrainer | None = None
    """A network that predicts a class."""
    container: ContainerTrainer | None = None
    """Any image by contract."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "tabular_regression", "tabular_classification", "container")
        return self


def _gates(trainer: str, metrics: tuple[str, ...], kind: str) -> dict[str, Any]:
    """A built-in trainer's model is judged by its own metrics; a container's `metrics.json` may bring others."""
    return cel(
        f"!has(self.trainer.{trainer}) || !has(self.gates) || self.gates.all(g, g.metric in {list(metrics)})",
        f"a gate on a {kind} must name one of its metrics: {', '.join(metrics)}",
        field=".gates",
    )


class TrainingRunSpec(Document):
    """What is trained on what. Dataset, trainer and model cannot change once the run exists: a run is a record.

    When it has ended, well or not, it is never tried again and edits have no effect. A built-in trainer whose pod is lost
    goes on from its checkpoint. A container trains from its start in every new pod of its Job, and when its Job is deleted
    before its result was read: let it keep checkpoints in a store of its own if that is dear. Once it has trained, a store
    that does not answer is waited for up to a day.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.trainer.container) || !has(self.checkpoint)",
                "checkpoint has no effect on a container trainer: it keeps its own checkpoints",
                field=".checkpoint",
            ),
            cel("has(self.checkpoint) == has(oldSelf.checkpoint)", "checkpoint is immutable: create a new object instead",
                field=".checkpoint"),
            cel("has(self.queueName) == has(oldSelf.queueName)", "queueName is immutable: create a new object instead",
                field=".queueName"),
            _gates("tabularRegression", REGRESSION_METRICS, "regression"),
            _gates("tabularClassification", CLASSIFICATION_METRICS, "classification"),
            cel("has(self.trainer.container) || !has(self.resources.gpu) || self.resources.gpu.count == 1",
                "the built-in trainers use one GPU: more would only be held", field=".resources.gpu.count"),
        )
    )  # fmt: skip

    dataset: Annotated[DatasetReference, Field(json_schema_extra=rules(immutable("dataset")))]
    model: Annotated[ModelTemplate, Field(json_schema_extra=rules(immutable("model")))]
    trainer: Annotated[Trainer, Field(json_schema_extra=rules(immutable("trainer")))]
    checkpoint: Annotated[Checkpoint | None, Field(json_schema_extra=rules(immutable("checkpoint")))] = None
    gates: Annotated[
        tuple[Gate, ...],
        Field(max_length=16, json_schema_extra=rules(immutable("gates"), x_kubernetes_list_type="atomic")),
    ] = ()
    """Bounds that the trained model must keep."""
    resources: Resources = Resources(cpu="1", memory="2Gi")
    placement: NodePlacement = NodePlacement()
    job: JobOptions = JobOptions()
    suspend: bool = False
    """The Job is created suspended, or suspended while it runs; with a queue, Kueue decides instead."""
    queue_name: Annotated[ObjectName | None, Field(json_schema_extra=rules(immutable("queueName")))] = None
    """A Kueue LocalQueue: the Job carries its label and starts suspended until Kueue admits it."""


class TrainingRunStatus(Status):
    """Where the run is. Condition types: Ready, Reconciling, Stalled."""

    dataset_digest: Digest | None = None
    """Digest of the version that is trained on."""
    dataset_uri: str | None = None
    """The version that is trained on, fixed when the run starts."""
    job_name: str | None = None
    """The Job that trains."""
    attempts: int = 0
    """Pods that were started."""
    progress: Progress | None = None
    """What the running Job said last."""
    metrics: dict[str, dict[str, float]] = {}
    """By split and metric, when the run has finished."""
    artifact_uri: str | None = None
    """The model artifact's folder in the store."""
    artifact_digest: Digest | None = None
    """Digest of its manifest."""
    model_version: VersionReference | None = None
    """The ModelVersion that the run left."""
    started_at: Time | None = None
    """When the Job was made."""
    finished_at: Time | None = None
    """When it ended."""
    warnings: tuple[str, ...] = Field(default=(), max_length=10, json_schema_extra=list_atomic())
    """What should be looked at although the run goes on."""


class TrainingRun(Resource[TrainingRunSpec, TrainingRunStatus]):
    """A TrainingRun trains one model on one dataset version by a Job, and leaves a ModelVersion."""

    NAMES: ClassVar[Names] = Names(
        kind="TrainingRun",
        plural="trainingruns",
        singular="trainingrun",
        short=("tmrun",),
        columns=(
            *READY_COLUMNS,
            Column("Model", ".spec.model.name"),
            Column("Version", ".status.modelVersion.version", "integer"),
            Column("Epoch", ".status.progress.epoch", "integer"),
            Column("Loss", ".status.progress.loss", "number", priority=1),
            AGE_COLUMN,
        ),
    )
    status: TrainingRunStatus = TrainingRunStatus()
