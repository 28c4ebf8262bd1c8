"""DriftPolicy: judge the newest reading, carry a running retraining on, start one when drift has lasted long enough.

Time alone changes nothing here but the end of a cooldown or of the daily limit while there is drift: only then is a pass
asked for. A new outcome is written; another number of samples with the same outcome is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.api.durations import format_time, parse_time
from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.driftpolicy import DriftPolicy, DriftPolicyStatus, Suppression
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.contract.reasons import Reason
from tidemill.reconcile.artifacts import Waiting
from tidemill.reconcile.attempt import Scene, Step
from tidemill.reconcile.conditions import STALLED, ConditionSet, finish, is_true
from tidemill.reconcile.drift_conditions import Report, describe, trigger_text
from tidemill.reconcile.drift_problems import action_problem, deployment_problem
from tidemill.reconcile.measuring import Measurement, measure
from tidemill.reconcile.observed import Context, Observed
from tidemill.reconcile.plan import Event, Plan
from tidemill.reconcile.policies.cooldown import Hold, hold
from tidemill.reconcile.retraining import abandon, advance, begin, forgotten, record, started
from tidemill.reconcile.typed import typed


def reconcile_driftpolicy(policy: DriftPolicy, observed: Observed, context: Context) -> Plan:
    """One pass over a DriftPolicy."""
    if policy.metadata.deletion_timestamp:
        return Plan()
    deployment = _deployment(policy, observed)
    step = _advance(policy, deployment, observed, context)
    status = record(policy.status, step) if step else policy.status
    problem = deployment_problem(policy, deployment)
    if problem or deployment is None:
        return _plan(policy, status, Report(problem=problem), step, observed, context)
    reading = observed.drift(policy.metadata.namespace, policy.metadata.name)
    measurement = measure(policy, deployment, reading)
    status = _measured(policy, status, deployment, measurement)
    problem = action_problem(policy, deployment, observed)
    decision = _decide(policy, status, deployment, measurement, problem, observed, context)
    report = Report(problem=problem, measurement=measurement, hold=decision.hold, deployment=deployment)
    return _plan(policy, decision.status, report, step, observed, context, events=decision.events)


def _deployment(policy: DriftPolicy, observed: Observed) -> Deployment | None:
    obj = observed.get("Deployment", policy.metadata.namespace, policy.spec.deployment)
    return typed(Deployment, obj) if obj else None


def _advance(policy: DriftPolicy, deployment: Deployment | None, observed: Observed, context: Context) -> Step | None:
    """The running retraining's next step, if one runs."""
    attempt, retrain = policy.status.current, policy.spec.action.retrain
    if attempt is None:
        return None
    if retrain is None:
        return abandon(attempt, context)
    return advance(
        Scene(
            policy=policy,
            retrain=retrain,
            deployment=deployment,
            attempt=attempt,
            observed=observed,
            context=context,
        )
    )


def _measured(
    policy: DriftPolicy, status: DriftPolicyStatus, deployment: Deployment, found: Measurement
) -> DriftPolicyStatus:
    """The status with the measurement; numbers that say nothing new leave the old ones standing."""
    if found.state == "Old":
        return status
    serving = deployment.status.serving
    before = policy.status.condition("Measured")
    same = (
        before is not None
        and before.reason == found.reason
        and status.version == serving
        and status.monitors == found.monitors
    )
    update: dict[str, object] = {"version": serving, "monitors": found.monitors}
    if not same and found.evaluated_at is not None:
        update |= {"samples": found.samples, "evaluated_at": format_time(found.evaluated_at)}
    if status.version != serving or (found.state == "Measured" and found.trigger is None):
        update["drifted_since"] = None
    elif found.trigger and status.drifted_since is None:
        update["drifted_since"] = found.drifted_at(policy.spec.interval)
    if status.version != serving and found.trigger:
        update["drifted_since"] = found.drifted_at(policy.spec.interval)
    return status.model_copy(update=update)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    status: DriftPolicyStatus
    hold: Hold | None = None
    events: tuple[Event, ...] = ()


