"""Reads the segment files of the serving backend's sampling tap; it deletes nothing.

The format is described in images/serving/backend/README.md. A segment holds blocks of records of one schema (model,
version, tensors with their types and shapes), stored as columns. `read_batches` gives these columns as numpy arrays
without a Python step per record; `iter_records` gives single records.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAGIC = b"TIDETAP\0"
VERSION = 1
_HEADER = struct.Struct("<8sHHIQQ")
_FRAME = struct.Struct("<IIQ")
_SCHEMA_FRAME = 1
_BLOCK_FRAME = 2
_FLAG_BATCHED = 1
_BYTES = 13
_BF16 = 14
# Triton's TRITONSERVER_DataType; BF16 is widened to float32 because numpy has no such type.
_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.bool_),
    2: np.dtype("<u1"),
    3: np.dtype("<u2"),
    4: np.dtype("<u4"),
    5: np.dtype("<u8"),
    6: np.dtype("<i1"),
    7: np.dtype("<i2"),
    8: np.dtype("<i4"),
    9: np.dtype("<i8"),
    10: np.dtype("<f2"),
    11: np.dtype("<f4"),
    12: np.dtype("<f8"),
    14: np.dtype("<u2"),
}
# A fixed-width array of strings may take this many times the bytes of the strings themselves before objects are better.
_MAX_WIDENING = 16


class TapFormatError(ValueError):
    """A file that is not a segment of the tap, of a version that this reader does not know, or damaged."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a schema, with the exact shape that its records have."""

    name: str
    output: bool
    datatype: int
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Elements of one record."""
        count = 1
        for dim in self.shape:
            count *= dim
        return count


@dataclass(frozen=True, slots=True)
class Schema:
    """What all records of a block have in common."""

    model: str
    version: int
    batched: bool
    tensors: tuple[Tensor, ...]


@dataclass(slots=True)
class Batch:
    """Records of one schema as columns: the first dimension of every array counts records.

    `batched` says that the next dimension is the model's batch dimension, as sent by the client: `rows()` joins the two.
    String tensors are arrays of `S…` (of objects when a value ends in NUL or is far longer than the others).
    """

    model: str
    version: int
    batched: bool
    request_ids: Array
    time_ns: npt.NDArray[np.uint64]
    inputs: dict[str, Array]
    outputs: dict[str, Array]

    def __len__(self) -> int:
        return len(self.time_ns)

    def rows(self, column: Array) -> Array:
        """The column with one entry a row of the model's batch; unchanged for a model that does not batch."""
        if not self.batched:
            return column
        return column.reshape((column.shape[0] * column.shape[1], *column.shape[2:]))


@dataclass(slots=True)
class Record:
    """One sampled request."""

    model: str
    version: int
    request_id: str
    time_ns: int
    inputs: dict[str, Array]
    outputs: dict[str, Array]


def segments(folder: Path) -> list[Path]:
    """The complete segments of a tap folder (`TIDEMILL_TAP_DIR`), oldest first."""
    found = []
    for path in (folder / "segments").glob("*.tap"):
        with contextlib.suppress(FileNotFoundError):  # its rows were stored just now
            found.append((path.stat().st_mtime_ns, path.name, path))
    return [path for _, _, path in sorted(found)]


def read_batches(path: Path) -> list[Batch]:
    """The segment's records, joined to one batch a schema, in the order in which the schemas first appear."""
    parts: dict[int, list[Batch]] = {}
    for schema_id, batch in _blocks(path):
        parts.setdefault(schema_id, []).append(batch)
    return [_join(batches) for batches in parts.values()]


def iter_records(path: Path) -> Iterator[Record]:
    """The segment's records one by one, in the order of the file (by schema within half a second)."""
    for _, batch in _blocks(path):
        for row in range(len(batch)):
            yield Record(
                model=batch.model,
                version=batch.version,
                request_id=bytes(batch.request_ids[row]).decode(errors="replace"),
                time_ns=int(batch.time_ns[row]),
                inputs={name: column[row] for name, column in batch.inputs.items()},
                outputs={name: column[row] for name, column in batch.outputs.items()},
            )


