"""Results: what a task's termination message (at most 4 KiB) says, and what /progress says while it runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tidemill.contract.base import Document
from tidemill.contract.model import ExportReport, VariantReport
from tidemill.contract.tasks import ArtifactRef


class ColumnInfo(Document):
    """One column of a dataset."""

    name: str
    """The column."""
    type: str
    """DuckDB's type name in lower case: bigint, double, varchar, boolean, timestamp …"""
    missing: float = 0.0
    """Share of missing values."""
    summary: str = ""
    """A few words of the profile: `mean 6.9, sd 44.6` or `3 values, top JFK 36 %`."""


class ExpectationResult(Document):
    """How one expectation came out."""

    name: str
    """Name of the expectation."""
    passed: bool
    """Whether it holds."""
    severity: Literal["Fail", "Warn"]
    """Fail stops the Dataset; Warn is reported in a condition."""
    message: str = ""
    """How many rows break it, with an example."""


class DatasetResult(Document):
    """A prepared dataset version."""

    type: Literal["Dataset"] = "Dataset"
    artifact: ArtifactRef
    rows: dict[str, int]
    """By split: train, validation, test."""
    columns: tuple[ColumnInfo, ...]
    """The first 20; the rest stands in the profile."""
    column_count: int
    profile_uri: str | None = None
    expectations: tuple[ExpectationResult, ...] = ()


class TrainResult(Document):
    """A trained model."""

    type: Literal["Train"] = "Train"
    artifact: ArtifactRef
    metrics: dict[str, dict[str, float]]
    """By split and metric."""
    epochs: int = 0
    size_bytes: int = 0
    device: str = ""
    """What trained: cpu or cuda; empty when it is not known."""
    warnings: tuple[str, ...] = ()
    """What the user should know although the training went well."""


class VerifyResult(Document):
    """A verified model artifact."""

    type: Literal["Verify"] = "Verify"
    size_bytes: int
    opset: int
    inputs: int
    outputs: int


class VariantResult(Document):
    """A stored variant and its report."""

    type: Literal["Variant"] = "Variant"
    artifact: ArtifactRef
    report: VariantReport


class ExportResult(Document):
    """A stored export and its report."""

    type: Literal["Export"] = "Export"
    artifact: ArtifactRef
    report: ExportReport


class BatchResult(Document):
    """Scores."""

    type: Literal["Batch"] = "Batch"
    artifact: ArtifactRef
    rows: int


class EdgeResult(Document):
    """A published bundle."""

    type: Literal["Edge"] = "Edge"
    artifact: ArtifactRef
    size_bytes: int
    files: int


class CompareResult(Document):
    """Champion beside challenger; `improvement` is relative and positive when the challenger is better."""

    type: Literal["Compare"] = "Compare"
    artifact: ArtifactRef
    metric: str
    champion: float
    challenger: float
    improvement: float
    rows: int


class FetchResult(Document):
    """Files lie ready for a user's container."""

    type: Literal["Fetch"] = "Fetch"
    files: int


class TaskFailure(Document):
    """Why a task failed, in the user's terms."""

    type: Literal["Failure"] = "Failure"
    reason: str
    """A constant of tidemill.contract.reasons."""
    message: str
    """One sentence that names the object, the field or column or file and line, and the way out."""
    field: str | None = None


Result = Annotated[
    DatasetResult
    | TrainResult
    | VerifyResult
    | VariantResult
    | ExportResult
    | BatchResult
    | EdgeResult
    | CompareResult
    | FetchResult
    | TaskFailure,
    Field(discriminator="type"),
]
RESULT: TypeAdapter[Result] = TypeAdapter(Result)
"""Parses any result: `RESULT.validate_json(text)`."""


class Progress(Document):
    """What a running task serves at /progress."""

    phase: str
    """`Downloading`, `Transforming`, `Profiling`, `Training`, `Evaluating`, `Exporting`, `Uploading` …"""
    fraction: float = Field(default=0.0, ge=0, le=1)
    """Share of the work that is done, 0 to 1."""
    epoch: int | None = None
    """The epoch that ended last."""
    epochs: int | None = None
    """Epochs to do, at most."""
    loss: float | None = None
    """Loss on the training split in the last epoch."""
    validation_loss: float | None = None
    """Loss on the validation split after the last epoch."""
    message: str = ""
    """A few words of what is being done, or a warning."""
    updated_at: str
    """RFC 3339, UTC, seconds."""
