"""Results: what a task's termination message (at most 4 KiB) says, and what /progress says while it runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tidemill.contract.base import Document
from tidemill.contract.expectations import Severity
from tidemill.contract.markers import list_atomic
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
    severity: Severity
    """Fail stops the Dataset; Quarantine takes rows out; Warn is reported in a condition."""
    violations: int | None = None
    """Rows that break it, when it tells of single rows."""
    rows: int | None = None
    """Of so many rows."""
    message: str = ""
    """What is wrong, with an example; or what was measured."""


class VersionChanges(Document):
    """What is different from the version before."""

    against: str = Field(max_length=71)
    """Digest of the version before."""
    rows_added: int | None = None
    """Rows that it did not have; a row whose value changed counts as one removed and one added."""
    rows_removed: int | None = None
    """Rows that only it had."""
    columns_added: tuple[str, ...] = Field(default=(), max_length=9, json_schema_extra=list_atomic())
    """Columns that it did not have; the first eight."""
    columns_removed: tuple[str, ...] = Field(default=(), max_length=9, json_schema_extra=list_atomic())
    """Columns that only it had."""
    columns_retyped: tuple[str, ...] = Field(default=(), max_length=9, json_schema_extra=list_atomic())
    """Columns of another type than before: `delay: bigint → double`."""
    note: str | None = Field(default=None, max_length=256)
    """Why rows were not compared, or by which columns alone."""


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
    source_digest: str | None = None
    """Of the sources as they were listed: addresses, ETags and sizes of objects, digests of Dataset versions."""
    changes: VersionChanges | None = None
    quarantined: int | None = None
    """Rows in quarantine.parquet; absent when no expectation has severity Quarantine."""
    expectations: tuple[ExpectationResult, ...] = ()
    note: str | None = None
    """What had to be left out for want of room, and where it stands."""


class Trial(Document):
    """One trial of a search that came to its end."""

    number: int
    """Trials count from 0, in the order in which they began."""
    value: float
    """The metric that the search is for, of the validation split."""
    parameters: dict[str, str] = {}
    """What was tried, as text; absent where there is no room for it: all of them stand in `trials.json`."""


class SearchSummary(Document):
    """How a search stands, or how it ended."""

    metric: str
    """The metric that decides, of the validation split."""
    trials: int = 0
    """Trials that have ended, one way or the other."""
    complete: int = 0
    """Trials that trained to their end."""
    pruned: int = 0
    """Trials that were ended early, as hopeless."""
    failed: int = 0
    """Trials that diverged, or could not be trained with their parameters."""
    best: tuple[Trial, ...] = Field(default=(), max_length=10, json_schema_extra=list_atomic())
    """The best ten, best first. All of them are in `trials.json` beside the model."""


class UnchangedResult(Document):
    """The sources are what they were when they were looked at last: no version was made."""

    type: Literal["Unchanged"] = "Unchanged"
    source_digest: str
    expectations: tuple[ExpectationResult, ...] = ()
    """Those whose outcome depends on the clock, at this moment."""


class PruneResult(Document):
    """Versions were removed."""

    type: Literal["Prune"] = "Prune"
    removed: int
    """Number of versions."""
    gone: tuple[str, ...] = ()
    """Which of the task's versions are not in the store any more."""


class TrainResult(Document):
    """A trained model."""

    type: Literal["Train"] = "Train"
    artifact: ArtifactRef
    metrics: dict[str, dict[str, float]]
    """By split and metric."""
    comparison: str = ""
    """How it does beside the version in Production, in words; empty when that was not asked for."""
    epochs: int = 0
    size_bytes: int = 0
    device: str = ""
    """What trained: cpu or cuda; empty when it is not known."""
    warnings: tuple[str, ...] = ()
    """What the user should know although the training went well."""
    search: SearchSummary | None = None
    """Of a run that searched."""


class PartResult(Document):
    """A pod of an Indexed Job has done its part; the result is pod 0's."""

    type: Literal["Part"] = "Part"


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
    interval: tuple[float, float] | None = None
    """Of the improvement: 95 %, by the paired bootstrap over the rows."""
    confidence: float | None = None
    """Share of the resamples in which the challenger is better."""
    rows: int


class EvaluateResult(Document):
    """The report on a model in use."""

    type: Literal["Evaluate"] = "Evaluate"
    artifact: ArtifactRef
    metrics: dict[str, float]
    """Of the test split."""
    rows: int
    """Labelled rows of the test split."""
    missed: str = ""
    """The gates that are not passed, in words; empty when all are."""


class FetchResult(Document):
    """Files lie ready for a user's container."""

    type: Literal["Fetch"] = "Fetch"
    files: int
    code: str | None = Field(default=None, max_length=71)
    """Of a script: the digest of the ConfigMap's file, or the commit of the repository."""


class TaskFailure(Document):
    """Why a task failed, in the user's terms."""

    type: Literal["Failure"] = "Failure"
    reason: str
    """A constant of tidemill.contract.reasons."""
    message: str
    """One sentence that names the object, the field or column or file and line, and the way out."""
    field: str | None = None
    source_digest: str | None = None
    """Of the sources that could not be made into a dataset: they are not tried again before they change."""


Result = Annotated[
    DatasetResult
    | UnchangedResult
    | PruneResult
    | TrainResult
    | VerifyResult
    | VariantResult
    | ExportResult
    | BatchResult
    | EdgeResult
    | CompareResult
    | EvaluateResult
    | FetchResult
    | PartResult
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
    search: SearchSummary | None = None
    """How the search stands, when the task is one."""
    message: str = ""
    """A few words of what is being done, or a warning."""
    updated_at: str
    """RFC 3339, UTC, seconds."""
