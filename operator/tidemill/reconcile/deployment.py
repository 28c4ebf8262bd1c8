"""Deployment: a model in use. What is done depends on the mode; each mode has a module of its own."""

from __future__ import annotations

from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.contract.reasons import Reason
from tidemill.reconcile.conditions import ConditionSet, finish
from tidemill.reconcile.deployment_batch import reconcile_batch
from tidemill.reconcile.deployment_edge import reconcile_edge
from tidemill.reconcile.deployment_online import reconcile_online
from tidemill.reconcile.evaluating import evaluate
from tidemill.reconcile.observed import Context, Observed
from tidemill.reconcile.plan import Plan


def reconcile_deployment(deployment: Deployment, observed: Observed, context: Context) -> Plan:
    """One pass over a Deployment."""
    if deployment.metadata.deletion_timestamp:
        return Plan()
    evaluated = evaluate(deployment, observed, context)
    return evaluated.beside(_in_its_mode(evaluated.deployment, observed, context))


def _in_its_mode(deployment: Deployment, observed: Observed, context: Context) -> Plan:
    spec = deployment.spec
    if spec.mode == "Online" and spec.online:
        return reconcile_online(deployment, spec.online, observed, context)
    if spec.mode == "Batch" and spec.batch:
        return reconcile_batch(deployment, spec.batch, observed, context)
    if spec.mode == "Edge" and spec.edge:
        return reconcile_edge(deployment, spec.edge, observed, context)
    generation = deployment.metadata.generation
    conditions = ConditionSet(deployment.status, generation=generation, now=context.now)
    field = spec.mode.lower()
    conditions.stalled(Reason.INVALID_SPEC, f"mode {spec.mode} needs spec.{field}: set it")
    return Plan(status=finish(deployment.status, conditions, generation=generation))
