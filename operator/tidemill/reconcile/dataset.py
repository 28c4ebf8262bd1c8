"""Dataset: resolve the inputs, prepare one immutable version by a Job, keep the newest ten in status.

A version is made when there is none yet of what the spec says (inputs, transform, expectations, split, profile: their
digest stands in status.specDigest), and for a new value of the retry annotation. A change of anything else (suspend,
resources, job, placement) makes none. Nor does a newer version of a Dataset among the inputs, or a newer file behind a
glob: what a Dataset holds never changes by itself. While a new version is made, status keeps the old one.
"""

from __future__ import annotations

from typing import Any

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.dataset import Dataset, DatasetSpec, DatasetStatus, DatasetVersion
from tidemill.build.job import job_shape, task_job
from tidemill.contract.canonical import digest, short
from tidemill.contract.layout import dataset_root, inference_log_root
from tidemill.contract.reasons import FailureReason, Reason
from tidemill.contract.results import DatasetResult
from tidemill.contract.sources import Input
from tidemill.contract.tasks import PrepareDataset, ResolvedInferenceLog, ResolvedInput
from tidemill.reconcile.artifacts import Waiting, dataset_artifact
from tidemill.reconcile.conditions import STALLED, ConditionSet, finish, shorten
from tidemill.reconcile.jobs import Outcome, expect, find_request, key_of, live, read_job
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Event, Plan
from tidemill.reconcile.retry import retriable, retry_of
from tidemill.reconcile.suspension import suspend_patch

EXPECTATIONS_MET = "ExpectationsMet"
VERSIONS_KEPT = 10
PROGRESS_INTERVAL = 15.0


def reconcile_dataset(dataset: Dataset, observed: Observed, context: Context) -> Plan:
    """One pass over a Dataset."""
    jobs = observed.owned(dataset.metadata.uid, "Job")
    wanted = spec_digest(dataset.spec)
    if (asked := retry_of(dataset)) not in (None, dataset.status.retried):
        anew = {"retried": asked, "spec_digest": None, "finished_at": None}
        dataset = dataset.model_copy(update={"status": dataset.status.model_copy(update=anew)})
    if dataset.status.digest and dataset.status.spec_digest == wanted:
        return _prepared(dataset, jobs, context)
    if _gave_up(dataset):
        return Plan(deletes=live(jobs))
    found = find_request(
        jobs,
        task_type=PrepareDataset,
        request=short(wanted),
        generation=dataset.metadata.generation,
        retry=dataset.status.retried,
        followed=dataset.status.job_name or "",
    )
    extras = live(found.others)
    if found.job is None:
        return _start(dataset, observed, context, request=short(wanted), deletes=extras)
    shape = _shape(dataset, context)
    outcome = expect(read_job(found.job, observed, now=context.now, shape=shape), DatasetResult)
    if outcome.phase == "Lost":
        extras = (*extras, key_of(found.job))
    if isinstance(outcome.result, DatasetResult):
        return _succeeded(dataset, outcome.result, context, wanted=wanted, deletes=extras)
    if outcome.phase == "Failed":
        return _failed(dataset, outcome, context, deletes=extras)
    return _running(dataset, found.job, outcome, observed, context, deletes=extras)


def spec_digest(spec: DatasetSpec) -> str:
    """What a version is made from: the parts of the spec that decide its content."""
    parts = {"inputs", "transform", "expectations", "split", "profile"}
    return digest(spec.model_dump(mode="json", by_alias=True, exclude_none=True, include=parts))


def _shape(dataset: Dataset, context: Context) -> str:
    spec, settings = dataset.spec, context.settings
    image = settings.images.worker
    return job_shape(
        image=image, resources=spec.resources, options=spec.job, settings=settings, placement=spec.placement
    )


def input_secrets(inputs: tuple[Input, ...]) -> list[str]:
    """The Secrets that inputs name besides the store's own."""
    sources = [i.s3 for i in inputs if i.s3]
    sources += [i.inference_log.labels.s3 for i in inputs if i.inference_log and i.inference_log.labels]
    return sorted({s.secret_name for s in sources if s.secret_name})


