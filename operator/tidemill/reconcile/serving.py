"""Which version a Deployment answers with, and the log of its changes."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.common import ModelSelector, Transition, VersionReference
from tidemill.api.v1alpha1.deployment import Deployment, DeploymentStatus
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.contract.reasons import Reason, TransitionReason
from tidemill.reconcile.observed import Context, Observed
from tidemill.reconcile.plan import Event
from tidemill.reconcile.policies.selection import Choice, choose_version, usable
from tidemill.reconcile.typed import typed

TRANSITIONS_KEPT = 10


def versions_of(deployment: Deployment, observed: Observed) -> list[ModelVersion]:
    """All versions of the Deployment's model."""
    found = observed.select("ModelVersion", deployment.metadata.namespace, "model", deployment.spec.model.name)
    return [typed(ModelVersion, obj) for obj in found]


def choose(deployment: Deployment, observed: Observed) -> tuple[Choice, ModelVersion | None]:
    """The version to use now; when there is none, the one that was chosen last still is, as long as it is verified."""
    versions = versions_of(deployment, observed)
    choice = choose_version(deployment.spec.model, versions)
    last = deployment.status.model_version
    kept = next((v for v in versions if last and v.metadata.name == last.name and usable(v)), None)
    if choice.version is None and kept is not None and _still_selected(deployment.spec.model, kept):
        # It is only busy (a variant is being made, a condition flickers): what serves need not notice.
        return Choice(version=kept), kept
    return choice, choice.version or kept


def _still_selected(selector: ModelSelector, version: ModelVersion) -> bool:
    if selector.version is not None:
        return version.spec.version == selector.version
    return version.status.stage == selector.stage


def reference(version: ModelVersion) -> VersionReference:
    """The version as a status names it."""
    return VersionReference(name=version.metadata.name, version=version.spec.version)


def log_serving(
    deployment: Deployment, serving: VersionReference | None, observed: Observed, context: Context
) -> tuple[DeploymentStatus, tuple[Event, ...]]:
    """The status with what serves now; a change of the version is logged, an outage of the same version is not."""
    status, log = deployment.status, deployment.status.transitions
    if serving is None or (log and log[0].to == serving.name):
        return status.model_copy(update={"serving": serving}), ()
    before = log[0].to if log else ""
    reason, by = _cause(deployment, serving, observed)
    entry = Transition(at=format_time(context.now), from_=before, to=serving.name, reason=reason, by=by)
    verb = {"Online": "answers", "Batch": "has scored", "Edge": "is published"}[deployment.spec.mode]
    message = f"{serving.name} {verb}" + (f" instead of {before}" if before else "") + f" ({reason} by {by})"
    update = {"serving": serving, "transitions": (entry, *log)[:TRANSITIONS_KEPT], "updated_at": entry.at}
    return status.model_copy(update=update), (Event(reason=Reason.SERVING, message=message),)


def _cause(deployment: Deployment, serving: VersionReference, observed: Observed) -> tuple[str, str]:
    """Why this version serves, and on whose word: as its own log says of the stage, when a stage is followed."""
    stage = deployment.spec.model.stage
    if stage is None:
        return TransitionReason.REQUESTED, "spec.model.version"
    obj = observed.get("ModelVersion", deployment.metadata.namespace, serving.name)
    log = typed(ModelVersion, obj).status.transitions if obj else ()
    entry = next((t for t in log if t.to == stage), None)
    return (entry.reason, entry.by) if entry else (TransitionReason.REQUESTED, f"spec.stage of {serving.name}")


def listed(names: Sequence[str], limit: int = 3) -> str:
    """A few names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
