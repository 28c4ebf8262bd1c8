"""Removing a Dataset's versions that its retention does not keep: a small Job, while no version is being prepared."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tidemill.api.durations import parse_time, seconds
from tidemill.api.v1alpha1.common import Resources
from tidemill.api.v1alpha1.dataset import Dataset
from tidemill.build.job import shape_of, task_job
from tidemill.contract.canonical import short
from tidemill.contract.layout import dataset_root
from tidemill.contract.reasons import Reason
from tidemill.contract.results import PruneResult
from tidemill.contract.retention import DatedVersion, Retention, superfluous
from tidemill.contract.tasks import PruneDataset
from tidemill.reconcile.conditions import ConditionSet
from tidemill.reconcile.dataset_outcome import PRUNED, VERSIONS_KEPT
from tidemill.reconcile.jobs import ended_at, expect, find_job, key_of, live, read_job
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Event, Key
from tidemill.reconcile.policies.retention import referred

RESOURCES = Resources(cpu="100m", memory="256Mi")
"""It lists and deletes, and reads no data."""
MOST_PROTECTED = 400
"""More versions that something refers to do not fit into a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What a plan gets of it."""

    children: tuple[Child, ...] = ()
    deletes: tuple[Key, ...] = ()
    events: tuple[Event, ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the status."""
    again: float | None = None
    """Seconds after which a version becomes too old."""


def prune(
    dataset: Dataset, jobs: list[Object], conditions: ConditionSet, observed: Observed, context: Context
) -> Pruning:
    """One look at the versions. Nothing is removed that anything refers to (see policies.retention)."""
    retention, settings, status = dataset.spec.retention, context.settings, dataset.status
    if retention is None or dataset.spec.suspend:
        return Pruning(deletes=live(jobs))
    versions = tuple(DatedVersion(digest=v.digest, prepared_at=v.prepared_at) for v in status.versions)
    protected = tuple(sorted({short(digest) for digest in referred(dataset, observed)}))
    if len(protected) > MOST_PROTECTED:
        text = f"{len(protected)} versions are referred to: beyond {MOST_PROTECTED} none is removed"
        conditions.set(
            PRUNED, False, Reason.INVALID_SPEC, f"spec.retention: {text}; delete ModelVersions that are not needed"
        )
        return Pruning(deletes=live(jobs))
    extra = superfluous(retention, versions, protected=protected, now=context.now)
    again = _next_expiry(retention, versions, protected, context)
    if not extra and not _more_in_store(dataset):
        return Pruning(deletes=live(jobs), again=again)
    task = PruneDataset(
        owner=dataset.ref,
        root=dataset_root(settings.store.bucket, dataset.metadata.namespace, dataset.metadata.name),
        retention=retention,
        versions=versions,
        protected=protected,
    )
    job = task_job(
        owner=dataset.ref,
        what="prune",
        task=task,
        image=settings.images.worker,
        resources=RESOURCES,
        options=dataset.spec.job,
        settings=settings,
        placement=dataset.spec.placement,
    )
    found = find_job(task, jobs)
    deletes = live(found.others)
    if found.job is None:
        return Pruning(children=(Child(manifest=job, mode="create"),), deletes=deletes, again=again)
    outcome = expect(read_job(found.job, observed, now=context.now, shape=shape_of(job)), PruneResult)
    if outcome.phase == "Lost":
        return Pruning(deletes=(*deletes, key_of(found.job)), again=again)
    if outcome.phase == "Failed":
        conditions.set(PRUNED, False, outcome.reason, f"versions could not be removed: {outcome.message}")
        return Pruning(deletes=deletes, again=again)
    if not isinstance(outcome.result, PruneResult):
        waits = [wait for wait in (again, outcome.recheck) if wait is not None]
        return Pruning(deletes=deletes, again=min(waits, default=None))
    # The Job's own time: should it have removed nothing, another look at it finds the same, and writes nothing.
    return _done(dataset, outcome.result, ended_at(found.job), conditions, deletes)


def _done(
    dataset: Dataset, result: PruneResult, at: str | None, conditions: ConditionSet, deletes: tuple[Key, ...]
) -> Pruning:
    status = dataset.status
    left = tuple(v for v in status.versions if v.digest not in result.gone or v.digest == status.digest)
    message = f"versions removed: {result.removed}"
    conditions.set(PRUNED, True, Reason.PRUNED, message)
    news = result.removed and status.pruned_at != at
    events = (Event(reason=Reason.PRUNED, message=f"{message}, as spec.retention does not keep them"),) if news else ()
    return Pruning(deletes=deletes, events=events, changes={"versions": left, "pruned_at": at})


def _more_in_store(dataset: Dataset) -> bool:
    """Whether the store may hold versions that the status has no room for, and that nobody has looked through yet."""
    status = dataset.status
    full = len(status.versions) >= VERSIONS_KEPT
    return full and (status.pruned_at is None or status.pruned_at < status.versions[0].prepared_at)


def _next_expiry(
    retention: Retention, versions: tuple[DatedVersion, ...], protected: tuple[str, ...], context: Context
) -> float | None:
    if retention.keep_for is None:
        return None
    limit = timedelta(seconds=seconds(retention.keep_for))
    older = versions[max(1, retention.keep_versions or 0) :]
    ages = [parse_time(v.prepared_at) + limit - context.now for v in older if short(v.digest) not in protected]
    return min((age.total_seconds() + 1 for age in ages if age >= timedelta(0)), default=None)
