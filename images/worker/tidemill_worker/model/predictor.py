"""Runs an ONNX model on dataset rows, by its signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa

from tidemill.contract.model import MODEL_FILE, SIGNATURE_FILE, Signature, TensorSpec
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import InvalidData, ModelInvalid
from tidemill_worker.model import tables

BATCH = 8192
NUMPY: dict[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def open_session(path: Path, threads: int = 1) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU that starts no more threads than it may."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own classes, RuntimeError and more
        raise ModelInvalid(f"ONNX Runtime cannot load {path.name}: {error}") from error


def values(table: pa.Table, spec: TensorSpec, column: str) -> np.ndarray:
    """A column as the model's input tensor of shape [rows, 1]."""
    if spec.datatype == "BYTES":
        return tables.texts(table, column).reshape(-1, 1)
    number = tables.numbers(table, column)
    if spec.datatype == "BF16":
        raise ModelInvalid(f"input {spec.name} has datatype BF16, which columns cannot feed")
    wanted = NUMPY[spec.datatype]
    if not np.issubdtype(wanted, np.floating) and np.isnan(number).any():
        raise InvalidData(
            f"column {column!r} has missing values, but the model's input {spec.name} is {spec.datatype}: "
            "fill them in the dataset or give the input a floating datatype"
        )
    return number.astype(wanted).reshape(-1, 1)


class Predictor:
    """A loaded model."""

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        self.session = open_session(path, threads)
        self.signature = signature
        inputs = {i.name for i in self.session.get_inputs()}
        outputs = {o.name for o in self.session.get_outputs()}
        missing = [t.name for t in signature.inputs if t.name not in inputs]
        missing += [t.name for t in signature.outputs if t.name not in outputs]
        if missing:
            raise ModelInvalid(f"{path.name} has no tensor {missing[0]!r}, which {SIGNATURE_FILE} names")

    @classmethod
    def of(cls, artifact: Artifact, *, threads: int = 1) -> Predictor:
        """The model of an artifact, verified."""
        signature = artifact.parse(SIGNATURE_FILE, Signature)
        for entry in artifact.manifest.files:
            if entry.path == MODEL_FILE or entry.path.endswith((".data", ".bin")):
                artifact.fetch(entry.path)
        return cls(artifact.fetch(MODEL_FILE), signature, threads=threads)

    def columns(self, available: list[str]) -> list[str]:
        """The columns that the model reads."""
        named = [t.column for t in self.signature.inputs if t.column is not None]
        if len(named) == len(self.signature.inputs):
            return named
        return tables.matrix_columns(available, self.signature)

    def feed(self, table: pa.Table) -> dict[str, np.ndarray]:
        """Input tensors of the rows."""
        tables.need(table.column_names, list(self.columns(table.column_names)), "the dataset")
        feed = {}
        for spec in self.signature.inputs:
            if spec.column is not None:
                feed[spec.name] = values(table, spec, spec.column)
            else:
                parts = [values(table, spec, name) for name in self.columns(table.column_names)]
                feed[spec.name] = np.concatenate(parts, axis=1)
        return feed

    def run_feed(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name."""
        wanted = [spec.name for spec in self.signature.outputs]
        try:
            found: list[Any] = self.session.run(wanted, feed)
        except Exception as error:
            raise ModelInvalid(f"the model fails on a real row: {error}") from error
        return dict(zip(wanted, (np.asarray(f) for f in found), strict=True))

    def run(self, table: pa.Table) -> dict[str, np.ndarray]:
        """Outputs of all rows by name, computed in batches."""
        if table.num_rows == 0:
            return {spec.name: np.empty((0, *(1 for _ in spec.shape[1:]))) for spec in self.signature.outputs}
        parts = [self.run_feed(self.feed(table.slice(start, BATCH))) for start in range(0, table.num_rows, BATCH)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
