"""Evaluates a model on the splits of a dataset, through the very ONNX file that will be served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill.contract.model import Evaluation
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import InvalidData, ModelInvalid
from tidemill_worker.model import metrics, tables, windows
from tidemill_worker.model.classification import ClassificationRows
from tidemill_worker.model.forecasts import ForecastRows
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.model.regression import RegressionRows

_SLACK = 0.01
"""What the probabilities of a row may miss their sum by: half precision and quantization round them."""
Rows = RegressionRows | ClassificationRows | ForecastRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The labelled rows of a table, and the model's answers beside the labels, in the same order."""

    table: pa.Table
    rows: Rows


def rows_of(predictor: Predictor, dataset: Artifact, split: str) -> pa.Table:
    """What a model is judged on: the rows of a split, or the windows that a forecasting model cuts from them."""
    if predictor.signature.forecast is not None:
        return windows.read(dataset, predictor.signature, split)
    return tables.read_split(dataset, split)


def score(predictor: Predictor, table: pa.Table) -> Scored:
    """Run the model on every row that has a label. Raises ModelInvalid when an answer is not finite.

    `table` is what `rows_of` gives.
    """
    signature = predictor.signature
    if signature.target is None:
        raise InvalidData("the model's signature names no target column: nothing to compare predictions with")
    if signature.forecast is not None:
        outputs = predictor.run(table)
        for answer in outputs.values():
            _need_finite(answer)
        return Scored(table=table, rows=ForecastRows.of(table, signature.target, signature.forecast, outputs))
    tables.need(table.column_names, [signature.target], "the dataset")
    if signature.task == "Classification":
        target = tables.labels(table, signature.target)
        present = target != ""
    else:
        target = tables.numbers(table, signature.target)
        present = np.isfinite(target)
    table, target = table.filter(pa.array(present)), target[present]
    outputs = predictor.run(table)
    return Scored(table=table, rows=judge(predictor, target, outputs))


def judge(predictor: Predictor, target: np.ndarray, outputs: dict[str, np.ndarray]) -> Rows:
    """The model's outputs beside the target: numbers of a regression, texts of a classification."""
    if predictor.signature.task == "Classification":
        classes = predictor.signature.classes or ()
        if not len(target):
            return ClassificationRows.of(target, target, None, classes)
        label, probabilities = class_outputs(predictor, outputs)
        if probabilities is not None:
            _need_finite(probabilities)
            _need_probabilities(probabilities)
        return ClassificationRows.of(target, label, probabilities, classes)
    prediction = prediction_of(predictor, outputs).astype(np.float64)
    _need_finite(prediction)
    return RegressionRows(target=target, prediction=prediction)


def side_by_side(
    other: Predictor, predictor: Predictor, judged: Scored, dataset: Artifact, split: str
) -> tuple[Rows, Rows]:
    """What another model gives for the rows that `predictor` was judged on, and those rows.

    Of two forecasting models that are the windows which both can answer: one may need more history than the other. Raises
    InvalidData when they forecast another number of steps, or share no window.
    """
    ours, theirs = predictor.signature.forecast, other.signature.forecast
    if ours is None or theirs is None:
        return score(other, judged.table).rows, judged.rows
    for what in ("horizon", "frequency", "series", "time"):
        mine, its = getattr(ours, what), getattr(theirs, what)
        if mine != its:
            raise InvalidData(
                f"one of the forecasts has {what} {mine}, the other {its}: they are not of the same values"
            )
    others = score(other, rows_of(other, dataset, split))
    mine, its = windows.common(judged.table, others.table, ours)
    if not len(mine):
        raise InvalidData(f"the two models have no forecast of the {split} split in common: do their strides differ?")
    return others.rows.take(its), judged.rows.take(mine)


def rejudge(predictor: Predictor, rows: Rows, outputs: dict[str, np.ndarray]) -> Rows:
    """The same rows with other answers of the model."""
    if isinstance(rows, ForecastRows):
        return rows.answered(outputs)
    if isinstance(rows, ClassificationRows):
        return judge(predictor, np.array(rows.names, dtype=object)[rows.truth], outputs)
    return judge(predictor, rows.target, outputs)


def evaluate(predictor: Predictor, table: pa.Table) -> tuple[dict[str, float], int]:
    """Metrics and the number of rows that have a label."""
    rows = score(predictor, table).rows
    return metrics.metrics(rows), len(rows)


def _need_finite(values: np.ndarray) -> None:
    if not len(values):
        return
    bad = int(np.sum(~np.isfinite(values.reshape(len(values), -1)).all(axis=1)))
    if bad:
        raise ModelInvalid(
            f"the model's answer is not finite for {bad} of {len(values)} rows: does it handle missing values (NaN)?"
        )


def _need_probabilities(values: np.ndarray) -> None:
    """Each row's [rows, classes] lie between 0 and 1 and add up to 1: of logits a log loss or a calibration means nothing."""
    outside = (values < -_SLACK) | (values > 1 + _SLACK)
    astray = outside.any(axis=1) | (np.abs(values.sum(axis=1, dtype=np.float64) - 1) > _SLACK)
    if astray.any():
        row = values[int(np.argmax(astray))]
        shown = ", ".join(f"{value:.4g}" for value in row[:5]) + (", …" if len(row) > 5 else "")
        raise ModelInvalid(
            f"what the model gives for each class are no probabilities in {int(astray.sum())} of {len(values)} rows (such as "
            f"{shown}: not between 0 and 1, or not 1 in all): end its graph with Softmax, or give the label alone"
        )


def prediction_of(predictor: Predictor, outputs: dict[str, np.ndarray]) -> np.ndarray:
    """The regression's output: the one named `prediction`, or the first."""
    names = [spec.name for spec in predictor.signature.outputs]
    return outputs["prediction" if "prediction" in names else names[0]].reshape(-1)


def class_outputs(predictor: Predictor, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels as text and probabilities, from whichever of them the model gives."""
    classes = predictor.signature.classes or ()
    specs = predictor.signature.outputs
    wide = [s.name for s in specs if s.datatype in ("FP32", "FP64", "FP16") and outputs[s.name].ndim == 2]
    probabilities = next((outputs[n] for n in wide if outputs[n].shape[1] == len(classes)), None)
    for spec in specs:
        if spec.name != "label" and (
            spec.datatype.startswith("FP") or outputs[spec.name].size != len(outputs[spec.name])
        ):
            continue
        return np.array([_text(v) for v in outputs[spec.name].reshape(-1)], dtype=object), probabilities
    if probabilities is None:
        raise InvalidData("the model gives neither a label nor one probability for each class")
    return np.array(classes, dtype=object)[np.argmax(probabilities, axis=1)], probabilities


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def evaluate_splits(
    predictor: Predictor, dataset: Artifact, splits: Sequence[str] = ("validation", "test")
) -> Evaluation:
    """Metrics by split; a split without labelled rows is left out."""
    found, rows = {}, {}
    for split in splits:
        result, number = evaluate(predictor, rows_of(predictor, dataset, split))
        rows[split] = number
        if number:
            found[split] = result
    return Evaluation(metrics=found, rows=rows)
