"""EvaluateModel: the model in use on a version of a dataset, with the report that a training writes."""

from __future__ import annotations

import pyarrow as pa

from tidemill.contract.evaluation import GateOutcome, GateOutcomes
from tidemill.contract.model import EVALUATION_FILE, GATES_FILE
from tidemill.contract.results import EvaluateResult
from tidemill.contract.tasks import EvaluateModel
from tidemill_worker.artifact import Artifact, publish
from tidemill_worker.context import Context
from tidemill_worker.errors import DatasetEmpty, InvalidData, InvalidSpec
from tidemill_worker.model import tables
from tidemill_worker.model.evaluation import rows_of
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.recorded import ArtifactResult, recorded
from tidemill_worker.report import build, gates
from tidemill_worker.report.numbers import short
from tidemill_worker.report.plan import Plan, prepare

FIELD = "spec.evaluation"
JUDGED = "test"
"""The split whose metrics are told. The validation split is in the report, too."""
_TOLD = 800
"""Characters of a result that tell of gates; all of them stand in gates.json."""


def run(task: EvaluateModel, context: Context) -> ArtifactResult:
    """The report that this task made before, or a new one."""
    return recorded(context, task, task.root, lambda: _evaluate(task, context))


def _evaluate(task: EvaluateModel, context: Context) -> EvaluateResult:
    context.tracker.phase("Downloading", 0.1, task.model.uri)
    predictor = Predictor.of(Artifact(context, task.model, name="model"), threads=context.environment.cpus)
    dataset = Artifact(context, task.dataset, name="dataset")
    _check_columns(task, predictor, dataset)
    taught = _taught(task, dataset, context)
    plan = prepare(task.evaluation, taught, predictor.signature.classes)
    context.tracker.phase("Evaluating", 0.4, task.dataset.uri)
    measured = build.measure(plan, predictor, dataset, ("validation", JUDGED), context, None)
    evaluation = measured.evaluation
    if JUDGED not in evaluation.metrics:
        raise DatasetEmpty(
            f"{FIELD}.dataset: the {JUDGED} split of Dataset {task.dataset_name} has no labelled row to judge "
            f"{task.model.name} by: give it one with the Dataset's spec.split, or wait for labels before it is prepared",
        )
    outcomes = gates.outcomes(evaluation, task.gates, at=f"{FIELD}.gates")
    context.tracker.phase("Explaining", 0.7)
    explanation = build.explain(plan, predictor, measured.scored, _background(plan, predictor, taught), context)
    place = context.folder("report")
    (place / EVALUATION_FILE).write_text(evaluation.to_json())
    (place / GATES_FILE).write_text(GateOutcomes(gates=outcomes).to_json())
    build.write(place, plan, evaluation, explanation)
    ref = publish(context, task, kind="evaluation", folder=place, root=task.root)
    return EvaluateResult(
        artifact=ref,
        metrics={name: short(value) for name, value in evaluation.metrics[JUDGED].items()},
        rows=evaluation.rows[JUDGED],
        missed=_missed(outcomes),
    )


def _check_columns(task: EvaluateModel, predictor: Predictor, dataset: Artifact) -> None:
    """The dataset has the target, every column that the model reads and those that are asked for. Raises ColumnMissing, or
    InvalidData for a model without a target."""
    target = predictor.signature.target
    if target is None:
        raise InvalidData(
            f"the signature of {task.model.name} names no target column: there is nothing to compare predictions with"
        )
    present, where = tables.read_split(dataset, JUDGED).column_names, f"Dataset {task.dataset_name}"
    tables.need(present, [target, *predictor.columns(present)], where, field=f"{FIELD}.dataset")
    tables.need(present, task.evaluation.slices, where, field=f"{FIELD}.slices")
    if task.evaluation.fairness is not None:
        tables.need(present, task.evaluation.fairness.groups, where, field=f"{FIELD}.fairness.groups")


def _taught(task: EvaluateModel, dataset: Artifact, context: Context) -> Artifact:
    """Whose training split says how columns are cut: what the model was trained on, if that is known and needed."""
    options = task.evaluation
    needed = options.slices or options.fairness is not None or options.explain.method == "SHAP"
    return dataset if task.trained_on is None or not needed else Artifact(context, task.trained_on, name="trained-on")


def _background(plan: Plan, predictor: Predictor, taught: Artifact) -> pa.Table:
    """The rows beside which single predictions are explained: only SHAP needs them, and only for it they are downloaded."""
    if plan.options.explain.method != "SHAP":
        return pa.table({})
    rows = rows_of(predictor, taught, "train")
    if not rows.num_rows:
        raise InvalidSpec(
            f"{FIELD}.explain.method: SHAP explains beside rows of the training split, and that of {taught.ref.uri} is empty: "
            "choose Permutation",
            field=f"{FIELD}.explain.method",
        )
    return rows


def _missed(outcomes: tuple[GateOutcome, ...]) -> str:
    text = "; ".join(o.missed if o.value is None else f"{o.metric} {o.missed}" for o in outcomes if o.missed)
    return text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…"
