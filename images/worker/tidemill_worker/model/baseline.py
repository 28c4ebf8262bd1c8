"""The baseline: distributions of features and predictions in the training split, by which drift is measured.

Bins are made from the values as the model receives them (FP32), or values that serving sees could fall beside an edge.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tidemill.contract.model import Baseline, FeatureBaseline
from tidemill.contract.names import PREDICTION_PREFIX
from tidemill_worker.model import tables
from tidemill_worker.model.predictor import Predictor

DECILES = np.arange(1, 10) / 10
TOP_CATEGORIES = 20


def numeric(name: str, values: np.ndarray) -> FeatureBaseline:
    """Decile edges, each once; bin i holds [edges[i-1], edges[i])."""
    seen = np.asarray(values, dtype=np.float32).astype(np.float64).reshape(-1)
    present = np.sort(seen[~np.isnan(seen)])
    finite = present[np.isfinite(present)]
    edges = np.unique(np.quantile(finite, DECILES, method="inverted_cdf")) if len(finite) else np.empty(0)
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    return FeatureBaseline(
        name=name,
        kind="numeric",
        edges=tuple(map(float, edges)),
        counts=tuple(map(int, counts)),
        missing=len(seen) - len(present),
    )


def categorical(name: str, values: np.ndarray) -> FeatureBaseline:
    """The most frequent categories, ties by name, and one count for all others."""
    distinct, numbers = np.unique(np.asarray([str(v) for v in values.reshape(-1)], dtype=object), return_counts=True)
    found = {str(value): int(number) for value, number in zip(distinct, numbers, strict=True)}
    missing = found.pop("", 0)
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    top = ordered[:TOP_CATEGORIES]
    return FeatureBaseline(
        name=name,
        kind="categorical",
        categories=tuple(value for value, _ in top),
        counts=(*(number for _, number in top), sum(number for _, number in ordered[TOP_CATEGORIES:])),
        missing=missing,
    )


def baseline(predictor: Predictor, table: pa.Table) -> Baseline:
    """Of every input that one column feeds, and of every output with one value a row."""
    features = []
    for spec in predictor.signature.inputs:
        if spec.column is None:
            continue
        if spec.datatype == "BYTES":
            features.append(categorical(spec.name, tables.texts(table, spec.column)))
        else:
            features.append(numeric(spec.name, tables.numbers(table, spec.column)))
    outputs = predictor.run(table)
    predictions = []
    for spec in predictor.signature.outputs:
        values = outputs[spec.name]
        if values.size != table.num_rows:
            continue
        name = PREDICTION_PREFIX + spec.name
        predictions.append(categorical(name, values) if spec.datatype == "BYTES" else numeric(name, values))
    return Baseline(rows=table.num_rows, features=tuple(features), predictions=tuple(predictions))
