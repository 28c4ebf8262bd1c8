"""Names and labels of children: which resource an object belongs to, readable by people and by selectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.contract.names import (
    GROUP,
    LABEL_DATASET,
    LABEL_DEPLOYMENT,
    LABEL_MODEL_VERSION,
    LABEL_POLICY,
    LABEL_POOL,
    LABEL_RUN,
    MANAGED_BY,
    MANAGED_BY_VALUE,
    label_value,
)
from tidemill.contract.tasks import ObjectRef

LABEL_REQUEST = f"{GROUP}/request"
"""On a Job: what its owner asks for, whatever the generation (see build.job.task_job)."""
LABEL_GENERATION = f"{GROUP}/generation"
"""On a Job: the owner's generation that made it, 0 when its task does not depend on it."""
ANNOTATION_SHAPE = f"{GROUP}/shape"
"""On a Job: the digest of what shapes its pod but not its result (see build.job.job_shape)."""

OWNER_LABELS = {
    "Dataset": LABEL_DATASET,
    "TrainingRun": LABEL_RUN,
    "ModelVersion": LABEL_MODEL_VERSION,
    "Deployment": LABEL_DEPLOYMENT,
    "DriftPolicy": LABEL_POLICY,
    "ServingPool": LABEL_POOL,
}
"""The label that carries the owner's name, by the owner's kind."""


def owner_labels(owner: ObjectRef, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The labels of a child: managed-by, the owner by its kind's label, and what is special to the child."""
    return {
        MANAGED_BY: MANAGED_BY_VALUE,
        OWNER_LABELS[owner.kind]: label_value(owner.name),
        **{key: label_value(value) for key, value in (extra or {}).items()},
    }


def metadata(
    *,
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """An object's metadata, without an empty annotations field."""
    meta: dict[str, Any] = {"name": name, "namespace": namespace, "labels": dict(labels)}
    if annotations:
        meta["annotations"] = dict(annotations)
    return meta
