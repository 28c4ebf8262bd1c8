"""TrainingRun: fix a dataset version, train by one Job, leave a ModelVersion.

The Job decides: its name follows the run's UID alone, so of two creators one wins, and it says which dataset version it
trains on. Status takes that from the Job, so that whatever happens to the operator there is one Job, and the lineage names
what it trained on. A run that has finished is a record: it is never trained again and costs nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.common import ModelSelector, VersionReference
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.api.v1alpha1.trainingrun import TrainingRun, TrainingRunStatus
from tidemill.build.distribution import peers_service
from tidemill.build.modelversion import model_version
from tidemill.build.trainer import (
    TRAIN_REQUEST,
    model_folder,
    trained_on,
    training_job,
    training_shape,
    training_task,
)
from tidemill.contract.reasons import Reason
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import ArtifactRef, ModelRef
from tidemill.reconcile.artifacts import Waiting, base_artifact, dataset_artifact
from tidemill.reconcile.conditions import READY, STALLED, ConditionSet, append, finish, is_true
from tidemill.reconcile.jobs import Outcome, expect, find_request, is_finished, key_of, live
from tidemill.reconcile.observed import API_INTERVAL, Context, Object, Observed
from tidemill.reconcile.plan import Child, Event, Key, Plan
from tidemill.reconcile.podstate import fetched_code
from tidemill.reconcile.policies.selection import choose_version
from tidemill.reconcile.retry import ONCE, cause_of
from tidemill.reconcile.suspension import suspend_patch
from tidemill.reconcile.typed import typed
from tidemill.reconcile.workload import job_name_of, pods_of, read_workload, workloads

PROGRESS_INTERVAL = 15.0
TOO_LATE = "; the run has ended, edits of its spec have no effect: create a new TrainingRun"
MOST_WARNINGS = 10
"""The schema takes no more; the pod's log has all of them."""
SUSPEND_IGNORED = "spec.suspend has no effect with spec.queueName: Kueue decides when the Job runs"


def reconcile_trainingrun(run: TrainingRun, observed: Observed, context: Context) -> Plan:
    """One pass over a TrainingRun."""
    jobs = workloads(run.metadata.uid, observed)
    if _finished(run):
        return _keep_record(run, jobs, context)
    found = find_request(jobs, task_type=training_task(run.spec), request=TRAIN_REQUEST, generation=0)
    extras = live(found.others)
    dataset = _fixed_before(run) or (trained_on(found.job) if found.job else None)
    if found.job is None:
        return _start(run, dataset, observed, context, deletes=extras)
    if dataset is None:  # somebody took it off the Job before it was noted: nobody knows what it trains on
        return Plan(deletes=(*extras, key_of(found.job)))
    run = _noting(run, found.job, dataset, observed)
    shape = training_shape(run.spec, context.settings)
    outcome = expect(read_workload(found.job, observed, now=context.now, shape=shape), TrainResult)
    if isinstance(outcome.result, TrainResult):
        return _succeeded(run, outcome, outcome.result, dataset, observed, context, deletes=extras)
    if outcome.phase == "Failed":
        return _failed(run, outcome, context, deletes=extras)
    if outcome.phase == "Lost" and is_finished(found.job) and run.status.artifact_uri is None:
        # The model is stored, its result is lost: noted before the Job goes, so that a user's container never trains anew.
        noted = run.status.model_copy(update={"artifact_uri": model_folder(run, context.settings)})
        run = run.model_copy(update={"status": noted})
    elif outcome.phase == "Lost":
        extras = (*extras, key_of(found.job))
    return _running(run, found.job, outcome, observed, context, deletes=extras)


def next_version(model: str, namespace: str, observed: Observed) -> int:
    """One more than the highest number that the model's versions have, or had: its runs remember those that were deleted.

    A number that meant other weights before would be taken for them, in logs and in everything that names a version.
    """
    there = (int(v["spec"]["version"]) for v in observed.select("ModelVersion", namespace, "model", model))
    made = (
        run["status"].get("modelVersion")
        for run in observed.select("TrainingRun", namespace, "model", model)
        if "status" in run
    )
    return 1 + max((*there, *(int(version["version"]) for version in made if version)), default=0)


