"""The condition Evaluated of a Deployment: how what it uses did on the newest version of the Dataset that it is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidemill.api.v1alpha1.continuous import VersionEvaluation
from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.contract.canonical import short
from tidemill.contract.reasons import Reason
from tidemill.reconcile.conditions import ConditionSet
from tidemill.reconcile.observed import Context

EVALUATED = "Evaluated"
TOLD = ("mae", "accuracy")
"""The metric that a message tells; all of them stand in the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the condition says."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def set_evaluated(deployment: Deployment, context: Context, found: Verdict) -> Deployment:
    """The Deployment with this condition, beside all others as they are: those are the mode's business."""
    before = deployment.status
    conditions = ConditionSet(before, generation=deployment.metadata.generation, now=context.now)
    conditions.set(EVALUATED, found.status, found.reason, found.message)
    said = tuple(c for c in conditions.build() if c.type == EVALUATED)
    others = tuple(c for c in before.conditions if c.type != EVALUATED)
    return deployment.model_copy(update={"status": before.model_copy(update={"conditions": (*others, *said)})})


def without_evaluated(deployment: Deployment) -> Deployment:
    """The Deployment without anything of an evaluation that is not asked for any more."""
    before = deployment.status
    if before.evaluation is None and before.condition(EVALUATED) is None:
        return deployment
    others = tuple(c for c in before.conditions if c.type != EVALUATED)
    status = before.model_copy(update={"conditions": others, "evaluation": None})
    return deployment.model_copy(update={"status": status})


def unknown(reason: str, message: str) -> Verdict:
    """Nothing is known yet, and why."""
    return Verdict(status="Unknown", reason=reason, message=message)


def verdict(found: VersionEvaluation, dataset: str, missed: str) -> Verdict:
    """What figures say. `missed` tells which gates are not passed."""
    variant = f" ({found.variant})" if found.variant else ""
    metric = next((name for name in TOLD if name in found.metrics), None)
    figures = f": {metric} {found.metrics[metric]:.4g}" if metric else ""
    rows = f" on {found.rows} rows" if found.rows is not None else ""
    version = f"version {short(found.dataset_digest)} of Dataset {dataset}"
    text = f"{found.model_version.name}{variant} on {version}{figures}{rows}"
    if found.from_training:
        text += ", as its own training found, which was on this very version"
    if found.outcome == "GateNotPassed":
        return Verdict(
            status="False", reason=Reason.GATE_NOT_PASSED, message=f"{text}; not every gate is passed: {missed}"
        )
    return Verdict(status="True", reason=Reason.TRAINED_ON if found.from_training else Reason.EVALUATED, message=text)
