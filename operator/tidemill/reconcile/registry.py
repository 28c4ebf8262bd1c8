"""Which function reconciles which kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tidemill.api.v1alpha1 import Dataset, Deployment, DriftPolicy, ModelVersion, ServingPool, TrainingRun
from tidemill.reconcile.dataset import reconcile_dataset
from tidemill.reconcile.deployment import reconcile_deployment
from tidemill.reconcile.driftpolicy import reconcile_driftpolicy
from tidemill.reconcile.modelversion import reconcile_modelversion
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Plan
from tidemill.reconcile.servingpool import reconcile_servingpool
from tidemill.reconcile.trainingrun import reconcile_trainingrun
from tidemill.reconcile.typed import typed

Reconciler = Callable[[Object, Observed, Context], Plan]


def _typed(model: Any, function: Callable[[Any, Observed, Context], Plan]) -> Reconciler:
    return lambda obj, observed, context: function(typed(model, obj), observed, context)


RECONCILERS: dict[str, Reconciler] = {
    "Dataset": _typed(Dataset, reconcile_dataset),
    "TrainingRun": _typed(TrainingRun, reconcile_trainingrun),
    "ModelVersion": _typed(ModelVersion, reconcile_modelversion),
    "Deployment": _typed(Deployment, reconcile_deployment),
    "DriftPolicy": _typed(DriftPolicy, reconcile_driftpolicy),
    "ServingPool": _typed(ServingPool, reconcile_servingpool),
}
"""Kind → reconcile(object, observed, context). Raises pydantic.ValidationError when the object is invalid."""