def _fixed_before(run: TrainingRun) -> ArtifactRef | None:
    status = run.status
    if status.dataset_digest is None or status.dataset_uri is None:
        return None
    return ArtifactRef(uri=status.dataset_uri, digest=status.dataset_digest)


def _noting(run: TrainingRun, job: Object, dataset: ArtifactRef, observed: Observed) -> TrainingRun:
    """The run with what its Job has fixed in its status."""
    code = run.status.code
    if run.spec.trainer.script and code is None:
        code = fetched_code(pods_of(job, observed))
    fixed = {
        "code": code,
        "dataset_digest": dataset.digest,
        "dataset_uri": dataset.uri,
        "started_at": run.status.started_at or job["metadata"]["creationTimestamp"],
    }
    return run.model_copy(update={"status": run.status.model_copy(update=fixed)})


def _start(
    run: TrainingRun,
    dataset: ArtifactRef | None,
    observed: Observed,
    context: Context,
    *,
    deletes: tuple[Key, ...],
) -> Plan:
    """The Job, and no status: the Job's own comes within milliseconds, and is told then with the Job's name."""
    if dataset is None:
        wanted = run.spec.dataset
        found = dataset_artifact(
            observed, namespace=run.metadata.namespace, name=wanted.name, digest=wanted.digest, field="spec.dataset"
        )
        if isinstance(found, Waiting):
            conditions = _conditions(run, context)
            conditions.reconciling(found.reason, found.message)
            return Plan(deletes=deletes, status=_status(run, conditions))
        dataset = found
    base = base_artifact(run.spec.trainer.base_version, run.metadata.namespace, observed)
    if isinstance(base, Waiting):
        conditions = _conditions(run, context)
        conditions.reconciling(base.reason, base.message)
        return Plan(deletes=deletes, status=_status(run, conditions))
    stored = run.status.artifact_uri is not None
    job = training_job(run, dataset, context.settings, production=_production(run, observed), base=base, stored=stored)
    if why := observed.absent(job["kind"]):
        conditions = _conditions(run, context)
        conditions.reconciling(Reason.WAITING_FOR_API, f"spec.distribution.jobSet: {why}, or remove the field")
        return Plan(deletes=deletes, status=_status(run, conditions), requeue_after=API_INTERVAL)
    return Plan(children=(Child(manifest=job, mode="create"),), deletes=deletes)


def _production(run: TrainingRun, observed: Observed) -> ModelRef | None:
    """What the new model is judged beside: the version in Production now, if the run asks for it and there is one."""
    if run.spec.evaluation.compare_with is None:
        return None
    model = run.spec.model.name
    found = observed.select("ModelVersion", run.metadata.namespace, "model", model)
    versions = [typed(ModelVersion, version) for version in found]
    champion = choose_version(ModelSelector(name=model, stage="Production"), versions).version
    if champion is None:
        return None
    artifact = champion.spec.artifact
    return ModelRef(name=champion.metadata.name, uri=artifact.uri, digest=artifact.digest)


def _running(
    run: TrainingRun, job: Object, outcome: Outcome, observed: Observed, context: Context, *, deletes: tuple[Key, ...]
) -> Plan:
    conditions, queue = _conditions(run, context), run.spec.queue_name
    if outcome.phase == "Suspended" and queue:
        conditions.reconciling(
            Reason.QUEUED, f"{outcome.message}: it waits until Kueue admits it to LocalQueue {queue}"
        )
    elif outcome.phase == "Suspended" and run.spec.suspend:
        conditions.not_ready(Reason.SUSPENDED, f"spec.suspend is true: {outcome.message}")
    else:
        conditions.reconciling(outcome.reason, outcome.message)
    told = observed.progress(run.metadata.namespace, outcome.pod) if outcome.pod else None
    search = told.search if told else None
    waits = [w for w in (outcome.recheck, PROGRESS_INTERVAL if outcome.pod else None) if w]
    alone = run.spec.distribution and job["kind"] == "Job"  # a JobSet makes its pods' Service itself
    peers = (Child(manifest=peers_service(run, job), owned=False),) if alone else ()
    return Plan(
        children=peers,
        patches=() if queue or outcome.phase == "Lost" else suspend_patch(job, suspend=run.spec.suspend),
        deletes=deletes,
        status=_status(
            run,
            conditions,
            job_name=job_name_of(job),
            attempts=max(run.status.attempts, outcome.attempts),
            progress=told.model_copy(update={"search": None}) if told else run.status.progress,
            search=search or run.status.search,
            warnings=_warnings(run, outcome),
        ),
        requeue_after=min(waits, default=None),
    )


