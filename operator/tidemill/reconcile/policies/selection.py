"""Policy: which version of a model a Deployment uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.api.v1alpha1.common import ModelSelector
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.contract.reasons import Reason
from tidemill.reconcile.conditions import READY, is_true

_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The version chosen, or why there is none."""

    version: ModelVersion | None = None
    reason: Reason = Reason.WAITING_FOR_MODEL
    message: str = ""
    """Why there is none, and the way out."""


def choose_version(selector: ModelSelector, versions: Sequence[ModelVersion]) -> Choice:
    """The fixed version, or the holder of the stage that asked last; only versions that are Ready."""
    if not versions:
        return Choice(
            message=f"model {selector.name} has no ModelVersion yet: train one (a TrainingRun with spec.model.name "
            f"{selector.name}) or correct spec.model.name"
        )
    if selector.version is not None:
        return _fixed(selector, versions)
    return _holder(selector, versions)


def usable(version: ModelVersion) -> bool:
    """Whether a version that was chosen once may go on being used: its artifact is still the one that was verified."""
    return is_true(version.status, "Verified") and version.metadata.deletion_timestamp is None


def _fixed(selector: ModelSelector, versions: Sequence[ModelVersion]) -> Choice:
    found = next((v for v in versions if v.spec.version == selector.version), None)
    if found is None:
        numbers = sorted((v.spec.version for v in versions), reverse=True)
        known = ", ".join(str(n) for n in numbers[:_LISTED]) + (" …" if len(numbers) > _LISTED else "")
        return Choice(
            message=f"model {selector.name} has no version {selector.version} (there are {known}): "
            "correct spec.model.version"
        )
    if not is_true(found.status, READY):
        return Choice(message=not_ready(found))
    if not is_true(found.status, "Approved"):
        return Choice(
            reason=Reason.WAITING_FOR_APPROVAL,
            message=f"ModelVersion {found.metadata.name} is not approved: set its spec.approval.approvedBy",
        )
    return Choice(version=found)


def _holder(selector: ModelSelector, versions: Sequence[ModelVersion]) -> Choice:
    holders = [v for v in versions if v.status.stage == selector.stage]
    ready = [v for v in holders if is_true(v.status, READY)]
    if ready:
        return Choice(version=max(ready, key=lambda v: (v.status.stage_requested_at or "", v.spec.version)))
    if holders:
        return Choice(message=not_ready(max(holders, key=lambda v: v.spec.version)))
    asking = [v for v in versions if v.spec.stage == selector.stage]
    if asking:
        return Choice(message=not_ready(max(asking, key=lambda v: v.spec.version)))
    newest = max(versions, key=lambda v: v.spec.version)
    return Choice(
        message=f"no version of model {selector.name} holds stage {selector.stage}: set spec.stage: {selector.stage} "
        f"on one of its ModelVersions (the newest is {newest.metadata.name})"
    )


def not_ready(version: ModelVersion) -> str:
    """Why a version cannot be used yet, in its own words."""
    ready = version.status.condition(READY)
    name = version.metadata.name
    if ready is None:
        return f"ModelVersion {name} has not been verified yet"
    if ready.status == "True":
        return f"ModelVersion {name} is ready, but does not hold the stage yet"
    return f"ModelVersion {name} is not ready ({ready.reason}): {ready.message}".rstrip(": ")
