"""Evaluates a model on the splits of a dataset, through the very ONNX file that will be served."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tidemill.contract.model import Evaluation
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import InvalidData, ModelInvalid
from tidemill_worker.model import metrics, tables
from tidemill_worker.model.predictor import Predictor


def evaluate(predictor: Predictor, table: pa.Table) -> tuple[dict[str, float], int]:
    """Metrics and the number of rows that have a label."""
    signature = predictor.signature
    if signature.target is None:
        raise InvalidData("the model's signature names no target column: nothing to compare predictions with")
    tables.need(table.column_names, [signature.target], "the dataset")
    if signature.task == "Classification":
        target = tables.labels(table, signature.target)
        present = target != ""
    else:
        target = tables.numbers(table, signature.target)
        present = ~np.isnan(target)
    table, target = table.filter(pa.array(present)), target[present]
    if not len(target):
        return {}, 0
    outputs = predictor.run(table)
    if signature.task == "Classification":
        label, probabilities = class_outputs(predictor, outputs)
        if probabilities is not None:
            _need_finite(probabilities)
        found = metrics.classification(target, label, probabilities, signature.classes or ())
    else:
        prediction = prediction_of(predictor, outputs).astype(np.float64)
        _need_finite(prediction)
        found = metrics.regression(target, prediction)
    return {name: float(f"{value:.9g}") for name, value in found.items()}, len(target)


def _need_finite(values: np.ndarray) -> None:
    bad = int(np.sum(~np.isfinite(values.reshape(len(values), -1)).all(axis=1)))
    if bad:
        raise ModelInvalid(
            f"the model's answer is not finite for {bad} of {len(values)} rows: does it handle missing values (NaN)?"
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
        result, number = evaluate(predictor, tables.read_split(dataset, split))
        rows[split] = number
        if number:
            found[split] = result
    return Evaluation(metrics=found, rows=rows)
