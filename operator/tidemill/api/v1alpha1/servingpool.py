"""ServingPool: Triton servers that many Deployments share."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from tidemill.api.base import AGE_COLUMN, READY_COLUMNS, Column, Names, Resource, Status
from tidemill.api.v1alpha1.common import NodePlacement, Resources
from tidemill.contract.base import Document
from tidemill.contract.markers import cel, rules


class PoolCapacity(Document):
    """How much is placed on one server pod."""

    models: int = Field(default=1000, ge=1, le=10_000)
    """Placements on one pod."""


class PoolTap(Document):
    """The sampling tap's buffers on each pod."""

    segment_limit: str = Field(default="256Mi", pattern=r"^[0-9]+(Mi|Gi)$")
    """Bytes of not yet consumed samples on disk; more are dropped and counted."""
    flush_rows: int = Field(default=5000, ge=1)
    """Rows after which a parquet file of the inference log is written."""
    flush_seconds: int = Field(default=30, ge=1)
    """Seconds after which a parquet file is written, however few rows there are."""


class ServingPoolSpec(Document):
    """Servers of one kind."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.runtime == 'NVIDIA' || !has(self.resources.gpu)",
                "the CPU runtime cannot use a GPU: set runtime: NVIDIA",
                field=".resources.gpu",
            ),
        )
    )

    replicas: int = Field(default=1, ge=0, le=1000)
    """Server pods."""
    runtime: Literal["CPU", "NVIDIA"] = "CPU"
    """CPU is Tidemill's own small image; NVIDIA is Triton's own image. Both have a backend named onnxruntime."""
    image: str | None = Field(default=None, max_length=512)
    """Triton image, when not the chart's."""
    resources: Resources = Resources(cpu="500m", memory="2Gi")
    """Of each server; the agent's are small and fixed."""
    placement: NodePlacement = NodePlacement()
    capacity: PoolCapacity = PoolCapacity()
    tap: PoolTap = PoolTap()


class ServingPoolStatus(Status):
    """How many servers run and what they hold.

    Condition types: Ready, Reconciling, Stalled, ScaledDown (False while servers that are too many still answer).
    """

    replicas: int = 0
    """Server pods that exist."""
    ready_replicas: int = 0
    """Server pods that are ready."""
    placements: int = 0
    """ModelPlacements on the pool's pods."""
    loaded: int = 0
    """Placements whose model is loaded."""
    selector: str = ""
    """Label selector of the pods, for the scale subresource."""


class ServingPool(Resource[ServingPoolSpec, ServingPoolStatus]):
    """A ServingPool is a StatefulSet of Triton servers, each with an agent, on which Deployments are packed."""

    NAMES: ClassVar[Names] = Names(
        kind="ServingPool",
        plural="servingpools",
        singular="servingpool",
        short=("tmpool",),
        columns=(
            *READY_COLUMNS,
            Column("Servers", ".status.readyReplicas", "integer"),
            Column("Wanted", ".spec.replicas", "integer"),
            Column("Placements", ".status.placements", "integer"),
            Column("Loaded", ".status.loaded", "integer"),
            AGE_COLUMN,
        ),
        scale=(".spec.replicas", ".status.replicas", ".status.selector"),
    )
    status: ServingPoolStatus = ServingPoolStatus()
