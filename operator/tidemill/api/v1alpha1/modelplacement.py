"""ModelPlacement: one model version on one server pod. Made by the operator, carried out by that pod's agent."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import AGE_COLUMN, Column, Digest, Names, ObjectName, Resource, Status, Time
from tidemill.contract.base import Document
from tidemill.contract.markers import immutable, rules

PlacementState = Literal["Pending", "Loading", "Loaded", "Failed"]


class ModelPlacementSpec(Document):
    """What the pod's agent shall load, and under which name. Only the version and its sampling can change."""

    pool: Annotated[ObjectName, Field(json_schema_extra=rules(immutable("pool")))]
    """The ServingPool that the pod belongs to."""
    pod: str = Field(min_length=1, max_length=63, json_schema_extra=rules(immutable("pod")))
    """The server pod; its agent watches the placements labelled with its name."""
    deployment: Annotated[ObjectName, Field(json_schema_extra=rules(immutable("deployment")))]
    """The model's public name on the server."""
    track: Literal["stable", "candidate"] = "stable"
    """stable answers the Deployment's requests, candidate those of a canary."""
    model_version: str = Field(min_length=1, max_length=253)
    """Name of the ModelVersion."""
    version: int = Field(ge=1)
    """Version number on the server."""
    artifact_uri: str = Field(max_length=1024)
    """The artifact's folder in the store."""
    artifact_digest: Digest
    """The digest that its manifest must have."""
    variant: str = Field(default="original", max_length=32)
    """Name of the variant that the artifact is, or `original`."""
    sampling_percent: float = Field(default=10.0, ge=0, le=100)
    """Share of the requests that the tap samples."""


class ServedVersion(Document):
    """A version that the server answers with."""

    model_version: str
    """Name of the ModelVersion."""
    version: int
    """Version number on the server."""
    digest: Digest
    """Digest of the loaded artifact."""
    variant: str = "original"
    """Name of the variant, or `original`."""
    loaded_at: Time
    """When it became routable."""
    load_seconds: float = 0.0
    """From the agent's seeing the placement to the model's being routable."""


class ModelPlacementStatus(Status):
    """Written by the pod's agent. Condition type: Ready (True: the version of the spec is loaded and was checked)."""

    state: PlacementState = "Pending"
    """What the agent is doing with the version of the spec."""
    message: str = ""
    """Why it failed, in words."""
    serving: ServedVersion | None = None
    """What answers requests now; while a new version is loaded, or when it failed, this is still the old one."""
    pod_uid: str | None = None
    """The pod that wrote this: a new pod of the same name has loaded nothing yet."""
    attempts: int = 0
    """Loads tried of the version of the spec."""


class ModelPlacement(Resource[ModelPlacementSpec, ModelPlacementStatus]):
    """A ModelPlacement puts one model version on one server pod. The operator makes it; users only read it."""

    NAMES: ClassVar[Names] = Names(
        kind="ModelPlacement",
        plural="modelplacements",
        singular="modelplacement",
        short=("tmplace",),
        columns=(
            Column("Deployment", ".spec.deployment"),
            Column("Pod", ".spec.pod"),
            Column("Version", ".spec.version", "integer"),
            Column("Serving", ".status.serving.version", "integer"),
            Column("State", ".status.state"),
            AGE_COLUMN,
        ),
    )
    status: ModelPlacementStatus = ModelPlacementStatus()
