"""ModelVersion: one verified artifact of a model, its variants, exports, stage and lineage."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from tidemill.api.base import AGE_COLUMN, READY_COLUMNS, Column, Digest, Names, ObjectName, Resource, Status, Time
from tidemill.api.v1alpha1.common import (
    ArtifactStatus,
    JobOptions,
    NodePlacement,
    Resources,
    Transition,
    WorkerResources,
)
from tidemill.contract.base import Document
from tidemill.contract.markers import cel, immutable, list_atomic, list_map, rules
from tidemill.contract.model import ExportReport, VariantReport
from tidemill.contract.optimisation import Export, Optimisation

Stage = Literal["None", "Staging", "Production", "Archived"]


class Approval(Document):
    """Whether a person must agree before the version may be served from a stage."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.mode == 'Manual' || !has(self.approvedBy)", "approvedBy has no effect unless mode is Manual",
                field=".approvedBy"),
        )
    )  # fmt: skip

    mode: Literal["Auto", "Manual"] = "Auto"
    """Auto: every verified version is approved. Manual: `approvedBy` must be set."""
    approved_by: str | None = Field(default=None, min_length=1, max_length=253)
    """Who approved; setting it approves."""


class ModelTemplate(Document):
    """What the ModelVersion that a run makes will look like."""

    name: ObjectName
    """The model; versions are numbered within it."""
    stage: Literal["None", "Staging", "Production"] = "None"
    """The stage asked for as soon as the version is ready."""
    approval: Approval = Approval()
    """Whether a person must agree before a stage is held."""
    optimise: tuple[Optimisation, ...] = Field(default=(), max_length=8, json_schema_extra=list_map("name"))
    """Optimised variants to make."""
    export: tuple[Export, ...] = Field(default=(), max_length=8, json_schema_extra=list_map("name"))
    """Edge exports to make."""


class Artifact(Document):
    """Where the model lies, and the digest that its manifest must have."""

    uri: str = Field(pattern=r"^s3://.+$", max_length=1024)
    """The artifact's folder in the store."""
    digest: Digest
    """Digest of its manifest."""


class Origin(Document):
    """Lineage: what made the model. Filled in by the TrainingRun; free for imported models."""

    training_run: str | None = None
    """Name of the TrainingRun."""
    training_run_uid: str | None = None
    """Its UID."""
    dataset: str | None = None
    """Name of the Dataset."""
    dataset_uri: str | None = None
    """Folder of the dataset's version; calibration and comparisons read it."""
    dataset_digest: Digest | None = None
    """Digest of the dataset's version."""
    image: str | None = None
    """Image of the trainer."""
    code: str | None = Field(default=None, max_length=71)
    """Of a script: the digest of the ConfigMap's file, or the commit of the repository."""
    config_digest: Digest | None = None
    """Digest of the run's spec."""
    source: str | None = Field(default=None, max_length=1024)
    """For imported models: where they come from."""


class ModelVersionSpec(Document):
    """A model artifact and what is asked of it."""

    model: Annotated[ObjectName, Field(json_schema_extra=rules(immutable("model")))]
    """The model; versions are numbered within it."""
    version: Annotated[int, Field(ge=1, json_schema_extra=rules(immutable("version")))]
    """The number."""
    artifact: Annotated[Artifact, Field(json_schema_extra=rules(immutable("artifact")))]
    origin: Annotated[Origin, Field(json_schema_extra=rules(immutable("origin")))] = Origin()
    stage: Stage = "None"
    """The stage asked for. Of several versions that ask for Production, the one that asked last holds it."""
    promoted_by: str | None = Field(default=None, max_length=253)
    """Who asked for the stage, for the transition log."""
    approval: Approval = Approval()
    """Whether a person must agree before a stage is held."""
    optimise: tuple[Optimisation, ...] = Field(default=(), max_length=8, json_schema_extra=list_map("name"))
    """Optimised variants to make."""
    export: tuple[Export, ...] = Field(default=(), max_length=8, json_schema_extra=list_map("name"))
    """Edge exports to make."""
    resources: WorkerResources = Resources()
    """Of the verify, optimise and export Jobs."""
    placement: NodePlacement = NodePlacement()
    job: JobOptions = JobOptions()


class VariantStatus(Document):
    """One optimised variant."""

    name: str
    """Name of the variant."""
    state: Literal["Pending", "Running", "Accepted", "Rejected", "Failed"]
    """Accepted: both tolerances are kept. Rejected: one is not."""
    message: str = ""
    """Why, in words."""
    artifact: ArtifactStatus | None = None
    report: VariantReport | None = None
    request: str = ""
    """What was asked for when it came to an end; when spec asks for something else, it is made again."""


class ExportStatus(Document):
    """One export."""

    name: str
    """Name of the export."""
    state: Literal["Pending", "Running", "Accepted", "Rejected", "Failed"]
    """Accepted: the export agrees with the original. Rejected: it does not."""
    message: str = ""
    """Why, in words."""
    artifact: ArtifactStatus | None = None
    report: ExportReport | None = None
    request: str = ""
    """What was asked for when it came to an end; when spec asks for something else, it is made again."""


class ModelVersionStatus(Status):
    """What is known of the version. Condition types: Ready, Reconciling, Stalled, Verified, Approved, VariantsReady."""

    verified_digest: Digest | None = None
    """The digest that was found when all files were checked."""
    size_bytes: int | None = None
    """Bytes of the ONNX model."""
    stage: Stage = "None"
    """The stage that the version holds: what is asked for once it is verified and approved, until another takes over."""
    stage_since: Time | None = None
    """Since when."""
    stage_request: str | None = None
    """The request (stage and promotedBy) that was noticed last."""
    stage_requested_at: Time | None = None
    """When it was noticed: of all versions that ask for Production the newest request holds it, then the higher version."""
    variants: tuple[VariantStatus, ...] = Field(default=(), max_length=8, json_schema_extra=list_map("name"))
    """Optimised variants, as they stand."""
    exports: tuple[ExportStatus, ...] = Field(default=(), max_length=8, json_schema_extra=list_map("name"))
    """Edge exports, as they stand."""
    transitions: tuple[Transition, ...] = Field(default=(), max_length=10, json_schema_extra=list_atomic())
    """The newest ten changes of the stage, newest first."""
    metrics: dict[str, dict[str, float]] = {}
    """By split and metric, as evaluated by the trainer."""
    retried: str | None = None
    """The value of the annotation tidemill.dev/retry that was answered last: what had failed was tried again."""


class ModelVersion(Resource[ModelVersionSpec, ModelVersionStatus]):
    """A ModelVersion is one immutable model artifact: verified before use, optimised, exported, approved, staged."""

    NAMES: ClassVar[Names] = Names(
        kind="ModelVersion",
        plural="modelversions",
        singular="modelversion",
        short=("tmmv",),
        columns=(
            *READY_COLUMNS,
            Column("Model", ".spec.model"),
            Column("Version", ".spec.version", "integer"),
            Column("Stage", ".status.stage"),
            Column("Variants", ".status.variants[*].state", priority=1),
            AGE_COLUMN,
        ),
    )
    status: ModelVersionStatus = ModelVersionStatus()
