"""Dataset files as columns: which kind a column is, and its values as numbers or text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidemill.contract.model import Signature
from tidemill.contract.names import INTERNAL_COLUMN_PREFIX
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import ArtifactCorrupt, ColumnMissing, ColumnType

Kind = Literal["numeric", "text", "other"]


def kind(data_type: pa.DataType) -> Kind:
    """What a model can make of a column."""
    is_number = pa.types.is_integer(data_type) or pa.types.is_floating(data_type) or pa.types.is_decimal(data_type)
    if is_number or pa.types.is_boolean(data_type):
        return "numeric"
    if pa.types.is_dictionary(data_type):
        return kind(data_type.value_type)
    if pa.types.is_string(data_type) or pa.types.is_large_string(data_type) or pa.types.is_string_view(data_type):
        return "text"
    return "other"


def read_split(
    dataset: Artifact, split: str, columns: Sequence[str] | None = None, *, field: str | None = None
) -> pa.Table:
    """One split of a dataset artifact, verified. `field` says in errors where the columns were named."""
    path = dataset.fetch(f"{split}.parquet")
    try:
        file = pq.ParquetFile(path)
        if columns is not None:
            need(file.schema_arrow.names, columns, dataset.ref.uri, field=field)
        return file.read(columns=list(columns) if columns is not None else None)
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactCorrupt(f"{dataset.ref.uri}/{split}.parquet cannot be read: {error}") from error


def need(present: Sequence[str], wanted: Sequence[str], where: str, *, field: str | None = None) -> None:
    """Every wanted column must be present."""
    for name in wanted:
        if name not in present:
            shown = ", ".join(n for n in present if not n.startswith(INTERNAL_COLUMN_PREFIX))
            raise ColumnMissing(
                f"{field or where}: there is no column {name!r} in {where}; it has {shown}", field=field
            )


def numbers(table: pa.Table, name: str, *, field: str | None = None) -> np.ndarray:
    """A numeric or boolean column as float64, missing values as NaN."""
    column = table.column(name)
    if kind(column.type) != "numeric":
        raise ColumnType(f"column {name!r} is {column.type}, not a number", field=field)
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.uint8())
    values = pc.cast(column, pa.float64(), safe=False)
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def vectors(table: pa.Table, name: str) -> np.ndarray:
    """A column of lists of the same length, [rows, length], in the numbers' own type."""
    column = table.column(name).combine_chunks()
    if not pa.types.is_fixed_size_list(column.type):
        raise ColumnType(f"column {name!r} is {column.type}, not lists of numbers of one length")
    width = column.type.list_size
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)


def texts(table: pa.Table, name: str) -> np.ndarray:
    """A column as text, missing values as empty text."""
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if kind(column.type) != "text":
        column = pc.cast(column, pa.string())
    return np.asarray(pc.fill_null(column, "").to_numpy(zero_copy_only=False), dtype=object)


def labels(table: pa.Table, name: str, *, field: str | None = None) -> np.ndarray:
    """A classification target as text: whole numbers as `3`, booleans as `true`; missing as empty text."""
    column = table.column(name)
    if kind(column.type) == "other":
        raise ColumnType(f"target {name!r} is {column.type}: classes are text, whole numbers or booleans", field=field)
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        values = numbers(table, name)
        present = values[~np.isnan(values)]
        if (present != np.round(present)).any():
            raise ColumnType(
                f"target {name!r} holds fractions ({present[present != np.round(present)][0]:g}): classes are text, "
                "whole numbers or booleans; for numbers train a regression",
                field=field,
            )
        return np.array(["" if np.isnan(v) else str(int(v)) for v in values], dtype=object)
    return texts(table, name)


def matrix_columns(available: list[str], signature: Signature) -> list[str]:
    """For a model with one matrix input: all columns but the target and bookkeeping, in the dataset's order."""
    named = [n for n in available if n != signature.target and not n.startswith(INTERNAL_COLUMN_PREFIX)]
    (matrix,) = signature.inputs
    if len(matrix.shape) != 2 or matrix.shape[1] not in (-1, len(named)):
        raise ColumnType(
            f"the model's input {matrix.name} has shape {list(matrix.shape)}, but the dataset has {len(named)} columns "
            f"beside the target: {', '.join(named)}"
        )
    return named


def class_order(name: str) -> tuple[int, float, str]:
    """Whole numbers by value, then text by alphabet."""
    return (0, float(name), name) if re.fullmatch(r"-?\d+", name) else (1, 0.0, name)