def _succeeded(
    run: TrainingRun,
    outcome: Outcome,
    result: TrainResult,
    dataset: ArtifactRef,
    observed: Observed,
    context: Context,
    *,
    deletes: tuple[Key, ...],
) -> Plan:
    namespace, model = run.metadata.namespace, run.spec.model.name
    made = observed.select("ModelVersion", namespace, "run", run.metadata.uid)
    children: tuple[Child, ...] = ()
    if made:
        reference = VersionReference(name=made[0]["metadata"]["name"], version=int(made[0]["spec"]["version"]))
    else:
        manifest = model_version(
            run,
            version=next_version(model, namespace, observed),
            artifact=result.artifact,
            dataset=dataset,
            settings=context.settings,
        )
        children = (Child(manifest=manifest, mode="create", owned=False),)
        reference = VersionReference(name=manifest["metadata"]["name"], version=manifest["spec"]["version"])
    conditions = _conditions(run, context)
    message = f"version {reference.version} of model {model}: ModelVersion {reference.name}"
    if result.comparison:
        message += f"; {result.comparison}"
    conditions.ready(Reason.SUCCEEDED, message)
    return Plan(
        children=children,
        deletes=deletes,
        status=_status(
            run,
            conditions,
            attempts=max(run.status.attempts, outcome.attempts),
            progress=None,
            search=result.search,
            metrics=result.metrics,
            artifact_uri=result.artifact.uri,
            artifact_digest=result.artifact.digest,
            model_version=reference,
            warnings=_warnings(run, outcome),
            finished_at=format_time(context.now),
        ),
        events=(Event(reason=Reason.SUCCEEDED, message=f"trained {message}"),),
    )


def _failed(run: TrainingRun, outcome: Outcome, context: Context, *, deletes: tuple[Key, ...]) -> Plan:
    conditions = _conditions(run, context)
    conditions.stalled(outcome.reason, append(outcome.message, ONCE))
    return Plan(
        deletes=deletes,
        status=_status(
            run,
            conditions,
            attempts=max(run.status.attempts, outcome.attempts),
            progress=None,
            warnings=_warnings(run, outcome),
            finished_at=format_time(context.now),
        ),
        events=(Event(reason=outcome.reason, message=outcome.message, type="Warning"),),
    )


def _finished(run: TrainingRun) -> bool:
    return run.status.finished_at is not None


def _keep_record(run: TrainingRun, jobs: Sequence[Object], context: Context) -> Plan:
    """Nothing, but for a Job made from a stale cache, and a word when spec was touched afterwards."""
    if run.status.observed_generation == run.metadata.generation:
        return Plan(deletes=live(jobs))
    conditions = _conditions(run, context)
    if (stalled := run.status.condition(STALLED)) is not None:
        conditions.stalled(stalled.reason, _too_late(stalled.message))
    elif (ready := run.status.condition(READY)) is not None and is_true(run.status, READY):
        conditions.ready(ready.reason, _too_late(ready.message))
    event = Event(reason=Reason.INVALID_SPEC, message=TOO_LATE.lstrip("; "), type="Warning")
    return Plan(deletes=live(jobs), status=_status(run, conditions), events=(event,))


def _too_late(message: str) -> str:
    return append(cause_of(message.removesuffix(TOO_LATE)), TOO_LATE)


def _warnings(run: TrainingRun, outcome: Outcome) -> tuple[str, ...]:
    ignored = SUSPEND_IGNORED if run.spec.suspend and run.spec.queue_name else None
    told = outcome.result.warnings if isinstance(outcome.result, TrainResult) else ()
    return tuple(w for w in (ignored, outcome.warning, *told) if w)[:MOST_WARNINGS]


def _conditions(run: TrainingRun, context: Context) -> ConditionSet:
    return ConditionSet(run.status, generation=run.metadata.generation, now=context.now)


def _status(run: TrainingRun, conditions: ConditionSet, **changes: Any) -> dict[str, Any]:
    status: TrainingRunStatus = run.status.model_copy(update=changes)
    return finish(status, conditions, generation=run.metadata.generation)
