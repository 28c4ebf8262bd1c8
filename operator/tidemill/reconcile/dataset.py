"""Dataset: resolve the inputs, prepare one immutable version by a Job, keep the newest ten in status.

A version is made when there is none yet of what the spec says (inputs, transform, expectations, split, profile: their
digest stands in status.specDigest), and for a new value of the retry annotation. A change of anything else (suspend,
resources, job, placement) makes none. Nor does a newer version of a Dataset among the inputs, or a newer file behind a
glob, unless `refresh` asks for it: then the sources are looked at again when that is due, by a Job that ends at once when
they have not changed. While a new version is made, status keeps the old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.dataset import Dataset
from tidemill.contract.canonical import digest
from tidemill.contract.names import LABEL_TASK
from tidemill.contract.reasons import Reason
from tidemill.contract.results import DatasetResult, UnchangedResult
from tidemill.contract.tasks import PrepareDataset, PruneDataset
from tidemill.reconcile import ray_cluster
from tidemill.reconcile.artifacts import Waiting
from tidemill.reconcile.conditions import RECONCILING
from tidemill.reconcile.dataset_outcome import (
    REFRESHED,
    conditions_of,
    describe_newest,
    failed,
    gave_up,
    status_of,
    succeeded,
    unchanged,
)
from tidemill.reconcile.dataset_task import (
    ANNOTATION_UPSTREAM,
    Attempt,
    prepare_job,
    resolve_inputs,
    shape,
    spec_digest,
    upstream_of,
)
from tidemill.reconcile.jobs import Lookup, Outcome, expect, find_request, key_of, live, read_job
from tidemill.reconcile.observed import API_INTERVAL, Context, Object, Observed
from tidemill.reconcile.plan import Child, Key, Plan
from tidemill.reconcile.policies.refresh import due_at, looked_at, request_after, schedule_problem
from tidemill.reconcile.pruning import prune
from tidemill.reconcile.retry import retry_of
from tidemill.reconcile.suspension import suspend_patch

PROGRESS_INTERVAL = 15.0


def reconcile_dataset(dataset: Dataset, observed: Observed, context: Context) -> Plan:
    """One pass over a Dataset."""
    jobs = observed.owned(dataset.metadata.uid, "Job")
    plan = _reconcile(dataset, jobs, observed, context)
    return replace(plan, deletes=(*plan.deletes, *ray_cluster.spent(jobs, observed)))


def _reconcile(dataset: Dataset, jobs: Sequence[Object], observed: Observed, context: Context) -> Plan:
    if (asked := retry_of(dataset)) not in (None, dataset.status.retried):
        anew = {"retried": asked, "spec_digest": None, "finished_at": None}
        dataset = dataset.model_copy(update={"status": dataset.status.model_copy(update=anew)})
    if problem := schedule_problem(dataset.spec):
        conditions = conditions_of(dataset, context)
        conditions.stalled(Reason.INVALID_SPEC, problem)
        return Plan(deletes=live(jobs), status=status_of(dataset, conditions, progress=None))
    wanted = spec_digest(dataset.spec)
    prepared = dataset.status.digest is not None and dataset.status.spec_digest == wanted
    due = _due(dataset, observed, context)
    attempt = _attempt(dataset, wanted, prepared, jobs, due, context)
    if attempt is None:
        return _settled(dataset, prepared, jobs, due, observed, context)
    found = _lookup(dataset, attempt, jobs)
    extras = live(found.others)
    if found.job is None:
        return _start(dataset, attempt, jobs, observed, context, deletes=extras)
    results = (DatasetResult, UnchangedResult) if attempt.refresh else (DatasetResult,)
    outcome = expect(read_job(found.job, observed, now=context.now, shape=shape(dataset, context)), *results)
    if outcome.phase == "Lost":
        extras = (*extras, key_of(found.job))
    upstream = (found.job["metadata"].get("annotations") or {}).get(ANNOTATION_UPSTREAM, "")
    if isinstance(outcome.result, DatasetResult):
        return succeeded(dataset, attempt, outcome.result, upstream, observed, context, deletes=extras)
    if isinstance(outcome.result, UnchangedResult):
        return unchanged(dataset, outcome.result, upstream, context, deletes=extras)
    if outcome.phase == "Failed":
        return failed(dataset, attempt, outcome, upstream, context, deletes=extras)
    return _running(dataset, attempt, found.job, outcome, observed, context, deletes=extras)


def _due(dataset: Dataset, observed: Observed, context: Context) -> datetime | None:
    """From when on the sources are to be looked at again."""
    refresh = dataset.spec.refresh
    if refresh is None or dataset.spec.suspend:
        return None
    newer = False
    if refresh.on_source_change is not None:
        inputs = resolve_inputs(dataset, observed, context)
        upstream = "" if isinstance(inputs, Waiting) else upstream_of(dataset, inputs)
        newer = bool(upstream) and digest(upstream) != dataset.status.upstream_digest
    return due_at(dataset.spec, dataset.status, upstream_changed=newer)


def _attempt(
    dataset: Dataset, wanted: str, prepared: bool, jobs: Sequence[Object], due: datetime | None, context: Context
) -> Attempt | None:
    """The attempt that is to be made or under way; None while there is nothing to do."""
    status = dataset.status
    last = looked_at(status) if prepared else status.checked_at
    attempt = Attempt(refresh=prepared, request=request_after(wanted, last), last=last, retry=status.retried)
    if not prepared and not gave_up(dataset):
        return attempt
    if due is not None and due <= context.now:
        return attempt
    if dataset.spec.refresh is None or not prepared or status.finished_at is not None:
        return None
    begun = _lookup(dataset, attempt, jobs).job is not None  # is ended, whatever asked for it
    return attempt if begun else None


def _lookup(dataset: Dataset, attempt: Attempt, jobs: Sequence[Object]) -> Lookup:
    return find_request(
        jobs,
        task_type=PrepareDataset,
        request=attempt.request,
        generation=dataset.metadata.generation,
        retry=attempt.retry,
        followed=dataset.status.job_name or "",
    )


def _start(
    dataset: Dataset,
    attempt: Attempt,
    jobs: Sequence[Object],
    observed: Observed,
    context: Context,
    *,
    deletes: tuple[Key, ...],
) -> Plan:
    conditions = conditions_of(dataset, context)
    if dataset.spec.suspend:
        conditions.not_ready(Reason.SUSPENDED, "spec.suspend is true: no version is prepared")
        return Plan(deletes=deletes, status=status_of(dataset, conditions, progress=None, finished_at=None))
    if pruning := live(_of(PruneDataset, jobs)):  # what is about to be made must not be on the list of one that removes
        return Plan(deletes=(*deletes, *pruning))
    inputs = resolve_inputs(dataset, observed, context)
    if isinstance(inputs, Waiting):
        again = API_INTERVAL if inputs.reason == Reason.WAITING_FOR_API else None
        if attempt.refresh:
            conditions.ready(Reason.SUCCEEDED, describe_newest(dataset.status))
            conditions.set(REFRESHED, False, inputs.reason, inputs.message)
            return Plan(deletes=deletes, status=status_of(dataset, conditions, progress=None), requeue_after=again)
        say = conditions.stalled if inputs.stalled else conditions.reconciling
        say(inputs.reason, inputs.message)
        status = status_of(dataset, conditions, progress=None, finished_at=None)
        return Plan(deletes=deletes, status=status, requeue_after=again)
    job = prepare_job(dataset, inputs, attempt, context)
    name = job["metadata"]["name"]
    if attempt.refresh:
        conditions.ready(Reason.SUCCEEDED, describe_newest(dataset.status))
        conditions.set(RECONCILING, True, Reason.RUNNING, _looking(name))
    else:
        conditions.reconciling(Reason.PENDING, f"Job {name} was created")
    status = status_of(
        dataset,
        conditions,
        job_name=name,
        progress=None,
        started_at=format_time(context.now),
        finished_at=None,
    )
    return Plan(children=(Child(manifest=job, mode="create"),), deletes=deletes, status=status)


def _running(
    dataset: Dataset,
    attempt: Attempt,
    job: Object,
    outcome: Outcome,
    observed: Observed,
    context: Context,
    *,
    deletes: tuple[Key, ...],
) -> Plan:
    conditions = conditions_of(dataset, context)
    patches = () if outcome.phase == "Lost" else suspend_patch(job, suspend=dataset.spec.suspend)
    held = outcome.phase == "Suspended" and dataset.spec.suspend
    text = f"spec.suspend is true: {outcome.message}" if held else outcome.message
    if complaint := ray_cluster.trouble(job, observed):
        text = f"{text}; {complaint}"
    if attempt.refresh:
        conditions.ready(Reason.SUCCEEDED, describe_newest(dataset.status))
        if held:
            conditions.set(REFRESHED, False, Reason.SUSPENDED, text)
        else:
            # of most refreshes there is nothing to tell: they cost two writes, when they begin and when they end
            trouble = bool(outcome.warning or complaint)
            said = (outcome.reason, text) if trouble else (Reason.RUNNING, _looking(job["metadata"]["name"]))
            conditions.set(RECONCILING, True, *said)
    elif held:
        conditions.not_ready(Reason.SUSPENDED, text)
    else:
        conditions.reconciling(outcome.reason, text)
    told = observed.progress(dataset.metadata.namespace, outcome.pod) if outcome.pod else None
    status = status_of(
        dataset,
        conditions,
        job_name=job["metadata"]["name"],
        progress=told or dataset.status.progress,
        finished_at=None,
    )
    waits = [w for w in (outcome.recheck, PROGRESS_INTERVAL if outcome.pod else None) if w]
    children = () if outcome.phase == "Lost" else ray_cluster.needed(dataset, job, observed, context)
    again = min(waits, default=None)
    return Plan(children=children, patches=patches, deletes=deletes, status=status, requeue_after=again)


def _looking(job: str) -> str:
    return f"Job {job} looks at the sources"


def _settled(
    dataset: Dataset,
    prepared: bool,
    jobs: Sequence[Object],
    due: datetime | None,
    observed: Observed,
    context: Context,
) -> Plan:
    """There is nothing to prepare now: the version is there, or the attempt at it has failed."""
    again = (due - context.now).total_seconds() if due else None
    if not prepared:
        return Plan(deletes=live(jobs), requeue_after=again)
    conditions = conditions_of(dataset, context)
    conditions.ready(Reason.SUCCEEDED, describe_newest(dataset.status))
    pruning = prune(dataset, _of(PruneDataset, jobs), conditions, observed, context)
    status = status_of(dataset, conditions, progress=None, **pruning.changes)
    return Plan(
        children=pruning.children,
        deletes=(*live(_of(PrepareDataset, jobs)), *pruning.deletes),
        status=status,
        events=pruning.events,
        requeue_after=min((wait for wait in (again, pruning.again) if wait is not None), default=None),
    )


def _of(task: type[PrepareDataset] | type[PruneDataset], jobs: Sequence[Object]) -> list[Object]:
    return [job for job in jobs if (job["metadata"].get("labels") or {}).get(LABEL_TASK) == task.__name__]
