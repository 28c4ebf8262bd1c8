"""What a model artifact's folder holds beside `model.onnx`, written the same way for built-in and users' trainers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.contract.model import (
    BASELINE_FILE,
    CALIBRATION_FILE,
    EVALUATION_FILE,
    SIGNATURE_FILE,
    Baseline,
    Evaluation,
    Signature,
)
from tidemill_worker.model import tables
from tidemill_worker.model.predictor import values

CALIBRATION_ROWS = 512
Example = dict[str, list[float | int | str | bool | None]]


def example_row(table: pa.Table, signature: Signature) -> Example:
    """One row by input name: the first without missing values among some, or else the first. Missing numbers are null."""
    head = table.slice(0, 200)
    best = 0
    for row in range(head.num_rows):
        if all(head.column(t.column)[row].as_py() is not None for t in signature.inputs if t.column is not None):
            best = row
            break
    chosen = table.slice(best, 1)
    example: Example = {}
    for spec in signature.inputs:
        if spec.column is not None and math.prod(spec.shape[1:]) > 1:
            whole = values(chosen, spec, spec.column).reshape(-1)
            example[spec.name] = [_scalar(v, spec.datatype) for v in whole.astype(np.float64)]
            continue
        names = [spec.column] if spec.column is not None else tables.matrix_columns(table.column_names, signature)
        if spec.datatype == "BYTES":
            example[spec.name] = [str(tables.texts(chosen, name)[0]) for name in names]
        else:
            example[spec.name] = [_scalar(tables.numbers(chosen, name)[0], spec.datatype) for name in names]
    return example


def _scalar(value: float, datatype: str) -> float | int | bool | None:
    if np.isnan(value):
        return None
    if datatype == "BOOL":
        return bool(value)
    return float(np.float32(value)) if datatype.startswith(("FP", "BF")) else int(value)


def calibration_rows(table: pa.Table) -> pa.Table:
    """Up to 512 rows, evenly spread over the training split."""
    number = min(CALIBRATION_ROWS, table.num_rows)
    places = np.linspace(0, table.num_rows - 1, number).astype(np.int64)
    return table.take(pa.array(places))


def write(
    folder: Path, *, signature: Signature, baseline: Baseline, evaluation: Evaluation, calibration: pa.Table
) -> None:
    """Everything but the model."""
    (folder / SIGNATURE_FILE).write_text(signature.to_json())
    (folder / BASELINE_FILE).write_text(baseline.to_json())
    (folder / EVALUATION_FILE).write_text(evaluation.to_json())
    pq.write_table(
        calibration.replace_schema_metadata(None), folder / CALIBRATION_FILE, compression="zstd", version="2.6"
    )