def resolve_inputs(dataset: Dataset, observed: Observed, context: Context) -> tuple[ResolvedInput, ...] | Waiting:
    """Where every input lies, or what is waited for."""
    namespace = dataset.metadata.namespace
    resolved: list[ResolvedInput] = []
    for item in dataset.spec.inputs:
        if source := item.dataset:
            field = f"spec.inputs[{item.name}].dataset"
            if source.name == dataset.metadata.name and source.digest is None:
                text = f"{field}: a Dataset cannot be made of its own newest version: name another one, or fix a digest"
                return Waiting(reason=Reason.INVALID_SPEC, message=text, stalled=True)
            found = dataset_artifact(
                observed,
                namespace=namespace,
                name=source.name,
                digest=source.digest,
                field=field,
                reason=Reason.WAITING_FOR_INPUT,
            )
            if isinstance(found, Waiting):
                return found
            resolved.append(ResolvedInput(name=item.name, dataset=found))
        elif item.inference_log:
            root = inference_log_root(context.settings.store.bucket, namespace, item.inference_log.deployment)
            log = ResolvedInferenceLog(root=root, source=item.inference_log)
            resolved.append(ResolvedInput(name=item.name, inference_log=log))
        else:
            resolved.append(ResolvedInput(name=item.name, s3=item.s3))
    return tuple(resolved)


def _start(dataset: Dataset, observed: Observed, context: Context, *, request: str, deletes: Any) -> Plan:
    conditions = _conditions(dataset, context)
    if dataset.spec.suspend:
        conditions.not_ready(Reason.SUSPENDED, "spec.suspend is true: no version is prepared")
        return Plan(deletes=deletes, status=_status(dataset, conditions, progress=None, finished_at=None))
    inputs = resolve_inputs(dataset, observed, context)
    if isinstance(inputs, Waiting):
        say = conditions.stalled if inputs.stalled else conditions.reconciling
        say(inputs.reason, inputs.message)
        return Plan(deletes=deletes, status=_status(dataset, conditions, progress=None, finished_at=None))
    spec, settings = dataset.spec, context.settings
    task = PrepareDataset(
        owner=dataset.ref,
        root=dataset_root(settings.store.bucket, dataset.metadata.namespace, dataset.metadata.name),
        inputs=inputs,
        transform=spec.transform,
        expectations=spec.expectations,
        split=spec.split,
        profile=spec.profile,
    )
    job = task_job(
        owner=dataset.ref,
        what="prepare",
        task=task,
        image=settings.images.worker,
        resources=spec.resources,
        options=spec.job,
        settings=settings,
        placement=spec.placement,
        secrets=input_secrets(spec.inputs),
        request=request,
        retry=dataset.status.retried,
    )
    name = job["metadata"]["name"]
    conditions.reconciling(Reason.PENDING, f"Job {name} was created")
    status = _status(
        dataset,
        conditions,
        job_name=name,
        progress=None,
        started_at=format_time(context.now),
        finished_at=None,
    )
    return Plan(children=(Child(manifest=job, mode="create"),), deletes=deletes, status=status)


def _running(
    dataset: Dataset, job: Object, outcome: Outcome, observed: Observed, context: Context, *, deletes: Any
) -> Plan:
    conditions = _conditions(dataset, context)
    patches = () if outcome.phase == "Lost" else suspend_patch(job, suspend=dataset.spec.suspend)
    if outcome.phase == "Suspended" and dataset.spec.suspend:
        conditions.not_ready(Reason.SUSPENDED, f"spec.suspend is true: {outcome.message}")
    else:
        conditions.reconciling(outcome.reason, outcome.message)
    told = observed.progress(dataset.metadata.namespace, outcome.pod) if outcome.pod else None
    status = _status(
        dataset,
        conditions,
        job_name=job["metadata"]["name"],
        progress=told or dataset.status.progress,
        finished_at=None,
    )
    waits = [w for w in (outcome.recheck, PROGRESS_INTERVAL if outcome.pod else None) if w]
    return Plan(patches=patches, deletes=deletes, status=status, requeue_after=min(waits, default=None))


