"""A retraining, step by step: Preparing, Training, Verifying, Comparing, AwaitingApproval, then Promoted, Kept or Failed.

Everything that a step needs is written in status.current before its child is made: an operator that dies between any two
effects does the same again, and the children's names, which carry the attempt's number, keep it from doing it twice.
"""

from __future__ import annotations

from collections.abc import Callable

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.common import VersionReference
from tidemill.api.v1alpha1.driftpolicy import Attempt, DriftPolicy, DriftPolicyStatus, Retrain
from tidemill.build.retraining import LABEL_ATTEMPT, attempt_name
from tidemill.reconcile.attempt import Scene, Step, stay
from tidemill.reconcile.challenger import preparing, training, verifying
from tidemill.reconcile.comparing import awaiting_approval, comparing
from tidemill.reconcile.jobs import key_of
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Key
from tidemill.reconcile.policies.cooldown import recent

ATTEMPTS_KEPT = 10
_CHILD_KINDS = ("Dataset", "TrainingRun")

_STEPS: dict[str, Callable[[Scene], Step]] = {
    "Preparing": preparing,
    "Training": training,
    "Verifying": verifying,
    "Comparing": comparing,
    "AwaitingApproval": awaiting_approval,
}


def advance(scene: Scene) -> Step:
    """One step of the retraining that runs."""
    if scene.policy.spec.suspend:
        return stay(scene, scene.attempt.message)
    return _STEPS[scene.attempt.phase](scene)


def abandon(attempt: Attempt, context: Context) -> Step:
    """The spec no longer says how to retrain: the attempt is over; what it made stays."""
    outcome = {
        "phase": "Failed",
        "finished_at": format_time(context.now),
        "message": "spec.action.retrain was removed during the retraining",
    }
    return Step(attempt=attempt.model_copy(update=outcome))


def begin(
    policy: DriftPolicy,
    retrain: Retrain,
    champion: VersionReference,
    *,
    trigger: str,
    drifted_at: str,
    observed: Observed,
    context: Context,
) -> Attempt:
    """A new attempt. It exists once it stands in status; its children are made by the passes that read it there."""
    number = _next_number(policy, observed)
    name = attempt_name(policy.metadata.name, number)
    return Attempt(
        number=number,
        phase="Preparing",
        trigger=trigger,
        drifted_at=drifted_at,
        triggered_at=format_time(context.now),
        dataset=name,
        training_run=name,
        champion=champion,
        metric=retrain.gate.metric,
        message=f"Dataset {name} is being prepared",
    )


def record(status: DriftPolicyStatus, step: Step) -> DriftPolicyStatus:
    """The status after a step: the attempt goes on, or joins the finished ones."""
    if not step.ended:
        return status.model_copy(update={"current": step.attempt})
    return status.model_copy(update={"current": None, "attempts": (step.attempt, *status.attempts)[:ATTEMPTS_KEPT]})


def started(status: DriftPolicyStatus, attempt: Attempt, context: Context) -> DriftPolicyStatus:
    """The status with an attempt that begins."""
    return status.model_copy(
        update={
            "current": attempt,
            "attempt_count": attempt.number,
            "runs_started": (*recent(status.runs_started, context.now), attempt.triggered_at),
            "suppressed": None,
        }
    )


def forgotten(policy: DriftPolicy, status: DriftPolicyStatus, observed: Observed) -> tuple[Key, ...]:
    """The children of attempts that status holds no more; their data stays in the store, their ModelVersions as well."""
    kept = {a.number for a in status.attempts} | ({status.current.number} if status.current else set())
    return tuple(
        key_of(child)
        for child in _children(policy, observed)
        if (number := _number(child)) and number <= policy.status.attempt_count and number not in kept
    )


def _next_number(policy: DriftPolicy, observed: Observed) -> int:
    """One more than ever before, also when the status was lost (restored without it) and only the children remember."""
    known = [_number(child) for child in _children(policy, observed)]
    return max([policy.status.attempt_count, *known]) + 1


def _children(policy: DriftPolicy, observed: Observed) -> list[Object]:
    return [child for kind in _CHILD_KINDS for child in observed.owned(policy.metadata.uid, kind)]


def _number(child: Object) -> int:
    text = (child["metadata"].get("labels") or {}).get(LABEL_ATTEMPT, "")
    return int(text) if text.isdigit() else 0
