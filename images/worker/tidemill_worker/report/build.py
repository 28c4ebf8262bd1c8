"""Builds the report on a trained model: measures what was planned, explains, and writes it beside the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tidemill.contract.evaluation import Explanation, SplitDetails, Threshold
from tidemill.contract.model import EXPLANATION_FILE, Evaluation
from tidemill.contract.tasks import ModelRef
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.model.classification import ClassificationRows
from tidemill_worker.model.evaluation import Scored, rows_of, score
from tidemill_worker.model.forecasts import ForecastRows
from tidemill_worker.model.metrics import metrics
from tidemill_worker.model.predictor import PICTURE, Predictor
from tidemill_worker.report import bootstrap, curves, fairness, slices, threshold
from tidemill_worker.report.numbers import spread
from tidemill_worker.report.permutation import REPEATS, importances
from tidemill_worker.report.plan import Plan
from tidemill_worker.report.production import beside
from tidemill_worker.report.shapley import shapley

SHAPLEY_ROWS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The evaluation, and the rows of validation and test that it is of."""

    evaluation: Evaluation
    scored: dict[str, Scored]


def measure(
    plan: Plan,
    predictor: Predictor,
    dataset: Artifact,
    splits: Sequence[str],
    context: Context,
    champion: ModelRef | None,
) -> Measured:
    """Metrics of the splits, with all that is asked for of validation and test. A split without labelled rows is left out."""
    found, rows, details, scored = {}, {}, {}, {}
    for split in splits:
        judged = score(predictor, rows_of(predictor, dataset, split))
        rows[split] = len(judged.rows)
        if not len(judged.rows):
            continue
        found[split] = metrics(judged.rows)
        if split != "train":
            scored[split] = judged
            details[split] = _details(plan, judged)
    evaluation = Evaluation(
        metrics=found,
        rows=rows,
        confidence=plan.options.confidence.level if plan.options.confidence.resamples else None,
        details=details,
        threshold=_threshold(plan, scored),
        production=beside(champion, predictor, scored, plan, dataset, context) if champion is not None else None,
    )
    return Measured(evaluation=evaluation, scored=scored)


def _details(plan: Plan, judged: Scored) -> SplitDetails:
    rows, options = judged.rows, plan.options
    details = SplitDetails(
        intervals=bootstrap.intervals(rows, options.confidence),
        slices=slices.measure(judged.table, rows, plan.slices, options.confidence),
        fairness=fairness.measure(judged, plan.groups, options.fairness, options.confidence)
        if options.fairness
        else (),
    )
    if isinstance(rows, ClassificationRows):
        more = {
            "classes": curves.classes(rows),
            "confusion": curves.confusion(rows),
            "calibration": curves.calibration(rows),
            "curves": curves.curves(rows),
        }
    elif isinstance(rows, ForecastRows):
        more = {"horizon": curves.horizon(rows), "residuals": curves.residuals(rows.flat())}
    else:
        more = {"residuals": curves.residuals(rows)}
    return details.model_copy(update=more)


def _threshold(plan: Plan, scored: dict[str, Scored]) -> Threshold | None:
    if plan.options.threshold is None:
        return None
    splits = {name: s.rows for name, s in scored.items() if isinstance(s.rows, ClassificationRows)}
    return threshold.threshold(plan.options.threshold, splits, "validation")


def explain(
    plan: Plan, predictor: Predictor, scored: dict[str, Scored], train: pa.Table, context: Context
) -> Explanation | None:
    """Which columns matter, on the validation split, or the test split where that has no labelled row."""
    options = plan.options.explain
    split = next((name for name in ("validation", "test") if name in scored), None)
    apart = predictor.signature.tokens is None and any(len(s.shape) != PICTURE for s in predictor.signature.inputs)
    if options.method == "None" or split is None or not apart:  # a text or a picture is one column, which tells it all
        return None
    whole = scored[split]
    rows = spread(len(whole.rows), options.rows)
    sample = Scored(table=whole.table.take(pa.array(rows)), rows=whole.rows.take(rows))
    metric, error, found = importances(predictor, sample)
    values = None
    if options.method == "SHAP":
        chosen = sample.table.take(pa.array(spread(len(rows), options.shap_rows or SHAPLEY_ROWS)))
        values = shapley(predictor, chosen, train)
        if values is None:
            context.tracker.warn(
                "spec.evaluation.explain.method: the model gives labels without probabilities, which have no Shapley values"
            )
    return Explanation(
        split=split, rows=len(rows), metric=metric, error=error, repeats=REPEATS, importances=found, shapley=values
    )


def write(place: Path, plan: Plan, evaluation: Evaluation, explanation: Explanation | None) -> None:
    """The explanation, the page and its pictures; evaluation.json itself is written with the model's other documents."""
    if explanation is not None:
        (place / EXPLANATION_FILE).write_text(explanation.to_json())
    if plan.options.html or plan.options.pictures:
        from tidemill_worker.report import page  # matplotlib takes a second to load

        page.write(place, plan.options, evaluation, explanation)
