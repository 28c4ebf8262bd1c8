"""Which version of a model holds the stage it asks for, and why that changed.

A request is what spec says (stage and promotedBy). It counts from the moment its version is verified and approved and has
noted it in status. Of all that ask for Production the newest request holds it; of equal times the higher version. Each
version decides for itself from what it sees of the others: for the moment in which the old holder has not yet seen the new
one both say Production, and readers take the newer request. There is never a moment in which none does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidemill.api.v1alpha1.common import Transition
from tidemill.api.v1alpha1.modelversion import ModelVersion, ModelVersionSpec, ModelVersionStatus, Stage
from tidemill.contract.canonical import digest, short
from tidemill.contract.reasons import TransitionReason

TRANSITIONS_KEPT = 10
BY_SPEC = "spec.stage"
_POLICY = "driftpolicy/"
_MACHINES = (_POLICY, "trainingrun/")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDecision:
    """The stage a version holds, with its request as noted, and the transition when it changed."""

    stage: Stage
    request: str | None
    requested_at: str | None
    since: str | None
    transition: Transition | None = None


def request_id(spec: ModelVersionSpec) -> str:
    """What is asked for, by whom: another id means that somebody asked anew."""
    return short(digest([spec.stage, spec.promoted_by or ""]))


def is_approved(spec: ModelVersionSpec) -> bool:
    """Whether nobody's consent is missing."""
    return spec.approval.mode == "Auto" or spec.approval.approved_by is not None


def is_verified(version: ModelVersion) -> bool:
    """Whether the very artifact of the spec was verified."""
    return version.status.verified_digest == version.spec.artifact.digest


def holds_claim(version: ModelVersion) -> bool:
    """Whether a version may hold Production: asked, noted, verified, approved, not being deleted."""
    return (
        version.spec.stage == "Production"
        and version.status.stage_request == request_id(version.spec)
        and is_verified(version)
        and is_approved(version.spec)
        and version.metadata.deletion_timestamp is None
    )


def rank(version: ModelVersion) -> tuple[str, int]:
    """Among claims the greatest wins: the newest request, then the higher version."""
    return version.status.stage_requested_at or "", version.spec.version


def holder(versions: Iterable[ModelVersion]) -> ModelVersion | None:
    """The version that holds Production."""
    return max((v for v in versions if holds_claim(v)), key=rank, default=None)


def decide_stage(version: ModelVersion, others: Iterable[ModelVersion], *, now: str) -> StageDecision:
    """What a version says of its own stage. `version` carries the verification that this very pass may have found."""
    spec, status = version.spec, version.status
    allowed = is_verified(version) and is_approved(spec)
    request, requested_at, fresh = status.stage_request, status.stage_requested_at, False
    if allowed and request != request_id(spec):
        request, requested_at, fresh = request_id(spec), now, True
    noted = version.model_copy(
        update={"status": status.model_copy(update={"stage_request": request, "stage_requested_at": requested_at})}
    )
    stage, reason, by = _wanted(noted, [o for o in others if o.metadata.uid != version.metadata.uid], allowed, fresh)
    since, transition = status.stage_since, None
    if stage != status.stage:
        since = now
        transition = Transition(at=now, from_=status.stage, to=stage, reason=reason, by=by)
    return StageDecision(stage=stage, request=request, requested_at=requested_at, since=since, transition=transition)


def with_transition(status: ModelVersionStatus, decision: StageDecision) -> ModelVersionStatus:
    """The status after a decision; the newest transition comes first."""
    log = status.transitions
    if decision.transition:
        log = (decision.transition, *log)[:TRANSITIONS_KEPT]
    return status.model_copy(
        update={
            "stage": decision.stage,
            "stage_request": decision.request,
            "stage_requested_at": decision.requested_at,
            "stage_since": decision.since,
            "transitions": log,
        }
    )


def _wanted(version: ModelVersion, others: list[ModelVersion], allowed: bool, fresh: bool) -> tuple[Stage, str, str]:
    spec = version.spec
    if not allowed:
        return "None", TransitionReason.WITHHELD, "spec.approval" if is_verified(version) else "verification"
    if spec.stage == "Production":
        first = holder([version, *others])
        if first is not None and first.metadata.uid != version.metadata.uid:
            return "Archived", TransitionReason.SUPERSEDED, first.metadata.name
    by = spec.promoted_by or BY_SPEC
    if not fresh:
        return spec.stage, TransitionReason.RESTORED, by
    if by.startswith(_MACHINES):
        # A policy's or run's promotedBy stays in spec when a person sets another stage afterwards: credit it once only.
        if any(t.by == by and t.reason != TransitionReason.RESTORED for t in version.status.transitions):
            return spec.stage, TransitionReason.REQUESTED, BY_SPEC
        return spec.stage, TransitionReason.PROMOTED if by.startswith(_POLICY) else TransitionReason.REQUESTED, by
    return spec.stage, TransitionReason.REQUESTED, by
