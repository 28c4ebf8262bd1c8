"""What the modes Batch and Edge share: one task per model version and input, done once, its output kept in status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidemill.api.v1alpha1.common import ArtifactStatus
from tidemill.api.v1alpha1.deployment import Deployment, DeploymentStatus
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.build.job import request_of, shape_of
from tidemill.contract.reasons import Reason
from tidemill.contract.results import BatchResult, EdgeResult
from tidemill.contract.tasks import BaseTask
from tidemill.reconcile.conditions import READY, STALLED, ConditionSet, finish, is_true
from tidemill.reconcile.jobs import Outcome, expect, find_job, read_job
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Event, Key, Manifest, Plan
from tidemill.reconcile.retry import retriable, retry_of
from tidemill.reconcile.serving import log_serving, reference

AVAILABLE = "Available"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done for the chosen version."""

    version: ModelVersion
    task: BaseTask
    job: Manifest
    doing: str
    """`scoring Dataset flights with flights-v3`."""
    done: Callable[[BatchResult | EdgeResult], str]
    """The Ready message from the result."""
    result: type[Any]


def carry_out(deployment: Deployment, work: Work, observed: Observed, context: Context) -> Plan:
    """Make the Job, follow it, keep its output."""
    status = deployment.status.model_copy(update={"model_version": reference(work.version)})
    jobs = observed.owned(deployment.metadata.uid, "Job")
    lookup = find_job(work.task, jobs, retry=retry_of(deployment))
    name = work.job["metadata"]["name"]
    key = request_of(work.task)
    stale = tuple(_key(job) for job in lookup.others)
    if status.output and status.output_of == key:
        return _finish(deployment, status, context, deletes=stale)
    if lookup.job is None:
        if is_true(status, STALLED) and status.job_name == name:
            return _finish(deployment, status, context, deletes=stale, keep=True)
        status = status.model_copy(update={"job_name": name})
        outcome = Outcome(phase="Pending", reason=Reason.PENDING, message=f"{work.doing}: Job {name} is created")
        return _progress(deployment, status, outcome, work, context, children=(_child(work),), deletes=stale)
    job_name = lookup.job["metadata"]["name"]
    status = status.model_copy(update={"job_name": job_name})
    outcome = expect(read_job(lookup.job, observed, now=context.now, shape=shape_of(work.job)), work.result)
    if outcome.phase == "Lost":
        return _progress(deployment, status, outcome, work, context, deletes=(*stale, _key(lookup.job)))
    if outcome.phase == "Succeeded" and isinstance(outcome.result, BatchResult | EdgeResult):
        return _succeeded(deployment, status, outcome.result, key, work, observed, context, deletes=stale)
    return _progress(deployment, status, outcome, work, context, deletes=stale)


def wait(deployment: Deployment, context: Context, *, reason: str, message: str, stalled: bool = False) -> Plan:
    """Nothing can be done yet; what was made before stays."""
    conditions = _conditions(deployment, deployment.status, context)
    (conditions.stalled if stalled else conditions.reconciling)(reason, message)
    return _plan(deployment, deployment.status, conditions)


def _child(work: Work) -> Child:
    return Child(manifest=work.job, mode="create")


def _key(job: Object) -> Key:
    meta = job["metadata"]
    return Key(kind="Job", namespace=meta["namespace"], name=meta["name"])


def _conditions(deployment: Deployment, status: DeploymentStatus, context: Context) -> ConditionSet:
    conditions = ConditionSet(deployment.status, generation=deployment.metadata.generation, now=context.now)
    if status.output and status.serving:
        conditions.set(AVAILABLE, True, Reason.COMPLETED, f"output of {status.serving.name}: {status.output.uri}")
    else:
        conditions.set(AVAILABLE, False, Reason.PENDING, "nothing has been made yet: see Ready")
    return conditions


def _plan(deployment: Deployment, status: DeploymentStatus, conditions: ConditionSet, **rest: Any) -> Plan:
    return Plan(status=finish(status, conditions, generation=deployment.metadata.generation), **rest)


def _finish(
    deployment: Deployment, status: DeploymentStatus, context: Context, *, deletes: tuple[Key, ...], keep: bool = False
) -> Plan:
    """The output is there already; with `keep`, the failure stands until version, input, spec or retry change."""
    conditions = _conditions(deployment, status, context)
    before = deployment.status.condition(READY)
    if keep and before:
        conditions.stalled(before.reason, before.message)
    else:
        conditions.ready(Reason.COMPLETED, _kept_message(deployment, status))
    return _plan(deployment, status, conditions, deletes=deletes)


def _kept_message(deployment: Deployment, status: DeploymentStatus) -> str:
    before = deployment.status.condition(READY)
    if before and before.reason == Reason.COMPLETED:
        return before.message
    name = status.serving.name if status.serving else "the model"
    return f"the output of {name} is up to date"


def _progress(
    deployment: Deployment,
    status: DeploymentStatus,
    outcome: Outcome,
    work: Work,
    context: Context,
    *,
    children: tuple[Child, ...] = (),
    deletes: tuple[Key, ...] = (),
) -> Plan:
    conditions = _conditions(deployment, status, context)
    events: tuple[Event, ...] = ()
    if outcome.phase == "Failed":
        message = retriable(f"{work.doing} failed: {outcome.message}", deployment)
        conditions.stalled(outcome.reason, message)
        before = deployment.status.condition(STALLED)
        if before is None or before.message != message:
            events = (Event(reason=outcome.reason, message=message, type="Warning"),)
    else:
        conditions.reconciling(outcome.reason, outcome.message)
    return _plan(
        deployment,
        status,
        conditions,
        children=children,
        deletes=deletes,
        events=events,
        requeue_after=outcome.recheck,
    )


def _succeeded(
    deployment: Deployment,
    status: DeploymentStatus,
    result: BatchResult | EdgeResult,
    key: str,
    work: Work,
    observed: Observed,
    context: Context,
    *,
    deletes: tuple[Key, ...],
) -> Plan:
    message = work.done(result)
    logged, events = log_serving(deployment, reference(work.version), observed, context)
    status = logged.model_copy(
        update={
            "model_version": status.model_version,
            "job_name": status.job_name,
            "output": ArtifactStatus(uri=result.artifact.uri, digest=result.artifact.digest),
            "output_of": key,
            "output_rows": result.rows if isinstance(result, BatchResult) else None,
        }
    )
    conditions = _conditions(deployment, status, context)
    conditions.ready(Reason.COMPLETED, message)
    completed = Event(reason=Reason.COMPLETED, message=message)
    return _plan(deployment, status, conditions, deletes=deletes, events=(*events, completed))
