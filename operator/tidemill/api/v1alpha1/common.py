"""Parts of specs and statuses that several kinds share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tidemill.api.base import Digest, ObjectName, Quantity, Time
from tidemill.contract.base import Document
from tidemill.contract.markers import cel, list_atomic, rules


class GPU(Document):
    """Accelerators of the pod."""

    count: int = Field(default=1, ge=1, le=64)
    """Number of devices."""
    resource_name: str = Field(default="nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9_.-]+$", max_length=128)
    """The extended resource to ask for: nvidia.com/gpu, amd.com/gpu, nvidia.com/mig-1g.10gb …"""


class Resources(Document):
    """What the pod asks for; memory is request and limit, cpu only the request (a limit would throttle)."""

    cpu: Quantity = "500m"
    """Request."""
    memory: Quantity = "1Gi"
    """Request and limit."""
    gpu: GPU | None = None


WorkerResources = Annotated[
    Resources,
    Field(
        json_schema_extra=rules(
            cel("!has(self.gpu)", "no such Job uses a GPU, it would only hold one: leave it to TrainingRuns and ServingPools",
                field=".gpu")
        )
    ),
]  # fmt: skip
"""Of Jobs that have no use for an accelerator."""


class Toleration(Document):
    """A toleration, as in a pod's spec."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.operator != 'Exists' || !has(self.value)", "value has no effect with operator Exists",
                field=".value"),
            cel("self.operator == 'Exists' || has(self.key)", "operator Equal needs a key", field=".key"),
        )
    )  # fmt: skip

    key: str | None = Field(default=None, max_length=316)
    """Key of the taint; without it every key, which needs operator Exists."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists matches any value of the key."""
    value: str | None = Field(default=None, max_length=63)
    """Value of the taint, with operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; without it every effect."""


class NodePlacement(Document):
    """Where the pod may run."""

    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(default={}, max_length=32)
    """Labels that the node must have."""
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=16, json_schema_extra=list_atomic())
    """Taints that the pod tolerates."""
    priority_class_name: str | None = Field(default=None, max_length=253)
    """PriorityClass of the pod."""


class JobOptions(Document):
    """How Kubernetes runs the Job."""

    backoff_limit: int = Field(default=3, ge=0, le=100)
    """Retries after failures that are not the user's fault; evictions and preemptions do not count."""
    active_deadline_seconds: int | None = Field(default=None, ge=1)
    """The Job fails with DeadlineExceeded when it runs longer."""
    ttl_seconds_after_finished: int | None = Field(default=3600, ge=60)
    """The Job is removed so many seconds after its end, when its result has long been read; the result stays in status."""


class ModelSelector(Document):
    """A model by a fixed version, or by the stage that a version holds."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!(has(self.version) && has(self.stage))", "set version or stage, not both", field=".stage"),
            cel("has(self.version) || has(self.stage)", "set version or stage"),
        )
    )

    name: ObjectName
    """The model: `spec.model` of its ModelVersions."""
    version: int | None = Field(default=None, ge=1)
    """A fixed version."""
    stage: Literal["Staging", "Production"] | None = None
    """Whichever version holds this stage."""


class ArtifactStatus(Document):
    """An artifact in the store."""

    uri: str = Field(max_length=1024)
    """The artifact's folder in the store."""
    digest: Digest
    """Digest of its manifest."""


class VersionReference(Document):
    """A model version, named in a status."""

    name: str
    """Name of the ModelVersion."""
    version: int
    """Its number within the model."""


class Transition(Document):
    """One entry of a transition log."""

    at: Time
    """When it happened."""
    from_: str = Field(alias="from", default="")
    """What it was before."""
    to: str
    """What it is since."""
    reason: str
    """Why: `Requested`, `Promoted`, `Superseded`, …"""
    by: str = ""
    """Who: `spec.stage`, or the DriftPolicy that promoted."""
