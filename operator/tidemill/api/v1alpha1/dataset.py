"""Dataset: versioned, checked and profiled tables."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field

from tidemill.api.base import AGE_COLUMN, READY_COLUMNS, Column, Digest, Names, Resource, Status, Time
from tidemill.api.v1alpha1.common import JobOptions, NodePlacement, Resources, WorkerResources
from tidemill.contract.base import Document
from tidemill.contract.expectations import Expectation
from tidemill.contract.markers import list_atomic, list_map, rules
from tidemill.contract.profiling import ProfileOptions
from tidemill.contract.results import ColumnInfo, ExpectationResult, Progress
from tidemill.contract.sources import Input
from tidemill.contract.split import RandomSplit, Split
from tidemill.contract.steps import Transform


class DatasetSpec(Document):
    """What the data is made of and what must hold of it.

    A change of inputs, transform, expectations, split or profile makes a new immutable version, and so does a new value of
    the annotation `tidemill.dev/retry`: for when objects behind the same names have changed, or when what failed is put
    right outside the spec. Any other change makes none.
    """

    model_config = ConfigDict(json_schema_extra=rules())

    inputs: tuple[Input, ...] = Field(min_length=1, max_length=16, json_schema_extra=list_map("name"))
    """Named tables. Without a transform they are appended by column name: the first one says which columns there are."""
    transform: Transform | None = None
    expectations: tuple[Expectation, ...] = Field(default=(), max_length=64, json_schema_extra=list_map("name"))
    """What must hold of the transformed rows."""
    split: Split = Split(random=RandomSplit())
    profile: ProfileOptions = ProfileOptions()
    resources: WorkerResources = Resources()
    placement: NodePlacement = NodePlacement()
    job: JobOptions = JobOptions()
    suspend: bool = False
    """No new version is prepared while this is true; a running Job is suspended."""


class DatasetVersion(Document):
    """One immutable version."""

    digest: Digest
    """Digest of the version's manifest."""
    uri: str
    """The version's folder in the store."""
    generation: int
    """The spec's generation that it was made from."""
    rows: int
    """Rows of all splits."""
    prepared_at: Time
    """When it was made."""


class DatasetStatus(Status):
    """The newest version and how it came about. Condition types: Ready, Reconciling, Stalled, ExpectationsMet."""

    digest: Digest | None = None
    """Digest of the newest version."""
    uri: str | None = None
    """Folder of the newest version."""
    rows: int | None = None
    """Rows of all splits of the newest version."""
    split_rows: dict[str, int] = {}
    """Rows by split: train, validation, test."""
    column_count: int | None = None
    """Number of columns."""
    columns: tuple[ColumnInfo, ...] = Field(default=(), max_length=20, json_schema_extra=list_atomic())
    """The first columns, each with a few words of its profile."""
    profile_uri: str | None = None
    """Where the profile lies."""
    expectations: tuple[ExpectationResult, ...] = Field(default=(), max_length=64, json_schema_extra=list_atomic())
    """How each expectation came out."""
    versions: tuple[DatasetVersion, ...] = Field(default=(), max_length=10, json_schema_extra=list_atomic())
    """The newest ten versions, newest first."""
    spec_digest: Digest | None = None
    """What the newest version was made from: digest of the spec's inputs, transform, expectations, split and profile."""
    job_name: str | None = None
    """The Job that prepares."""
    progress: Progress | None = None
    """What the running Job said last."""
    started_at: Time | None = None
    """When the last Job was made."""
    finished_at: Time | None = None
    """When it ended."""
    retried: str | None = None
    """The value of the annotation tidemill.dev/retry that was answered last."""


class Dataset(Resource[DatasetSpec, DatasetStatus]):
    """A Dataset turns raw inputs into an immutable, content-addressed version: parquet by split, a profile, a manifest."""

    NAMES: ClassVar[Names] = Names(
        kind="Dataset",
        plural="datasets",
        singular="dataset",
        short=("tmds",),
        columns=(
            *READY_COLUMNS,
            Column("Rows", ".status.rows", "integer"),
            Column("Columns", ".status.columnCount", "integer"),
            Column("Digest", ".status.digest", priority=1),
            AGE_COLUMN,
        ),
    )
    status: DatasetStatus = DatasetStatus()
