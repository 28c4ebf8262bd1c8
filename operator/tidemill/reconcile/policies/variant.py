"""Policy: which artifact of a version is served: the variant asked for when it was accepted, else the original."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.api.v1alpha1.common import ArtifactStatus
from tidemill.api.v1alpha1.modelversion import ModelVersion, VariantStatus
from tidemill.contract.reasons import Reason

ORIGINAL = "original"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedArtifact:
    """What is served, and, when it is not what was asked for, why."""

    variant: str
    artifact: ArtifactStatus
    reason: Reason = Reason.SERVING
    message: str = ""
    """Why the original is served instead of the variant asked for; empty otherwise."""


def choose_artifact(version: ModelVersion, wanted: str) -> ServedArtifact:
    """The accepted variant of this name, or the original with the reason."""
    original = ArtifactStatus(uri=version.spec.artifact.uri, digest=version.spec.artifact.digest)
    if wanted == ORIGINAL:
        return ServedArtifact(variant=ORIGINAL, artifact=original)
    found = next((v for v in version.status.variants if v.name == wanted), None)
    if found and found.state == "Accepted" and found.artifact:
        return ServedArtifact(variant=wanted, artifact=found.artifact)
    reason, why = _why_not(version, wanted, found)
    return ServedArtifact(variant=ORIGINAL, artifact=original, reason=reason, message=f"the original is served: {why}")


def _why_not(version: ModelVersion, wanted: str, found: VariantStatus | None) -> tuple[Reason, str]:
    name = version.metadata.name
    if found is None:
        if any(o.name == wanted for o in version.spec.optimise):
            return Reason.OPTIMISING, f"variant {wanted} of {name} is not made yet"
        return (
            Reason.NOT_FOUND,
            f"{name} has no variant {wanted}: add it to spec.optimise of the ModelVersion, or correct spec.online.variant",
        )
    said = f": {found.message}" if found.message else ""
    match found.state:
        case "Rejected":
            return Reason.TOLERANCE_EXCEEDED, f"variant {wanted} of {name} was rejected{said}"
        case "Failed":
            return Reason.NOT_FOUND, f"variant {wanted} of {name} could not be made{said}"
        case _:
            return Reason.OPTIMISING, f"variant {wanted} of {name} is being made{said}"
