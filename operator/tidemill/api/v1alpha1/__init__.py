"""Version v1alpha1 of the API: one kind a file."""

from __future__ import annotations

from typing import Any

from tidemill.api.base import Resource
from tidemill.api.v1alpha1.dataset import Dataset
from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.driftpolicy import DriftPolicy
from tidemill.api.v1alpha1.modelplacement import ModelPlacement
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.api.v1alpha1.trainingrun import TrainingRun

KINDS: dict[str, type[Resource[Any, Any]]] = {
    k.NAMES.kind: k for k in (Dataset, TrainingRun, ModelVersion, Deployment, DriftPolicy, ServingPool, ModelPlacement)
}
"""Every kind by its name."""

__all__ = [
    "KINDS",
    "Dataset",
    "Deployment",
    "DriftPolicy",
    "ModelPlacement",
    "ModelVersion",
    "ServingPool",
    "TrainingRun",
]
