"""Deployment: a model in use, online, in batch or at the edge."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from tidemill.api.base import AGE_COLUMN, READY_COLUMNS, Column, Names, ObjectName, Resource, Status, Time
from tidemill.api.v1alpha1.common import (
    ArtifactStatus,
    JobOptions,
    ModelSelector,
    NodePlacement,
    Resources,
    Transition,
    VersionReference,
    WorkerResources,
)
from tidemill.api.v1alpha1.continuous import ContinuousEvaluation, EvaluationStatus
from tidemill.contract.base import Document
from tidemill.contract.markers import cel, list_atomic, rules


class Online(Document):
    """The model answers requests from a pool of servers."""

    pool: ObjectName
    """A ServingPool of the same namespace."""
    replicas: int = Field(default=1, ge=1, le=100)
    """Server pods of the pool that hold the model."""
    variant: str = Field(default="original", pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")
    """An optimised variant to serve when the version has one that was accepted, or `original`."""
    sampling_percent: float = Field(default=10.0, ge=0, le=100)
    """Share of the requests that are sampled for the inference log and for drift."""


class Batch(Document):
    """A dataset is scored to parquet by a Job; again when the model's version or the dataset's changes."""

    dataset: ObjectName
    """A Dataset of the same namespace."""
    splits: tuple[Literal["train", "validation", "test"], ...] = Field(
        default=("train", "validation", "test"), min_length=1, max_length=3, json_schema_extra=rules(
            cel("self.all(x, self.exists_one(y, x == y))", "name each split once"), x_kubernetes_list_type="atomic"
        )
    )  # fmt: skip
    """The splits that are scored."""
    resources: WorkerResources = Resources()
    placement: NodePlacement = NodePlacement()
    job: JobOptions = JobOptions()


class Edge(Document):
    """A bundle for devices is published to the store whenever the model's version changes."""

    export: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")
    """The name of one of the version's exports."""
    resources: WorkerResources = Resources()
    job: JobOptions = JobOptions()


class DeploymentSpec(Document):
    """Which model is used, and how."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.mode != 'Online' || has(self.online)", "mode Online needs online", field=".online"),
            cel("self.mode != 'Batch' || has(self.batch)", "mode Batch needs batch", field=".batch"),
            cel("self.mode != 'Edge' || has(self.edge)", "mode Edge needs edge", field=".edge"),
            cel("self.mode == 'Online' || !has(self.online)", "online has no effect in this mode", field=".online"),
            cel("self.mode == 'Batch' || !has(self.batch)", "batch has no effect in this mode", field=".batch"),
            cel("self.mode == 'Edge' || !has(self.edge)", "edge has no effect in this mode", field=".edge"),
            cel("self.mode == oldSelf.mode", "mode is immutable: create a new Deployment", field=".mode"),
        )
    )

    model: ModelSelector
    mode: Literal["Online", "Batch", "Edge"] = "Online"
    """How it is used."""
    online: Online | None = None
    batch: Batch | None = None
    edge: Edge | None = None
    evaluation: ContinuousEvaluation | None = None


class Endpoints(Document):
    """Where clients reach the model: Open Inference Protocol (KServe v2)."""

    http: str = ""
    """Base URL for HTTP."""
    grpc: str = ""
    """host:port for gRPC."""


class DeploymentStatus(Status):
    """What serves and where. Condition types: Ready, Reconciling, Stalled, Available (something answers), VariantServed,
    Evaluated (of `spec.evaluation`; Ready does not depend on it)."""

    model_version: VersionReference | None = None
    """The version that was chosen."""
    serving: VersionReference | None = None
    """The version that answers (Online), was scored with (Batch) or published (Edge)."""
    variant: str | None = None
    """The variant that is served."""
    endpoints: Endpoints | None = None
    """Where clients reach the model."""
    replicas: int = 0
    """Placements that are loaded with the chosen version."""
    output: ArtifactStatus | None = None
    """Scores or bundle."""
    output_of: str | None = None
    """Id of what the output was made from: model artifact, dataset version or export, and options."""
    output_rows: int | None = None
    """Rows that were scored."""
    job_name: str | None = None
    """The Job that scores or publishes."""
    transitions: tuple[Transition, ...] = Field(default=(), max_length=10, json_schema_extra=list_atomic())
    """Which version served since when, newest first."""
    updated_at: Time | None = None
    """When another version began to serve."""
    evaluation: EvaluationStatus | None = None


class Deployment(Resource[DeploymentSpec, DeploymentStatus]):
    """A Deployment follows a model by version or stage and serves it online, in batch or at the edge.

    It shares its kind with apps/v1: say `kubectl get tmdep`.
    """

    NAMES: ClassVar[Names] = Names(
        kind="Deployment",
        plural="deployments",
        singular="deployment",
        short=("tmdep",),
        columns=(
            *READY_COLUMNS,
            Column("Mode", ".spec.mode"),
            Column("Model", ".spec.model.name"),
            Column("Serving", ".status.serving.version", "integer"),
            Column("Variant", ".status.variant", priority=1),
            Column("Evaluated", '.status.conditions[?(@.type=="Evaluated")].status', priority=1),
            Column("URL", ".status.endpoints.http", priority=1),
            AGE_COLUMN,
        ),
        rules=(
            cel(
                "self.spec.mode != 'Online' || size(self.metadata.name) <= 53",
                "the name of an online Deployment has at most 53 characters: a Service is named after it",
                field=".metadata.name",
            ),
            cel(
                "self.spec.mode != 'Online' || self.metadata.name.matches('^[a-z]')",
                "the name of an online Deployment starts with a letter: a Service is named after it",
                field=".metadata.name",
            ),
        ),
    )
    status: DeploymentStatus = DeploymentStatus()
