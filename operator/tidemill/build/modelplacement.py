"""The ModelPlacement: one version of a Deployment's model on one server pod."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.common import ArtifactStatus
from tidemill.api.v1alpha1.deployment import Deployment, Online
from tidemill.api.v1alpha1.modelplacement import ModelPlacement, ModelPlacementSpec
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.build.metadata import metadata, owner_labels
from tidemill.contract.names import API_VERSION, GROUP, LABEL_POD, LABEL_POOL, LABEL_TRACK, child_name

Manifest = dict[str, Any]
ANNOTATION_LAST_RESORT = f"{GROUP}/last-resort"
"""On a placement of a version that was chosen because nothing that answered before could be loaded (policies/swap.py)."""


def placement_name(deployment: str, track: str, pod: str) -> str:
    """The same for every version: a new version changes the placement's spec, and the agent swaps."""
    return child_name(deployment, track, pod)


def model_placement(
    deployment: Deployment,
    online: Online,
    *,
    pod: str,
    version: ModelVersion,
    variant: str,
    artifact: ArtifactStatus,
    track: str = "stable",
    last_resort: bool = False,
) -> Manifest:
    """The placement of a version's artifact (the original or a variant) on a pod."""
    meta = deployment.metadata
    spec = ModelPlacementSpec.model_validate(
        {
            "pool": online.pool,
            "pod": pod,
            "deployment": meta.name,
            "track": track,
            "modelVersion": version.metadata.name,
            "version": version.spec.version,
            "artifactUri": artifact.uri,
            "artifactDigest": artifact.digest,
            "variant": variant,
            "samplingPercent": online.sampling_percent,
        }
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelPlacement",
        "metadata": metadata(
            name=placement_name(meta.name, track, pod),
            namespace=meta.namespace,
            labels=owner_labels(deployment.ref, {LABEL_POD: pod, LABEL_POOL: online.pool, LABEL_TRACK: track}),
            annotations={ANNOTATION_LAST_RESORT: "true"} if last_resort else None,
        ),
        "spec": spec.model_dump(by_alias=True, exclude_none=True),
    }


def is_last_resort(placement: ModelPlacement) -> bool:
    """Whether it was made as one."""
    return placement.metadata.annotations.get(ANNOTATION_LAST_RESORT) == "true"
