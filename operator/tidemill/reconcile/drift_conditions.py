"""The conditions of a DriftPolicy: whether it watches, whether there are scores, whether they drift."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.driftpolicy import DriftPolicy, DriftPolicyStatus, MonitorStatus
from tidemill.contract.reasons import Reason
from tidemill.reconcile.artifacts import Waiting
from tidemill.reconcile.conditions import READY, STALLED, ConditionSet
from tidemill.reconcile.measuring import Measurement
from tidemill.reconcile.plan import Event
from tidemill.reconcile.policies.cooldown import Hold

DRIFTED, MEASURED = "Drifted", "Measured"
_LASTING = frozenset({Reason.ALERTING, Reason.COOLDOWN, Reason.DAILY_LIMIT, Reason.LOADING})
"""What an operator that has just started, and has no reading yet, leaves as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a pass found, for the conditions."""

    problem: Waiting | None = None
    measurement: Measurement | None = None
    hold: Hold | None = None
    deployment: Deployment | None = None


def trigger_text(monitor: MonitorStatus) -> str:
    """`monitor psi: PSI of temp 3.2 ≥ 0.2, 3 evaluations in a row`."""
    times = "" if monitor.consecutive == 1 else f", {monitor.consecutive} evaluations in a row"
    score = f"{monitor.metric} of {monitor.worst_feature} {monitor.score:g} ≥ {monitor.threshold:g}"
    return f"monitor {monitor.name}: {score}{times}"


def describe(
    policy: DriftPolicy, status: DriftPolicyStatus, report: Report, conditions: ConditionSet
) -> tuple[Event, ...]:
    """Set all conditions; events for what has begun to be wrong."""
    _measured(report, conditions)
    _drifted(report, conditions)
    _ready(policy, status, report, conditions)
    return _events(policy, conditions)


def _measured(report: Report, conditions: ConditionSet) -> None:
    found = report.measurement
    if found is None:
        conditions.set(MEASURED, False, Reason.NO_DATA, "there is no Deployment to measure: see Ready")
        return
    if found.state == "Old":
        return
    conditions.set(MEASURED, found.state == "Measured", found.reason, found.message)


def _drifted(report: Report, conditions: ConditionSet) -> None:
    found = report.measurement
    if found is None or found.state == "Unmeasured":
        reason = found.reason if found else Reason.NO_DATA
        conditions.set(DRIFTED, "Unknown", reason, "there are no scores to judge: see Measured")
    elif found.state == "Measured" and found.trigger:
        conditions.set(DRIFTED, True, Reason.DRIFTED, trigger_text(found.trigger))
    elif found.state == "Measured":
        above = [m.name for m in found.monitors if m.drifted]
        text = (
            f"{', '.join(above)} above the threshold, not yet long enough"
            if above
            else "all scores are below the thresholds"
        )
        conditions.set(DRIFTED, False, Reason.NO_DRIFT, text)


def _ready(policy: DriftPolicy, status: DriftPolicyStatus, report: Report, conditions: ConditionSet) -> None:
    if report.problem is not None:
        conditions.stalled(report.problem.reason, report.problem.message)
        return
    found = report.measurement
    if found is None:
        conditions.reconciling(Reason.PENDING, "the Deployment is being looked at")
        return
    if policy.spec.suspend:
        conditions.not_ready(Reason.SUSPENDED, "spec.suspend is true: scores are shown, nothing is done")
        return
    if found.reason in (Reason.PROMETHEUS_UNREACHABLE, Reason.WAITING_FOR_MODEL):
        conditions.reconciling(found.reason, found.message)
        return
    if current := status.current:
        waiting = current.phase == "AwaitingApproval"
        reason = Reason.WAITING_FOR_APPROVAL if waiting else Reason.RETRAINING
        conditions.ready(reason, f"retraining {current.number} is in phase {current.phase}: {current.message}")
        return
    if found.reason == Reason.PENDING:
        conditions.reconciling(Reason.PENDING, found.message)
        return
    _watching(policy, status, report, found, conditions)


def _watching(
    policy: DriftPolicy, status: DriftPolicyStatus, report: Report, found: Measurement, conditions: ConditionSet
) -> None:
    before = policy.status.condition(READY)
    if found.state == "Old" and before and before.status == "True" and before.reason in _LASTING:
        conditions.ready(before.reason, before.message)
        return
    if report.hold:
        conditions.ready(report.hold.reason, f"drifted, but no action is taken: {report.hold.message}")
        return
    if found.trigger and policy.spec.action.type == "Alert":
        conditions.ready(Reason.ALERTING, trigger_text(found.trigger))
        return
    name = status.version.name if status.version else "?"
    text = f"{len(policy.spec.monitors)} monitors watch {name} on Deployment {policy.spec.deployment}"
    last = status.attempts[0] if status.attempts else None
    if last:
        text += f"; retraining {last.number} {last.phase.lower()}: {last.message}"
    conditions.ready(Reason.WATCHING, text)


def _events(policy: DriftPolicy, conditions: ConditionSet) -> tuple[Event, ...]:
    events: list[Event] = []
    for now in conditions.build():
        before = policy.status.condition(now.type)
        begun = before is None or before.reason != now.reason
        if now.type == MEASURED and now.reason == Reason.PROMETHEUS_UNREACHABLE and begun:
            events.append(Event(reason=now.reason, message=now.message, type="Warning"))
        if now.type == STALLED and begun:
            events.append(Event(reason=now.reason, message=now.message, type="Warning"))
    return tuple(events)
