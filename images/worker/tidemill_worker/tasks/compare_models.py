"""CompareModels: champion and challenger on the same rows."""

from __future__ import annotations

import json

from tidemill.contract.model import REPORT_FILE
from tidemill.contract.results import CompareResult
from tidemill.contract.tasks import CompareModels
from tidemill_worker.artifact import Artifact, publish
from tidemill_worker.context import Context
from tidemill_worker.errors import DatasetEmpty, InvalidSpec
from tidemill_worker.model import metrics, tables
from tidemill_worker.model.evaluation import evaluate
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.recorded import ArtifactResult, recorded


def run(task: CompareModels, context: Context) -> ArtifactResult:
    """The comparison that this task made before, or a new one."""
    return recorded(context, task, task.root, lambda: _compare(task, context))


def _compare(task: CompareModels, context: Context) -> CompareResult:
    known = sorted(metrics.LOWER_IS_BETTER | metrics.HIGHER_IS_BETTER)
    if task.metric not in known:
        raise InvalidSpec(
            f"spec.gate.metric: {task.metric!r} is not one of {', '.join(known)}", field="spec.gate.metric"
        )
    context.tracker.phase("Downloading", 0.1, task.dataset.uri)
    dataset = Artifact(context, task.dataset, name="dataset")
    table = tables.read_split(dataset, task.split)
    found, numbers = {}, {}
    for role, ref in (("champion", task.champion), ("challenger", task.challenger)):
        context.tracker.phase("Evaluating", 0.4 if role == "champion" else 0.7, role)
        predictor = Predictor.of(Artifact(context, ref, name=role), threads=context.environment.cpus)
        found[role], numbers[role] = evaluate(predictor, table)
        if not numbers[role]:
            raise DatasetEmpty(f"the {task.split} split of {task.dataset.uri} has no labelled row to compare on")
        if task.metric not in found[role]:
            raise InvalidSpec(
                f"spec.gate.metric: there is no {task.metric} for the {role}; there are {', '.join(found[role])}",
                field="spec.gate.metric",
            )
    champion, challenger = found["champion"][task.metric], found["challenger"][task.metric]
    gain = metrics.improvement(task.metric, champion, challenger)
    report = {
        "metric": task.metric,
        "split": task.split,
        "rows": numbers["champion"],
        "dataset": task.dataset.model_dump(),
        "champion": {"artifact": task.champion.model_dump(), "metrics": found["champion"]},
        "challenger": {"artifact": task.challenger.model_dump(), "metrics": found["challenger"]},
        "improvement": gain,
    }
    place = context.folder("report")
    (place / REPORT_FILE).write_text(json.dumps(report, indent=1, sort_keys=True))
    ref = publish(context, task, kind="report", folder=place, root=task.root)
    return CompareResult(
        artifact=ref,
        metric=task.metric,
        champion=champion,
        challenger=challenger,
        improvement=gain,
        rows=numbers["champion"],
    )
