"""ModelVersion: verify the artifact, make its variants and exports, decide its stage, keep the transition log.

Nothing is made of an artifact, and no stage is held by it, before every file of it was verified. A version that could not
be verified is Stalled until its spec or its retry annotation changes. Once a version was ready it stays so while variants
that were added later are made: the original is served meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.modelversion import ModelVersion, ModelVersionStatus
from tidemill.build.job import shape_of
from tidemill.build.modelversion import version_job
from tidemill.contract.canonical import short
from tidemill.contract.reasons import Reason
from tidemill.contract.results import VerifyResult
from tidemill.contract.tasks import ArtifactRef, VerifyModel
from tidemill.reconcile.conditions import READY, RECONCILING, STALLED, ConditionSet, finish, is_true
from tidemill.reconcile.jobs import expect, find_job, key_of, live, read_job
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Event, Key, Plan
from tidemill.reconcile.policies.stage import decide_stage, is_approved, is_verified, with_transition
from tidemill.reconcile.retry import retriable, retry_of
from tidemill.reconcile.typed import typed
from tidemill.reconcile.variants import Step, View, export, optimise, set_variants_ready

VERIFIED, APPROVED = "Verified", "Approved"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verification:
    """What one pass makes of the verification."""

    status: ModelVersionStatus
    children: tuple[Child, ...] = ()
    deletes: tuple[Key, ...] = ()
    events: tuple[Event, ...] = ()
    used: tuple[str, ...] = ()
    """Names of the Jobs that are asked for."""
    recheck: float | None = None


def reconcile_modelversion(version: ModelVersion, observed: Observed, context: Context) -> Plan:
    """One pass over a ModelVersion."""
    jobs = observed.owned(version.metadata.uid, "Job")
    conditions = ConditionSet(version.status, generation=version.metadata.generation, now=context.now)
    asked = retry_of(version)
    gave_up = _gave_up(version) and asked in (None, version.status.retried)
    if asked is not None:
        version = version.model_copy(update={"status": version.status.model_copy(update={"retried": asked})})
    checked = _verify(version, jobs, observed, context, conditions, gave_up=gave_up)
    version = version.model_copy(update={"status": _with_metrics(version, checked.status, observed)})
    _set_approved(version, conditions)

    steps: list[Step[Any]] = []
    events = list(checked.events)
    if is_verified(version):
        view = View(version=version, jobs=jobs, observed=observed, context=context)
        variants, exports = optimise(view), export(view)
        steps = [*variants, *exports]
        _set_ready(version, conditions, steps)
        version = version.model_copy(
            update={
                "status": version.status.model_copy(
                    update={"variants": tuple(s.item for s in variants), "exports": tuple(s.item for s in exports)}
                )
            }
        )

    siblings = observed.select("ModelVersion", version.metadata.namespace, "model", version.spec.model)
    decision = decide_stage(version, [typed(ModelVersion, s) for s in siblings], now=format_time(context.now))
    if change := decision.transition:
        by = f" by {change.by}" if change.by else ""
        text = f"stage {change.from_} → {change.to}: {change.reason}{by}"
        events.append(Event(reason=change.reason, message=text))
    used = {*checked.used, *(s.job for s in steps if s.job)}
    waits = [w for w in (checked.recheck, *(s.recheck for s in steps)) if w]
    return Plan(
        children=(*checked.children, *(c for s in steps for c in s.children)),
        deletes=(
            *live(j for j in jobs if j["metadata"]["name"] not in used),
            *checked.deletes,
            *(k for s in steps for k in s.deletes),
        ),
        status=finish(with_transition(version.status, decision), conditions, generation=version.metadata.generation),
        events=tuple(events),
        requeue_after=min(waits, default=None),
    )


def _verify(
    version: ModelVersion,
    jobs: Sequence[Object],
    observed: Observed,
    context: Context,
    conditions: ConditionSet,
    *,
    gave_up: bool,
) -> _Verification:
    spec, status = version.spec, version.status
    artifact = ArtifactRef(uri=spec.artifact.uri, digest=spec.artifact.digest)
    if is_verified(version):
        before = status.condition(VERIFIED)
        conditions.set(VERIFIED, True, Reason.VERIFIED, before.message if before else "")
        return _Verification(status=status)
    if gave_up:
        stalled, verified = status.condition(STALLED), status.condition(VERIFIED)
        conditions.stalled(Reason.NOT_VERIFIED, stalled.message if stalled else "")
        conditions.set(VERIFIED, False, Reason.NOT_VERIFIED, verified.message if verified else "")
        return _Verification(status=status)
    task = VerifyModel(owner=version.ref, artifact=artifact)
    job = version_job(version, task, what="verify", retry=status.retried, settings=context.settings)
    found = find_job(task, jobs, retry=status.retried).job
    if found is None:
        name = job["metadata"]["name"]
        _verifying(conditions, Reason.VERIFYING, f"Job {name} was created")
        return _Verification(status=status, children=(Child(manifest=job, mode="create"),), used=(name,))
    name = found["metadata"]["name"]
    outcome = expect(read_job(found, observed, now=context.now, shape=shape_of(job)), VerifyResult)
    if isinstance(result := outcome.result, VerifyResult):
        text = (
            f"every file agrees with {short(artifact.digest)}; opset {result.opset}, {result.inputs} inputs, "
            f"{result.outputs} outputs"
        )
        conditions.set(VERIFIED, True, Reason.VERIFIED, text)
        done = status.model_copy(update={"verified_digest": artifact.digest, "size_bytes": result.size_bytes})
        return _Verification(status=done, used=(name,), events=(Event(reason=Reason.VERIFIED, message=text),))
    if outcome.phase == "Failed":
        text = f"{outcome.reason}: {outcome.message}"
        conditions.set(VERIFIED, False, Reason.NOT_VERIFIED, text)
        conditions.stalled(Reason.NOT_VERIFIED, retriable(text, version))
        event = Event(reason=Reason.NOT_VERIFIED, message=text, type="Warning")
        return _Verification(status=status, used=(name,), events=(event,))
    _verifying(conditions, outcome.reason if outcome.warning else Reason.VERIFYING, outcome.message)
    lost = (key_of(found),) if outcome.phase == "Lost" else ()
    return _Verification(status=status, used=(name,), deletes=lost, recheck=outcome.recheck)


def _verifying(conditions: ConditionSet, reason: str, message: str) -> None:
    conditions.set(VERIFIED, "Unknown", Reason.VERIFYING, message)
    conditions.reconciling(reason, message)


def _gave_up(version: ModelVersion) -> bool:
    """The verification of this generation has failed: only a change of the spec, or a retry, starts another."""
    stalled = version.status.condition(STALLED)
    return stalled is not None and stalled.observed_generation == version.metadata.generation


def _set_approved(version: ModelVersion, conditions: ConditionSet) -> None:
    approval = version.spec.approval
    if approval.mode == "Auto":
        conditions.set(APPROVED, True, Reason.APPROVED, "spec.approval.mode is Auto")
    elif is_approved(version.spec):
        conditions.set(APPROVED, True, Reason.APPROVED, f"approved by {approval.approved_by}")
    else:
        text = f"no stage is held before spec.approval.approvedBy is set on ModelVersion {version.metadata.name}"
        conditions.set(APPROVED, False, Reason.WAITING_FOR_APPROVAL, text)


def _set_ready(version: ModelVersion, conditions: ConditionSet, steps: Sequence[Step[Any]]) -> None:
    """Ready, VariantsReady and Reconciling of a verified version."""
    items = [s.item for s in steps]
    ended = set_variants_ready(conditions, items, version)
    words = ", ".join(f"{i.name} {i.state.lower()}" for i in items)
    name = f"version {version.spec.version} of model {version.spec.model} is verified"
    message = f"{name}; {words}" if words else name
    if ended:
        conditions.ready(Reason.VERIFIED, message)
    elif is_true(version.status, READY):
        conditions.ready(Reason.VERIFIED, message)
        conditions.set(RECONCILING, True, Reason.OPTIMISING, message)
    else:
        trouble = next(
            (f"; {i.name}: {i.message}" for i in items if i.message and i.state in ("Pending", "Running")), ""
        )
        conditions.reconciling(Reason.OPTIMISING, f"{message}{trouble}")


def _with_metrics(version: ModelVersion, status: ModelVersionStatus, observed: Observed) -> ModelVersionStatus:
    """The metrics of the run that made the version, once they are there."""
    origin = version.spec.origin
    if status.metrics or not origin.training_run:
        return status
    run = observed.get("TrainingRun", version.metadata.namespace, origin.training_run)
    if run is None or run["metadata"].get("uid") != origin.training_run_uid:
        return status
    return status.model_copy(update={"metrics": (run.get("status") or {}).get("metrics") or {}})
