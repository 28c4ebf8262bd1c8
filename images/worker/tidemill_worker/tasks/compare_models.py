"""CompareModels: champion and challenger on the same rows."""

from __future__ import annotations

import json

from tidemill.contract.directions import HIGHER_IS_BETTER, LOWER_IS_BETTER
from tidemill.contract.evaluating import ConfidenceOptions
from tidemill.contract.model import REPORT_FILE
from tidemill.contract.results import CompareResult
from tidemill.contract.tasks import CompareModels
from tidemill_worker.artifact import Artifact, publish
from tidemill_worker.context import Context
from tidemill_worker.errors import DatasetEmpty, InvalidData, InvalidSpec
from tidemill_worker.model.evaluation import rows_of, score, side_by_side
from tidemill_worker.model.metrics import metrics
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.recorded import ArtifactResult, recorded
from tidemill_worker.report.bootstrap import compare

CONFIDENCE = ConfidenceOptions()
"""Intervals of 95 % by a thousand resamples."""


def run(task: CompareModels, context: Context) -> ArtifactResult:
    """The comparison that this task made before, or a new one."""
    return recorded(context, task, task.root, lambda: _compare(task, context))


def _compare(task: CompareModels, context: Context) -> CompareResult:
    known = sorted(LOWER_IS_BETTER | HIGHER_IS_BETTER)
    if task.metric not in known:
        raise InvalidSpec(
            f"spec.gate.metric: {task.metric!r} is not one of {', '.join(known)}", field="spec.gate.metric"
        )
    context.tracker.phase("Downloading", 0.1, task.dataset.uri)
    dataset = Artifact(context, task.dataset, name="dataset")
    judged, predictors = {}, {}
    for role, ref in (("champion", task.champion), ("challenger", task.challenger)):
        context.tracker.phase("Evaluating", 0.4 if role == "champion" else 0.6, role)
        predictor = Predictor.of(Artifact(context, ref, name=role), threads=context.environment.cpus)
        predictors[role], judged[role] = predictor, score(predictor, rows_of(predictor, dataset, task.split))
        if not len(judged[role].rows):
            raise DatasetEmpty(f"the {task.split} split of {task.dataset.uri} has no labelled row to compare on")
        if task.metric not in (own := metrics(judged[role].rows)):
            raise InvalidSpec(
                f"spec.gate.metric: there is no {task.metric} for the {role}; there are {', '.join(own)}",
                field="spec.gate.metric",
            )
    was, now = (predictors[role].signature.target for role in ("champion", "challenger"))
    if was != now:
        raise InvalidData(
            f"the champion predicts {was}, the challenger {now}: which of them is better "
            "cannot be told; give the policy a template with the same target"
        )
    context.tracker.phase("Comparing", 0.8)
    champion, challenger = side_by_side(
        predictors["champion"], predictors["challenger"], judged["challenger"], dataset, task.split
    )
    found = compare(champion, challenger, CONFIDENCE)
    decisive = found[task.metric]
    report = {
        "metric": task.metric,
        "split": task.split,
        "rows": len(champion),
        "dataset": task.dataset.model_dump(),
        "champion": {"artifact": task.champion.model_dump(), "metrics": metrics(champion)},
        "challenger": {"artifact": task.challenger.model_dump(), "metrics": metrics(challenger)},
        "improvement": decisive.improvement,
        "confidence": CONFIDENCE.level,
        "resamples": CONFIDENCE.resamples,
        "improvements": {name: json.loads(improvement.to_json()) for name, improvement in found.items()},
    }
    place = context.folder("report")
    (place / REPORT_FILE).write_text(json.dumps(report, indent=1, sort_keys=True))
    ref = publish(context, task, kind="report", folder=place, root=task.root)
    return CompareResult(
        artifact=ref,
        metric=task.metric,
        champion=decisive.champion,
        challenger=decisive.challenger,
        improvement=decisive.improvement,
        interval=decisive.interval,
        confidence=decisive.better,
        rows=len(champion),
    )