def _blocks(path: Path) -> Iterator[tuple[int, Batch]]:
    data = path.read_bytes()
    if len(data) < _HEADER.size:
        return  # Cut by a crash before the header was complete.
    magic, version, header, _pid, _sequence, _created = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise TapFormatError(f"{path}: not a tap segment (it starts with {magic!r})")
    if version != VERSION:
        raise TapFormatError(f"{path}: format version {version}; this reader knows version {VERSION}")
    schemas: dict[int, Schema] = {}
    offset = header
    while offset + _FRAME.size <= len(data):
        kind, schema_id, length = _FRAME.unpack_from(data, offset)
        offset += _FRAME.size
        if offset + length > len(data):
            return  # Cut by a crash: what came before is whole.
        body = data[offset : offset + length]
        try:
            if kind == _SCHEMA_FRAME:
                schemas[schema_id] = _schema(body)
            elif kind == _BLOCK_FRAME:
                batch = _block(body, schemas[schema_id])
        except (ValueError, KeyError, IndexError, struct.error) as error:
            raise TapFormatError(f"{path}: the frame at byte {offset} is damaged: {error!r}") from error
        if kind == _BLOCK_FRAME:
            yield schema_id, batch
        # Other kinds are of a later minor format; their length is known, so they are passed over.
        offset += _padded(length)


def _schema(body: bytes) -> Schema:
    version, count, flags, length = struct.unpack_from("<QHBH", body)
    offset = 13
    model = body[offset : offset + length].decode()
    offset += length
    tensors = []
    for _ in range(count):
        role, datatype, rank, length = struct.unpack_from("<BBBH", body, offset)
        offset += 5
        name = body[offset : offset + length].decode()
        offset += length
        shape = struct.unpack_from(f"<{rank}q", body, offset)
        offset += 8 * rank
        tensors.append(Tensor(name=name, output=role == 1, datatype=datatype, shape=shape))
    return Schema(model=model, version=version, batched=bool(flags & _FLAG_BATCHED), tensors=tuple(tensors))


class _Cursor:
    """Takes arrays off a block, each of which starts at a multiple of 8 bytes."""

    def __init__(self, data: bytes, offset: int) -> None:
        self.data = data
        self.offset = offset

    def take(self, dtype: np.dtype[Any], count: int) -> Array:
        """The next `count` numbers, in place."""
        found = np.frombuffer(self.data, dtype, count, self.offset)
        self.offset += _padded(count * dtype.itemsize)
        return found

    def strings(self, count: int) -> Array:
        """The next `count` strings: first their lengths, then their bytes."""
        lengths = self.take(np.dtype("<u4"), count).astype(np.int64)
        return _strings(lengths, self.take(np.dtype("<u1"), int(lengths.sum())))


def _block(body: bytes, schema: Schema) -> Batch:
    (count,) = struct.unpack_from("<I", body)
    cursor = _Cursor(body, 8)
    times = cursor.take(np.dtype("<u8"), count)
    batch = Batch(
        model=schema.model,
        version=schema.version,
        batched=schema.batched,
        time_ns=times,
        request_ids=cursor.strings(count),
        inputs={},
        outputs={},
    )
    for tensor in schema.tensors:
        if tensor.datatype == _BYTES:
            column = cursor.strings(count * tensor.elements)
        else:
            column = cursor.take(_DTYPES[tensor.datatype], count * tensor.elements)
        if tensor.datatype == _BF16:
            column = (column.astype("<u4") << 16).view("<f4")
        target = batch.outputs if tensor.output else batch.inputs
        target[tensor.name] = column.reshape((count, *tensor.shape))
    return batch


def _strings(lengths: npt.NDArray[np.int64], data: Array) -> Array:
    """Joined bytes as an array of `S…`, without a loop over the strings unless widths or NULs forbid it."""
    width = int(lengths.max(initial=0))
    if width == 0:
        return np.zeros(len(lengths), dtype="S1")
    ends = np.cumsum(lengths)
    last = data[ends[lengths > 0] - 1]
    if width * len(lengths) > _MAX_WIDENING * len(data) + (1 << 20) or bool((last == 0).any()):
        whole = data.tobytes()
        found = np.empty(len(lengths), dtype=object)
        found[:] = [whole[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
        return found
    wide = np.zeros((len(lengths), width), dtype=np.uint8)
    wide[np.arange(width) < lengths[:, None]] = data
    return wide.view(f"S{width}").reshape(len(lengths))


def _join(batches: list[Batch]) -> Batch:
    first = batches[0]
    if len(batches) == 1:
        return first
    return Batch(
        model=first.model,
        version=first.version,
        batched=first.batched,
        request_ids=np.concatenate([batch.request_ids for batch in batches]),
        time_ns=np.concatenate([batch.time_ns for batch in batches]),
        inputs={name: np.concatenate([batch.inputs[name] for batch in batches]) for name in first.inputs},
        outputs={name: np.concatenate([batch.outputs[name] for batch in batches]) for name in first.outputs},
    )


def _padded(length: int) -> int:
    return -(-length // 8) * 8