def _decide(
    policy: DriftPolicy,
    status: DriftPolicyStatus,
    deployment: Deployment,
    found: Measurement,
    problem: Waiting | None,
    observed: Observed,
    context: Context,
) -> _Decision:
    """Act upon lasting drift, or note why not."""
    serving, retrain = deployment.status.serving, policy.spec.action.retrain
    if found.state != "Measured":
        return _Decision(status=status)
    if found.trigger is None or serving is None:
        return _Decision(status=status.model_copy(update={"suppressed": None}))
    text = trigger_text(found.trigger)
    events: tuple[Event, ...] = ()
    if status.drifted_since != policy.status.drifted_since and not policy.spec.suspend:
        events = (Event(reason=Reason.DRIFTED, message=f"{text} in requests to {serving.name}", type="Warning"),)
    if policy.spec.action.type == "Alert":
        if policy.spec.suspend:
            return _suppress(status, _suspended_alert(), context, events)
        return _Decision(status=status.model_copy(update={"suppressed": None}), events=events)
    if policy.status.current is not None:
        return _busy(policy, status, context, events)
    if problem is not None or retrain is None:
        return _Decision(status=status, events=events)
    held = hold(policy.spec, status, rolling_out=_rolling_out(deployment, status, observed), now=context.now)
    if held is not None:
        return _suppress(status, held, context, events)
    drifted_at = found.drifted_at(policy.spec.interval) or format_time(context.now)
    attempt = begin(policy, retrain, serving, trigger=text, drifted_at=drifted_at, observed=observed, context=context)
    event = Event(reason=Reason.RETRAINING, message=f"retraining {attempt.number} begins: {text}")
    return _Decision(status=started(status, attempt, context), events=(*events, event))


def _suspended_alert() -> Hold:
    return Hold(reason=Reason.SUSPENDED, message="spec.suspend is true: set it to false to be alerted")


def _busy(policy: DriftPolicy, status: DriftPolicyStatus, context: Context, events: tuple[Event, ...]) -> _Decision:
    """A drift that came after the running retraining's trigger asks in vain; that retraining's own drift asks no more."""
    current = policy.status.current
    since = status.drifted_since
    if current is None or since is None or parse_time(since) <= parse_time(current.triggered_at):
        return _Decision(status=status.model_copy(update={"suppressed": None}), events=events)
    message = f"retraining {current.number} is still running ({current.phase})"
    return _suppress(status, Hold(reason=Reason.RETRAINING, message=message), context, events)


def _suppress(status: DriftPolicyStatus, held: Hold, context: Context, events: tuple[Event, ...]) -> _Decision:
    """Note what was not done; the time is that of the first refusal for this reason."""
    before = status.suppressed
    if before and before.reason == held.reason:
        noted = before.model_copy(update={"message": held.message})
        return _Decision(status=status.model_copy(update={"suppressed": noted}), hold=held, events=events)
    noted = Suppression(at=format_time(context.now), reason=held.reason, message=held.message)
    event = Event(reason=held.reason, message=f"drift asks for an action that is not taken: {held.message}")
    return _Decision(status=status.model_copy(update={"suppressed": noted}), hold=held, events=(*events, event))


def _rolling_out(deployment: Deployment, status: DriftPolicyStatus, observed: Observed) -> str | None:
    """A version that is about to answer instead of the one that was judged; None when it failed to."""
    serving, chosen = deployment.status.serving, deployment.status.model_version
    if serving is None or is_true(deployment.status, STALLED):
        return None
    if chosen and chosen.name != serving.name:
        return chosen.name
    last = status.attempts[0] if status.attempts else None
    if last is None or last.phase != "Promoted" or last.challenger is None or last.challenger.name == serving.name:
        return None
    found = observed.get("ModelVersion", deployment.metadata.namespace, last.challenger.name)
    if found is None:
        return None
    version = typed(ModelVersion, found)
    pending = version.spec.stage == "Production" and version.status.stage != "Archived"
    return version.metadata.name if pending else None


def _plan(
    policy: DriftPolicy,
    status: DriftPolicyStatus,
    report: Report,
    step: Step | None,
    observed: Observed,
    context: Context,
    *,
    events: tuple[Event, ...] = (),
) -> Plan:
    generation = policy.metadata.generation
    conditions = ConditionSet(policy.status, generation=generation, now=context.now)
    events = (*(step.events if step else ()), *events, *describe(policy, status, report, conditions))
    waits = [step.recheck] if step and step.recheck is not None else []
    if report.hold and report.hold.until:
        waits.append((report.hold.until - context.now).total_seconds())
    return Plan(
        children=step.children if step else (),
        patches=step.patches if step else (),
        deletes=(*(step.deletes if step else ()), *forgotten(policy, status, observed)),
        status=finish(status, conditions, generation=generation),
        events=events,
        requeue_after=min(waits, default=None),
    )
