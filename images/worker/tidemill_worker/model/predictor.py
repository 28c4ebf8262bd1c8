"""Runs an ONNX model on dataset rows, by its signature."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa

from tidemill.contract.model import MODEL_FILE, SIGNATURE_FILE, TOKENIZER_FILE, Signature, TensorSpec
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import InvalidData, InvalidSpec, ModelInvalid
from tidemill_worker.model import pictures, tables
from tidemill_worker.model.tokens import Tokenizer

BATCH, BATCH_TOKENS = 8192, 16_384
"""Rows that are computed at a time; of a model that takes tokens, so many of these at most."""
PICTURE = 4
"""Dimensions of a tensor of pictures: row, height, width, channel."""
_NUMBERS = 1 << 18
"""Of one input in a batch, where rows have many."""
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


def open_session(model: Path | bytes) -> ort.InferenceSession:
    """An ONNX Runtime session on one thread of the CPU: several would add up an ensemble of trees in another order."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        whole = model if isinstance(model, bytes) else str(model)
        return ort.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own classes, RuntimeError and more
        name = "the model" if isinstance(model, bytes) else model.name
        raise ModelInvalid(f"ONNX Runtime cannot load {name}: {error}") from error


def values(table: pa.Table, spec: TensorSpec, column: str) -> np.ndarray:
    """A column as the model's input tensor: [rows, 1], of a column of lists [rows, length], of pictures their pixels."""
    if len(spec.shape) == PICTURE:
        return pictures.pixels(table, column, (spec.shape[1], spec.shape[2], spec.shape[3]))
    if pa.types.is_fixed_size_list(table.schema.field(column).type):
        return tables.vectors(table, column).astype(NUMPY[spec.datatype])
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
    """A loaded model. `threads` batches are computed at a time; the answers are the same for any number of them."""

    def __init__(self, path: Path, signature: Signature, *, threads: int = 1) -> None:
        self.session = open_session(path)
        self.signature, self._threads = signature, threads
        self._path, self._batch = path, BATCH
        self._tokenizer: Tokenizer | None = None
        if signature.tokens is not None:
            self._batch = max(1, BATCH_TOKENS // signature.tokens.max_tokens)
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
            if entry.path in (MODEL_FILE, TOKENIZER_FILE) or entry.path.endswith((".data", ".bin")):
                artifact.fetch(entry.path)
        return cls(artifact.fetch(MODEL_FILE), signature, threads=threads)

    def columns(self, available: list[str]) -> list[str]:
        """The columns that the model reads. Raises InvalidSpec for a language model, which reads none."""
        if self.signature.tokens is not None:
            if self.signature.tokens.column is None:
                raise InvalidSpec(
                    "a language model goes on with tokens: it answers no row of a dataset, serve it Online"
                )
            return [self.signature.tokens.column]
        named = [t.column for t in self.signature.inputs if t.column is not None]
        if len(named) == len(self.signature.inputs):
            return named
        return tables.matrix_columns(available, self.signature)

    def feed(self, table: pa.Table) -> dict[str, np.ndarray]:
        """Input tensors of the rows."""
        columns = list(self.columns(table.column_names))
        tables.need(table.column_names, columns, "the dataset")
        if self.signature.tokens is not None:
            self._tokenizer = self._tokenizer or Tokenizer(self._path.parent, self.signature.tokens)
            return self._tokenizer.feed(list(tables.texts(table, columns[0])))
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
            return {spec.name: np.empty((0, *(abs(d) for d in spec.shape[1:]))) for spec in self.signature.outputs}

        wide = max(abs(math.prod(spec.shape[1:])) for spec in self.signature.inputs)
        size = min(self._batch, max(1, _NUMBERS // max(wide, 1)))

        def batch(start: int) -> dict[str, np.ndarray]:
            return self.run_feed(self.feed(table.slice(start, size)))

        with ThreadPoolExecutor(self._threads) as pool:
            parts = list(pool.map(batch, range(0, table.num_rows, size)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
