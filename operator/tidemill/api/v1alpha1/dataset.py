"""Dataset: versioned, checked and profiled tables."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field

from tidemill.api.base import AGE_COLUMN, READY_COLUMNS, Column, Digest, Names, Resource, Status, Time
from tidemill.api.v1alpha1.common import JobOptions, NodePlacement, Resources, WorkerResources
from tidemill.contract.base import Document
from tidemill.contract.engine import Engine, RayOptions
from tidemill.contract.expectations import Expectation
from tidemill.contract.markers import cel, list_atomic, list_map, rules
from tidemill.contract.profiling import ProfileOptions
from tidemill.contract.refresh import Refresh
from tidemill.contract.results import ColumnInfo, ExpectationResult, Progress, VersionChanges
from tidemill.contract.retention import Retention
from tidemill.contract.sources import Input
from tidemill.contract.split import RandomSplit, Split
from tidemill.contract.steps import Transform


class DatasetSpec(Document):
    """What the data is made of and what must hold of it.

    A change of inputs, transform, expectations, split or profile makes a new immutable version, and so does a new value of
    the annotation `tidemill.dev/retry`: for when objects behind the same names have changed, or when what failed is put
    right outside the spec. With `refresh` a change of the sources makes one too. Any other change makes none.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!has(self.transform) || !has(self.transform.steps) || self.transform.steps.all(s, !has(s.join) || "
                "self.inputs.exists(i, i.name == s.join.input))",
                "join.input must be the name of one of the inputs", field=".transform.steps"),
            cel("!has(self.transform) || !has(self.transform.steps) || self.inputs.exists(i, "
                "!self.transform.steps.exists(s, has(s.join) && s.join.input == i.name))",
                "every input is joined: one must be left that the steps begin with", field=".transform.steps"),
            cel("!has(self.maxQuarantined) || (has(self.expectations) && "
                "self.expectations.exists(e, e.severity == 'Quarantine'))",
                "maxQuarantined has no effect: no expectation has severity Quarantine", field=".maxQuarantined"),
            cel("!has(self.expectations) || self.expectations.all(e, !has(e.referential) || "
                "self.inputs.exists(i, i.name == e.referential.input))",
                "referential.input must be the name of one of the inputs", field=".expectations"),
            cel("!has(self.refresh) || self.inputs.exists(i, !has(i.http) && (!has(i.dataset) || !has(i.dataset.digest)))",
                "refresh has no effect: no input can change, each is a fixed version or pinned by its hash",
                field=".refresh"),
            cel("self.engine != 'Ray' || has(self.ray)", "engine Ray needs ray.address or ray.cluster", field=".ray"),
            cel("self.engine == 'Ray' || !has(self.ray)", "ray has no effect: engine is Local", field=".ray"),
            cel("self.engine != 'Ray' || !has(self.transform) || !has(self.transform.sql)",
                "SQL needs all rows in one place: write it as steps, or use engine Local", field=".transform.sql"),
            cel("self.engine != 'Ray' || self.inputs.all(i, has(i.dataset) || (has(i.s3) && i.s3.format == 'parquet') || "
                "(has(self.transform) && has(self.transform.steps) && "
                "self.transform.steps.exists(s, has(s.join) && s.join.input == i.name)))",
                "engine Ray reads S3 objects in parquet and Datasets; any other input can only be joined", field=".inputs"),
        )
    )  # fmt: skip

    inputs: tuple[Input, ...] = Field(min_length=1, max_length=16, json_schema_extra=list_map("name"))
    """Named tables. Without SQL they are appended by column name, except those that a `join` step names: the first one says
    which columns there are."""
    transform: Transform | None = None
    expectations: tuple[Expectation, ...] = Field(default=(), max_length=64, json_schema_extra=list_map("name"))
    """What must hold of the transformed rows."""
    max_quarantined: float | None = Field(default=None, ge=0, le=1)
    """The greatest share of the transformed rows that all expectations of severity Quarantine together may take out: beyond
    it the Dataset fails. Without it any share but all rows."""
    split: Split = Split(random=RandomSplit())
    profile: ProfileOptions = ProfileOptions()
    engine: Engine = "Local"
    """Where files are read and steps that work row by row are run: Local in the Job, Ray on a cluster that is there or that
    KubeRay makes. What comes of it is the same version."""
    ray: RayOptions | None = None
    resources: WorkerResources = Resources()
    placement: NodePlacement = NodePlacement()
    job: JobOptions = JobOptions()
    refresh: Refresh | None = None
    retention: Retention | None = None
    suspend: bool = False
    """No new version is prepared, and none removed, while this is true; a running Job is suspended."""


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
    """The newest version and how it came about. Condition types: Ready, Reconciling, Stalled, ExpectationsMet, Refreshed,
    Pruned. A refresh that fails leaves Ready as it is, and the version before in use; Refreshed says why it failed."""

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
    quarantined: int | None = None
    """Rows that expectations of severity Quarantine took out of the newest version; they lie in its quarantine.parquet."""
    expectations: tuple[ExpectationResult, ...] = Field(default=(), max_length=64, json_schema_extra=list_atomic())
    """How each expectation came out."""
    note: str | None = Field(default=None, max_length=256)
    """What had to be left out above for want of room, and where it stands."""
    versions: tuple[DatasetVersion, ...] = Field(default=(), max_length=10, json_schema_extra=list_atomic())
    """Ten versions that are in the store, newest first: the newest, and before others those that something refers to."""
    changes: VersionChanges | None = None
    """What is different in the newest version from the one before."""
    spec_digest: Digest | None = None
    """What the newest version was made from: digest of the spec's inputs, transform, expectations, split and profile."""
    source_digest: Digest | None = None
    """Of the sources as they were looked at last: addresses, ETags and sizes of objects, digests of Dataset versions."""
    upstream_digest: Digest | None = None
    """Of the versions of Datasets among the inputs that were taken last."""
    checked_at: Time | None = None
    """When the sources were looked at last, whether or not that made a version."""
    next_refresh_at: Time | None = None
    """When they will be looked at next."""
    pruned_at: Time | None = None
    """When versions were looked through last for those that `retention` does not keep."""
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
            Column("Quarantined", ".status.quarantined", "integer", priority=1),
            Column("Checked", ".status.checkedAt", "date", priority=1),
            Column("Digest", ".status.digest", priority=1),
            AGE_COLUMN,
        ),
    )
    status: DatasetStatus = DatasetStatus()
