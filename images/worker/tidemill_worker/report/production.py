"""The new model beside the version in Production, on the same rows. Nothing depends on it: for that there is DriftPolicy."""

from __future__ import annotations

from tidemill.contract.evaluation import Comparison
from tidemill.contract.model import Evaluation
from tidemill.contract.tasks import ModelRef
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.errors import ArtifactCorrupt, InvalidData, InvalidSpec
from tidemill_worker.model.evaluation import Scored, side_by_side
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.report import bootstrap
from tidemill_worker.report.plan import Plan

DECISIVE = ("mae", "accuracy")
"""The metric that a message tells."""


def beside(
    champion: ModelRef,
    predictor: Predictor,
    scored: dict[str, Scored],
    plan: Plan,
    dataset: Artifact,
    context: Context,
) -> Comparison | None:
    """On the test split, or the validation split where that has no labelled row.

    A champion that cannot be run on these rows, or that predicts something else, is a warning.
    """
    split = next((name for name in ("test", "validation") if name in scored), None)
    if split is None:
        return None
    judged = scored[split]
    try:
        other = Predictor.of(Artifact(context, champion, name="production"), threads=context.environment.cpus)
        theirs, ours = other.signature, predictor.signature
        if (theirs.task, theirs.target) != (ours.task, ours.target):
            raise InvalidSpec(f"it is a {theirs.task} of {theirs.target}, this is a {ours.task} of {ours.target}")
        was, now = side_by_side(other, predictor, judged, dataset, split)
        found = bootstrap.compare(was, now, plan.options.confidence)
    except (InvalidSpec, InvalidData, ArtifactCorrupt) as error:
        context.tracker.warn(
            f"spec.evaluation.compareWith: {champion.name}, which is in Production, is not compared: {error.message}"
        )
        return None
    return Comparison(champion=champion.name, digest=champion.digest, split=split, rows=len(now), improvements=found)


def told(evaluation: Evaluation) -> str:
    """The comparison in a few words; nothing without one."""
    comparison = evaluation.production
    metric = next((name for name in DECISIVE if comparison and name in comparison.improvements), None)
    if comparison is None or metric is None:
        return ""
    found = comparison.improvements[metric]
    spread = "" if found.interval is None else f" [{found.interval[0]:+.2%}, {found.interval[1]:+.2%}]"
    return (
        f"{metric} {found.challenger:.4g} against {found.champion:.4g} of {comparison.champion} on {comparison.rows} rows of "
        f"the {comparison.split} split: {found.improvement:+.2%}{spread}"
    )