def _succeeded(dataset: Dataset, result: DatasetResult, context: Context, *, wanted: str, deletes: Any) -> Plan:
    conditions = _conditions(dataset, context)
    rows, now = sum(result.rows.values()), format_time(context.now)
    version = DatasetVersion(
        digest=result.artifact.digest,
        uri=result.artifact.uri,
        generation=dataset.metadata.generation,
        rows=rows,
        prepared_at=now,
    )
    older = (v for v in dataset.status.versions if v.digest != version.digest)
    _set_expectations(conditions, result)
    message = _describe(rows, result.column_count, version.digest)
    conditions.ready(Reason.SUCCEEDED, message)
    status = _status(
        dataset,
        conditions,
        digest=version.digest,
        uri=version.uri,
        rows=rows,
        split_rows=dict(result.rows),
        column_count=result.column_count,
        columns=result.columns[:20],
        profile_uri=result.profile_uri,
        expectations=tuple(e.model_copy(update={"message": shorten(e.message, 200)}) for e in result.expectations),
        versions=(version, *older)[:VERSIONS_KEPT],
        spec_digest=wanted,
        progress=None,
        finished_at=now,
    )
    return Plan(deletes=deletes, status=status, events=(Event(reason=Reason.SUCCEEDED, message=f"prepared {message}"),))


def _failed(dataset: Dataset, outcome: Outcome, context: Context, *, deletes: Any) -> Plan:
    conditions = _conditions(dataset, context)
    if outcome.reason == FailureReason.EXPECTATION_FAILED:
        conditions.set(EXPECTATIONS_MET, False, outcome.reason, outcome.message)
    conditions.stalled(outcome.reason, retriable(outcome.message, dataset))
    status = _status(dataset, conditions, progress=None, finished_at=format_time(context.now))
    event = Event(reason=outcome.reason, message=outcome.message, type="Warning")
    return Plan(deletes=deletes, status=status, events=(event,))


def _prepared(dataset: Dataset, jobs: Any, context: Context) -> Plan:
    status, conditions = dataset.status, _conditions(dataset, context)
    conditions.ready(Reason.SUCCEEDED, _describe(status.rows or 0, status.column_count or 0, status.digest or ""))
    return Plan(deletes=live(jobs), status=_status(dataset, conditions, progress=None))


def _gave_up(dataset: Dataset) -> bool:
    """The attempt of this generation has failed: only a change of the spec, or of the retry annotation, starts another."""
    stalled = dataset.status.condition(STALLED)
    return (
        dataset.status.finished_at is not None
        and stalled is not None
        and stalled.observed_generation == dataset.metadata.generation
    )


def _set_expectations(conditions: ConditionSet, result: DatasetResult) -> None:
    missed = [e for e in result.expectations if not e.passed]
    if missed:
        text = "; ".join(f"{e.name}: {e.message}" for e in missed)
        conditions.set(EXPECTATIONS_MET, False, Reason.EXPECTATIONS_WARNED, text)
    elif result.expectations:
        conditions.set(EXPECTATIONS_MET, True, Reason.EXPECTATIONS_MET, f"all {len(result.expectations)} hold")
    else:
        conditions.remove(EXPECTATIONS_MET)


def _describe(rows: int, columns: int, version: str) -> str:
    return f"version {short(version)}: {rows} rows, {columns} columns"


def _conditions(dataset: Dataset, context: Context) -> ConditionSet:
    return ConditionSet(dataset.status, generation=dataset.metadata.generation, now=context.now)


def _status(dataset: Dataset, conditions: ConditionSet, **changes: Any) -> dict[str, Any]:
    status: DatasetStatus = dataset.status.model_copy(update=changes)
    return finish(status, conditions, generation=dataset.metadata.generation)
