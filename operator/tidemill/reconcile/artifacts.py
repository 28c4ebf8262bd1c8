"""Finding a Dataset's version or a base model for those who read it, or saying what is waited for."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.api.v1alpha1.dataset import DatasetStatus
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.contract.reasons import Reason
from tidemill.contract.tasks import ArtifactRef, ModelRef
from tidemill.reconcile.conditions import READY, is_current, is_true
from tidemill.reconcile.observed import Observed
from tidemill.reconcile.typed import typed


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Something is not there yet. `stalled`: it never will be unless somebody acts."""

    reason: str
    message: str
    stalled: bool = False


def dataset_artifact(
    observed: Observed,
    *,
    namespace: str,
    name: str,
    digest: str | None,
    field: str,
    reason: str = Reason.WAITING_FOR_DATASET,
) -> ArtifactRef | Waiting:
    """The version of a Dataset: the fixed one, or the newest once the Dataset is ready with its present spec.

    `field` says in messages where the Dataset is named.
    """
    found = observed.get("Dataset", namespace, name)
    if found is None:
        text = f"{field}: there is no Dataset {name} in namespace {namespace}: create it, or name another one"
        return Waiting(reason=reason, message=text)
    status = DatasetStatus.model_validate(found.get("status") or {})
    if digest is not None:
        version = next((v for v in status.versions if v.digest == digest), None)
        if version is not None:
            return ArtifactRef(uri=version.uri, digest=version.digest)
        known = ", ".join(v.digest for v in status.versions[:3]) or "none yet"
        text = f"{field}: Dataset {name} has no version {digest}; its newest versions: {known}"
        return Waiting(reason=reason, message=text)
    if is_current(status, int(found["metadata"].get("generation") or 0)) and status.uri and status.digest:
        return ArtifactRef(uri=status.uri, digest=status.digest)
    ready = status.condition(READY)
    why = (
        f"{ready.reason}: {ready.message}"
        if ready and ready.status != "True"
        else "its present spec is not prepared yet"
    )
    return Waiting(reason=reason, message=f"{field}: Dataset {name} is not ready ({why})")


def base_artifact(wanted: tuple[str, str] | None, namespace: str, observed: Observed) -> ModelRef | Waiting | None:
    """The verified ModelVersion whose weights a run begins with: `wanted` is the field that names it, and the name."""
    if wanted is None:
        return None
    field, name = wanted
    found = observed.get("ModelVersion", namespace, name)
    if found is None:
        text = f"{field}: there is no ModelVersion {name} in namespace {namespace}: train it, or name another one"
        return Waiting(reason=Reason.WAITING_FOR_MODEL, message=text)
    version = typed(ModelVersion, found)
    if not is_true(version.status, "Verified"):
        return Waiting(reason=Reason.WAITING_FOR_MODEL, message=f"{field}: ModelVersion {name} is not verified")
    artifact = version.spec.artifact
    return ModelRef(name=name, uri=artifact.uri, digest=artifact.digest)
