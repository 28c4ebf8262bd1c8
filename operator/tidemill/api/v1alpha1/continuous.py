"""Continuous evaluation: the model in use is judged on every new version of a Dataset. Part of Deployment."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from tidemill.api.base import Digest, ObjectName, Time
from tidemill.api.v1alpha1.common import JobOptions, NodePlacement, Resources, VersionReference, WorkerResources
from tidemill.contract.base import Document
from tidemill.contract.evaluating import ReportOptions
from tidemill.contract.gates import Gate
from tidemill.contract.markers import cel, list_atomic, rules


class ContinuousEvaluation(ReportOptions):
    """The version that is in use is judged on every new version of a Dataset by a Job, with the report that a training writes.

    Nothing that is served depends on it. The test split tells the metrics of the status; slices are cut as in the Dataset that
    the version was trained on, where that is known.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!has(self.gates) || self.gates.all(g, !has(g.slice) || "
                "(has(self.slices) && g.slice.column in self.slices))",
                "a gate on a slice must name a column of slices", field=".gates"),
            cel("!has(self.gates) || self.gates.all(g, !has(g.group) || "
                "(has(self.fairness) && g.group in self.fairness.groups))",
                "a gate on a fairness measure must name a column of fairness.groups", field=".gates"),
        )
    )  # fmt: skip

    dataset: ObjectName
    """A Dataset of the same namespace that has the model's columns and its target. Every version of it is judged on while it
    is the newest; of those that come while a Job runs, the newest."""
    gates: tuple[Gate, ...] = Field(default=(), max_length=16, json_schema_extra=list_atomic())
    """Bounds that the version must keep, or the condition Evaluated is False with reason GateNotPassed."""
    resources: WorkerResources = Resources()
    placement: NodePlacement = NodePlacement()
    job: JobOptions = JobOptions()


class VersionEvaluation(Document):
    """How one version of the model did on one version of the Dataset."""

    dataset_digest: Digest
    """The version of the Dataset."""
    model_version: VersionReference
    """The version of the model."""
    variant: str | None = None
    """The optimised variant that was judged, when it was one."""
    outcome: Literal["Passed", "GateNotPassed", "Failed"]
    """Passed: every gate is, or there is none. Failed: there are no figures; the condition Evaluated said why."""
    from_training: bool | None = None
    """True: the version was trained on this very version of the Dataset, and these are the figures of that training."""
    rows: int | None = None
    """Labelled rows of the test split."""
    metrics: dict[str, float] = {}
    """Of the test split."""
    report_uri: str | None = Field(default=None, max_length=1024)
    """Folder in the store with evaluation.json, evaluation.html, explanation.json and gates.json."""
    at: Time
    """When that was known."""
    request: str
    """Id of what was asked for: both versions, and everything that shapes the report."""
    attempt: str | None = None
    """Of a Job that failed: the generation and the retry annotation that it answered. Another of either tries again."""


class EvaluationStatus(Document):
    """The evaluations of what is in use."""

    job_name: str | None = None
    """The Job that evaluates now."""
    results: tuple[VersionEvaluation, ...] = Field(default=(), max_length=10, json_schema_extra=list_atomic())
    """The newest ten, newest first. The first is of what is in use now, unless a Job is on its way; older reports are in the
    store."""
