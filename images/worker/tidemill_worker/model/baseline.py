"""The baseline: distributions of features and predictions in the training split, by which drift is measured."""

from __future__ import annotations

import pyarrow as pa

from tidemill.contract.model import Baseline
from tidemill.contract.names import PREDICTION_PREFIX
from tidemill_worker.data.binning import categorical, numeric
from tidemill_worker.model import tables
from tidemill_worker.model.predictor import Predictor


def baseline(predictor: Predictor, table: pa.Table) -> Baseline:
    """Of every input that one column feeds with one value a row, and of every output with one.

    The time of a forecast is none: it never was before.
    """
    forecast = predictor.signature.forecast
    features = []
    for spec in predictor.signature.inputs:
        if spec.column is None or spec.shape[1:] not in ((1,), ()) or (forecast and spec.column == forecast.time):
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
