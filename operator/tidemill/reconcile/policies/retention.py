"""Policy: which versions of a Dataset something still refers to. What the retention removes beyond them is decided by
`contract.retention`, by operator and worker alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.api.v1alpha1.dataset import Dataset
from tidemill.build.trainer import ANNOTATION_DATASET
from tidemill.reconcile.dataset_task import held_against, upstream_read_by
from tidemill.reconcile.jobs import is_finished
from tidemill.reconcile.observed import Object, Observed
from tidemill.reconcile.workload import workloads


def referred(dataset: Dataset, observed: Observed) -> frozenset[str]:
    """The digests of the versions that must stay, whatever their age.

    Also what only a Job reads at the moment: what was newest when it began need not be any more.
    """
    return frozenset(digest for digest in _references(dataset, observed) if digest)


def _references(dataset: Dataset, observed: Observed) -> Iterator[str | None]:
    namespace, name = dataset.metadata.namespace, dataset.metadata.name

    def users(kind: str) -> Iterator[Object]:
        yield from observed.select(kind, namespace, "dataset", name)

    yield dataset.status.digest
    yield from held_against(dataset.spec)
    for version in users("ModelVersion"):
        yield (version["spec"].get("origin") or {}).get("datasetDigest")
    for run in users("TrainingRun"):
        if not _status(run).get("finishedAt"):
            yield run["spec"]["dataset"].get("digest")
            yield _status(run).get("datasetDigest")
            yield from _being_read(run, observed)
    for deployment in users("Deployment"):
        yield from _being_read(deployment, observed)
    for policy in users("DriftPolicy"):
        for attempt in _status(policy).get("attempts", ()):
            yield attempt.get("datasetDigest") if attempt.get("dataset") == name else None
    for other in users("Dataset"):
        for item in other["spec"].get("inputs", ()):
            source = item.get("dataset") or {}
            yield source.get("digest") if source.get("name") == name else None
        for job in _live_jobs(other, observed):
            yield from (digest for source, digest in upstream_read_by(job) if source == name)


def _being_read(owner: Object, observed: Observed) -> Iterator[str | None]:
    for job in _live_jobs(owner, observed):
        yield (job["metadata"].get("annotations") or {}).get(ANNOTATION_DATASET)


def _live_jobs(owner: Object, observed: Observed) -> Iterator[Object]:
    for job in workloads(owner["metadata"]["uid"], observed):
        if not is_finished(job):
            yield job


def _status(obj: Object) -> Mapping[str, Any]:
    status: Mapping[str, Any] = obj.get("status") or {}
    return status
