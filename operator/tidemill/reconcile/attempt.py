"""One step of a retraining: what it looks at, what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.common import VersionReference
from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.driftpolicy import Attempt, DriftPolicy, Retrain
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.contract.reasons import Reason
from tidemill.reconcile.conditions import shorten
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Event, Key, Patch
from tidemill.reconcile.typed import typed

MESSAGE_LIMIT = 280
"""Ten attempts stand in status, and an object stays below 10 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a step looks at."""

    policy: DriftPolicy
    retrain: Retrain
    deployment: Deployment | None
    attempt: Attempt
    observed: Observed = field(repr=False)
    context: Context = field(repr=False)

    @property
    def namespace(self) -> str:
        """Of the policy, and so of everything else."""
        return self.policy.metadata.namespace

    @property
    def serving(self) -> VersionReference | None:
        """The version that answers now."""
        return self.deployment.status.serving if self.deployment else None

    def version(self, reference: VersionReference | None) -> ModelVersion | None:
        """The ModelVersion of a reference, if it still exists."""
        found = self.observed.get("ModelVersion", self.namespace, reference.name) if reference else None
        return typed(ModelVersion, found) if found else None

    def is_mine(self, child: Object) -> bool:
        """Whether the policy controls an object."""
        references = child["metadata"].get("ownerReferences") or ()
        return any(r.get("controller") and r.get("uid") == self.policy.metadata.uid for r in references)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The attempt as it is after this pass, and the effects."""

    attempt: Attempt
    children: tuple[Child, ...] = ()
    patches: tuple[Patch, ...] = ()
    deletes: tuple[Key, ...] = ()
    events: tuple[Event, ...] = ()
    recheck: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the attempt has its outcome."""
        return self.attempt.finished_at is not None


def stay(scene: Scene, message: str, **effects: Any) -> Step:
    """The same phase, waiting for what the message says."""
    text = shorten(message, MESSAGE_LIMIT)
    return Step(attempt=scene.attempt.model_copy(update={"message": text}), **effects)


def enter(
    scene: Scene,
    phase: Literal["Training", "Verifying", "Comparing", "AwaitingApproval"],
    message: str,
    *,
    update: Mapping[str, object] | None = None,
) -> Step:
    """The next phase; its child is made by the next pass, from what this one writes in status."""
    number = scene.attempt.number
    text = shorten(message, MESSAGE_LIMIT)
    event = Event(reason=Reason.RETRAINING, message=f"retraining {number}: {phase}: {message}")
    attempt = scene.attempt.model_copy(update={"phase": phase, "message": text, **(update or {})})
    return Step(attempt=attempt, events=(event,))


def end(
    scene: Scene,
    phase: Literal["Promoted", "Kept", "Failed"],
    reason: str,
    message: str,
    *,
    patches: tuple[Patch, ...] = (),
    update: Mapping[str, object] | None = None,
) -> Step:
    """The outcome."""
    finished = format_time(scene.context.now)
    text = shorten(message, MESSAGE_LIMIT)
    outcome = {"phase": phase, "message": text, "finished_at": finished, **(update or {})}
    attempt = scene.attempt.model_copy(update=outcome)
    event = Event(
        reason=reason,
        message=f"retraining {attempt.number} {phase.lower()}: {message}",
        type="Warning" if phase == "Failed" else "Normal",
    )
    return Step(attempt=attempt, patches=patches, events=(event,))


def fail(scene: Scene, reason: str, message: str) -> Step:
    """The attempt is over without a verdict; the champion goes on, the cooldown begins."""
    return end(scene, "Failed", reason, f"{reason}: {message}")
