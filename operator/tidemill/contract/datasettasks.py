"""The tasks of a Dataset: make a version, remove versions."""

from __future__ import annotations

from typing import Literal

from tidemill.contract.base import Document
from tidemill.contract.basetask import BaseTask
from tidemill.contract.engine import RayOptions
from tidemill.contract.expectations import Expectation
from tidemill.contract.profiling import ProfileOptions
from tidemill.contract.references import ArtifactRef
from tidemill.contract.retention import DatedVersion, Retention
from tidemill.contract.sources import HttpSource, InferenceLogSource, S3Source, VolumeSource
from tidemill.contract.split import Split
from tidemill.contract.steps import Transform


class ResolvedInferenceLog(Document):
    """An inference log with the folder it lies in."""

    root: str
    source: InferenceLogSource


class ResolvedInput(Document):
    """A named input whose place is known: exactly one of s3, http, volume, dataset, inferenceLog."""

    name: str
    s3: S3Source | None = None
    http: HttpSource | None = None
    volume: VolumeSource | None = None
    dataset: ArtifactRef | None = None
    inference_log: ResolvedInferenceLog | None = None


class PrepareDataset(BaseTask):
    """Read the inputs, transform, check, split, profile, and store an immutable version under `<root>/<digest hex>/`."""

    type: Literal["PrepareDataset"] = "PrepareDataset"
    root: str
    inputs: tuple[ResolvedInput, ...]
    transform: Transform | None = None
    expectations: tuple[Expectation, ...] = ()
    max_quarantined: float | None = None
    split: Split
    profile: ProfileOptions = ProfileOptions()
    previous: ArtifactRef | None = None
    """The newest version so far: what distributions are held against, and what the changes are counted from."""
    earlier: tuple[ArtifactRef, ...] | None = None
    """Versions that distributions are held against by their digest."""
    ray: RayOptions | None = None
    """Where the inputs' files are read and what works row by row is done; without it, here. The version is the same."""
    known_sources: str | None = None
    """The digest of the sources when they were last looked at: while it is the same, no version is made."""
    occasion: str | None = None
    """What asks for it anew although the document is the same: a refresh, or the value of the retry annotation. Another
    occasion is another task, so that a result that was recorded for an earlier one is not taken for it."""


class PruneDataset(BaseTask):
    """Remove the versions under `<root>/` that the retention does not keep."""

    type: Literal["PruneDataset"] = "PruneDataset"
    root: str
    retention: Retention
    versions: tuple[DatedVersion, ...]
    """Versions as the Dataset's status has them, newest first: the store does not know when one became the newest again."""
    protected: tuple[str, ...] = ()
    """Short digests (canonical.short) of versions that something refers to: they stay, however old they are."""
