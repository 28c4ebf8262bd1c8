"""The inference log: sampled requests as parquet in the store, one row a model row, columns named as inputs and outputs.

Rows wait in memory until there are enough of them or the oldest is old enough. The tap's segment files of waiting rows
are kept, and removed when the last of their rows is stored, or given up: so a killed agent finds them again. While the
store is down, rows beyond the memory budget are given up, the oldest first, and counted.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.contract.layout import inference_log_root
from tidemill.contract.names import COLUMN_REQUEST_ID, COLUMN_TIME, COLUMN_VERSION, PREDICTION_PREFIX
from tidemill_agent.binning import Array
from tidemill_agent.tap import Batch

MEDIA_TYPE = "application/vnd.apache.parquet"
HOUR = 3_600_000_000_000


def table_of(batch: Batch) -> pa.Table:
    """The rows of a batch of requests. A request of several rows gives each the id `<id>#<row>`."""
    rows = next((len(batch.rows(c)) for c in (*batch.inputs.values(), *batch.outputs.values())), len(batch))
    per_request = rows // len(batch) if len(batch) else 1
    ids = [bytes(i).decode(errors="replace") for i in batch.request_ids.tolist()]
    if per_request != 1:
        ids = [f"{i}#{row}" if i else "" for i in ids for row in range(per_request)]
    times = np.repeat(batch.time_ns // 1000, per_request).astype(np.int64)
    columns: dict[str, pa.Array] = {name: _column(batch.rows(values)) for name, values in batch.inputs.items()}
    for name, values in batch.outputs.items():
        columns[f"{PREDICTION_PREFIX}{name}"] = _column(batch.rows(values))
    columns[COLUMN_TIME] = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
    columns[COLUMN_REQUEST_ID] = pa.array(ids, type=pa.string())
    columns[COLUMN_VERSION] = pa.array(np.full(rows, batch.version, dtype=np.int64))
    return pa.table(columns)


def _column(values: Array) -> pa.Array:
    flat = values.reshape(-1)
    if flat.dtype == np.float16:
        flat = flat.astype(np.float32)
    array = _texts(flat) if flat.dtype.kind in "SO" else pa.array(np.ascontiguousarray(flat))
    width = int(np.prod(values.shape[1:], dtype=np.int64))
    if width == 1:
        return array
    offsets = np.arange(0, len(flat) + 1, width, dtype=np.int32) if width else np.zeros(len(values) + 1, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), array)


def _texts(values: Array) -> pa.Array:
    try:
        return pa.array(values, type=pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:  # bytes that are no UTF-8
        return pa.array([bytes(v).decode(errors="replace") for v in values.tolist()], type=pa.string())


@dataclass(slots=True)
class Segment:
    """A file of the tap. `waiting` counts its chunks that are not stored yet, and its reader while it reads."""

    path: Path
    waiting: int = 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one segment, one version, one hour and one set of columns."""

    table: pa.Table
    segment: Segment
    since: float


@dataclass(frozen=True, slots=True)
class Key:
    """Chunks with the same key go into one file."""

    deployment: str
    version: int
    hour: int
    columns: str


@dataclass(frozen=True, slots=True)
class File:
    """Chunks taken out of the buffer, on their way to the store."""

    key: Key
    uri: str
    chunks: list[Chunk]

    def encode(self) -> bytes:
        """The rows as parquet."""
        buffer = io.BytesIO()
        pq.write_table(pa.concat_tables([c.table for c in self.chunks]), buffer, compression="zstd")
        return buffer.getvalue()


@dataclass(slots=True)
class InferenceLog:
    """Rows on their way to the store: one thread adds, another takes files and stores them."""

    bucket: str
    namespace: str
    pod: str
    flush_rows: int
    flush_seconds: float
    buffer_bytes: int
    stored_rows: int = 0
    given_up_rows: int = 0
    bytes: int = 0
    _files: int = 0
    _chunks: dict[Key, list[Chunk]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, batch: Batch, segment: Segment, now: float) -> None:
        """Take the rows of a batch; by version and by the hour they belong to."""
        hours = (batch.time_ns // HOUR).astype(np.int64)
        for hour in np.unique(hours).tolist():
            table = table_of(batch if (hours == hour).all() else select(batch, hours == hour))
            key = Key(deployment=batch.model, version=batch.version, hour=hour, columns=str(table.schema))
            with self._lock:
                segment.waiting += 1
                self.bytes += table.nbytes
                self._chunks.setdefault(key, []).append(Chunk(table=table, segment=segment, since=now))
                self._shrink()

    def done(self, segment: Segment) -> None:
        """All rows of a segment were added."""
        with self._lock:
            self._release(segment)

    def take(self, now: float, *, everything: bool = False) -> list[File]:
        """The files that are due. Each must come back by `stored` or `failed`."""
        with self._lock:
            return [self._take(key, now) for key in list(self._chunks) if everything or self._due(key, now)]

    def stored(self, file: File) -> None:
        """The store has taken a file: its segments are no longer needed."""
        with self._lock:
            for chunk in file.chunks:
                self.stored_rows += len(chunk.table)
                self.bytes -= chunk.table.nbytes
                self._release(chunk.segment)

    def failed(self, file: File) -> None:
        """The store has not taken a file: its rows wait again."""
        with self._lock:
            self._chunks[file.key] = [*file.chunks, *self._chunks.get(file.key, ())]
            self._shrink()

    def _due(self, key: Key, now: float) -> bool:
        chunks = self._chunks[key]
        return now - chunks[0].since >= self.flush_seconds or sum(len(c.table) for c in chunks) >= self.flush_rows

    def _take(self, key: Key, now: float) -> File:
        folder = datetime.fromtimestamp(key.hour * 3600, UTC).strftime("%Y-%m-%d/%H")
        root = inference_log_root(self.bucket, self.namespace, key.deployment)
        self._files += 1
        uri = f"{root}/{folder}/{self.pod}-{int(now * 1000)}-{self._files}.parquet"
        return File(key=key, uri=uri, chunks=self._chunks.pop(key))

    def _shrink(self) -> None:
        while self.bytes > self.buffer_bytes and self._chunks:
            key = min(self._chunks, key=lambda k: self._chunks[k][0].since)
            chunk = self._chunks[key].pop(0)
            if not self._chunks[key]:
                del self._chunks[key]
            self.given_up_rows += len(chunk.table)
            self.bytes -= chunk.table.nbytes
            self._release(chunk.segment)

    def _release(self, segment: Segment) -> None:
        segment.waiting -= 1
        if segment.waiting == 0:
            segment.path.unlink(missing_ok=True)


def select(batch: Batch, mask: Any) -> Batch:
    """Some of a batch's requests."""
    return Batch(
        model=batch.model,
        version=batch.version,
        batched=batch.batched,
        request_ids=batch.request_ids[mask],
        time_ns=batch.time_ns[mask],
        inputs={name: column[mask] for name, column in batch.inputs.items()},
        outputs={name: column[mask] for name, column in batch.outputs.items()},
    )
