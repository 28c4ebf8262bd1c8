"""What is wrong with a DriftPolicy's spec, seen beside the objects that it names."""

from __future__ import annotations

from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.driftpolicy import DriftPolicy, Retrain
from tidemill.api.v1alpha1.trainingrun import TrainingRun, TrainingRunSpec
from tidemill.contract.reasons import Reason
from tidemill.reconcile.artifacts import Waiting
from tidemill.reconcile.observed import Observed
from tidemill.reconcile.typed import typed

_METRICS = {
    "Regression": ("mae", "rmse", "medianAbsoluteError"),
    "Classification": ("accuracy", "f1Macro", "logLoss"),
}


def deployment_problem(policy: DriftPolicy, deployment: Deployment | None) -> Waiting | None:
    """Why the Deployment cannot be watched."""
    name = policy.spec.deployment
    if deployment is None:
        return _stalled(
            Reason.NOT_FOUND, f"there is no Deployment {name}: create it or correct spec.deployment (kubectl get tmdep)"
        )
    if deployment.spec.mode != "Online":
        return _stalled(
            Reason.INVALID_SPEC,
            f"spec.deployment: {name} has mode {deployment.spec.mode}; only an online Deployment has requests to watch",
        )
    return None


def action_problem(policy: DriftPolicy, deployment: Deployment, observed: Observed) -> Waiting | None:
    """Why a retraining could have no effect."""
    retrain = policy.spec.action.retrain
    if policy.spec.action.type != "Retrain":
        return None
    if retrain is None:
        return _stalled(Reason.INVALID_SPEC, "spec.action.type Retrain needs spec.action.retrain: set it")
    namespace = policy.metadata.namespace
    found = observed.get("TrainingRun", namespace, retrain.template)
    if found is None:
        return _stalled(
            Reason.NOT_FOUND,
            f"there is no TrainingRun {retrain.template}: create it or correct spec.action.retrain.template",
        )
    if retrain.base and observed.get("Dataset", namespace, retrain.base) is None:
        return _stalled(
            Reason.NOT_FOUND, f"there is no Dataset {retrain.base}: create it or correct spec.action.retrain.base"
        )
    return _mismatch(retrain, typed(TrainingRun, found).spec, deployment)


def _mismatch(retrain: Retrain, template: TrainingRunSpec, deployment: Deployment) -> Waiting | None:
    model, selector, name = template.model.name, deployment.spec.model, deployment.metadata.name
    if model != selector.name:
        return _stalled(
            Reason.INVALID_SPEC,
            f"TrainingRun {retrain.template} (spec.action.retrain.template) trains model {model}, but Deployment {name} "
            f"serves model {selector.name}: name a run of that model",
        )
    if selector.stage != "Production":
        follows = f"version {selector.version}" if selector.version else f"stage {selector.stage}"
        return _stalled(
            Reason.INVALID_SPEC,
            f"a promoted challenger would never be served: Deployment {name} follows {follows}; set its "
            "spec.model.stage: Production, or spec.action.type: Alert",
        )
    task = template.trainer.task
    if task is None or template.trainer.transforms:
        return _stalled(
            Reason.INVALID_SPEC,
            f"TrainingRun {retrain.template} (spec.action.retrain.template) trains a transformer: its requests are tokens, of "
            "which no Dataset can be made, so it is not retrained from them; set spec.action.type: Alert",
        )
    if task == "Forecasting":
        return _stalled(
            Reason.INVALID_SPEC,
            f"TrainingRun {retrain.template} (spec.action.retrain.template) trains a forecast, which learns from series and "
            "not from labelled requests: refresh its Dataset by a schedule, or set spec.action.type: Alert",
        )
    if retrain.gate.metric not in _METRICS[task]:
        return _stalled(
            Reason.INVALID_SPEC,
            f"spec.action.retrain.gate.metric {retrain.gate.metric} does not measure a {task.lower()}: use "
            f"{', '.join(_METRICS[task])}",
        )
    return None


def _stalled(reason: Reason, message: str) -> Waiting:
    return Waiting(reason=reason, message=message, stalled=True)
