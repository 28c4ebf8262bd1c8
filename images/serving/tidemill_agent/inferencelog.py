"""The inference log: sampled requests as parquet in the store, one row a model row, columns named as inputs and outputs.

Rows wait in memory until there are enough of them or the oldest is old enough. The tap's segment files of waiting rows
are kept, and removed when the last of their rows is stored, or given up: so a killed agent finds them again. The journal
says which rows were to become one object, so that whatever is stored again is the same object with the same rows. While the
store is down, rows beyond the memory budget are given up, the oldest first, and counted.
"""

from __future__ import annotations

import hashlib
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
from tidemill_agent.journal import Journal
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
    name: str
    """Its identity in the journal."""
    waiting: int = 1
    keys: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Key:
    """Chunks with the same key go into one file."""

    deployment: str
    version: int
    hour: int
    columns: str

    @property
    def digest(self) -> str:
        """The key in few characters."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Chunk:
    """All rows of one segment with one key."""

    table: pa.Table
    segment: Segment
    since: float


@dataclass(slots=True)
class File:
    """Chunks on their way to the store: from now on always these, in this order, under this URI."""

    uri: str
    key: str
    chunks: list[Chunk] = field(default_factory=list)

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
    pod_uid: str
    flush_rows: int
    flush_seconds: float
    buffer_bytes: int
    journal: Journal
    stored_rows: int = 0
    given_up_rows: int = 0
    bytes: int = 0
    _chunks: dict[Key, list[Chunk]] = field(default_factory=dict)
    _files: dict[str, File] = field(default_factory=dict)
    """By URI: what was to be stored before, by this process or the one before it, and is not known to be."""
    _recovered: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def recover(self, present: set[str]) -> None:
        """Learn from the journal which rows of these segments belong together, before any is added."""
        with self._lock:
            self._files = {plan.uri: File(plan.uri, plan.key) for plan in self.journal.recover(present)}

    def recovered(self) -> None:
        """All segments that `recover` knew were added: the files that it planned are whole."""
        with self._lock:
            self._recovered = True
            self._files = {uri: file for uri, file in self._files.items() if file.chunks}

    def add(self, segment: Segment, batches: list[Batch], now: float) -> None:
        """Take a segment's rows, by version and by the hour they belong to. All at once: a file has all of a key or none."""
        tables: dict[Key, list[pa.Table]] = {}
        for batch in batches:
            hours = (batch.time_ns // HOUR).astype(np.int64)
            for hour in np.unique(hours).tolist():
                table = table_of(batch if (hours == hour).all() else select(batch, hours == hour))
                key = Key(deployment=batch.model, version=batch.version, hour=hour, columns=str(table.schema))
                tables.setdefault(key, []).append(table)
        chunks = {key: Chunk(pa.concat_tables(parts), segment, now) for key, parts in tables.items()}
        with self._lock:
            segment.keys = {key.digest for key in chunks}
            for key, chunk in chunks.items():
                self._add(key, chunk)
            self._release(segment)
            self._shrink()

    def take(self, now: float, *, everything: bool = False) -> list[File]:
        """The files that are due. Each must come back by `stored` or `failed`."""
        with self._lock:
            again = list(self._files.values()) if self._recovered else []
            for file in again:
                del self._files[file.uri]
            due = [key for key in self._chunks if everything or self._due(key, now)]
            return again + [File(self._uri(key), key.digest, self._chunks.pop(key)) for key in due]

    def storing(self, file: File) -> None:
        """The store is about to be asked. If its answer is lost, or this process is, it will be asked for the same again."""
        with self._lock:
            self.journal.plan(file.uri, file.key, {chunk.segment.name for chunk in file.chunks})

    def stored(self, file: File) -> None:
        """The store has taken a file: its segments are no longer needed."""
        with self._lock:
            self.stored_rows += sum(len(chunk.table) for chunk in file.chunks)
            self._settle(file)

    def failed(self, file: File) -> None:
        """The store has not taken a file, as far as is known: it waits to be stored again, under the same name."""
        with self._lock:
            self._files[file.uri] = file
            self._shrink()

    def _add(self, key: Key, chunk: Chunk) -> None:
        plan = self.journal.planned(chunk.segment.name, key.digest)
        if plan is not None and plan.settled:
            return
        chunk.segment.waiting += 1
        self.bytes += chunk.table.nbytes
        file = self._files.get(plan.uri) if plan is not None else None
        (self._chunks.setdefault(key, []) if file is None else file.chunks).append(chunk)

    def _due(self, key: Key, now: float) -> bool:
        chunks = self._chunks[key]
        return now - chunks[0].since >= self.flush_seconds or sum(len(c.table) for c in chunks) >= self.flush_rows

    def _uri(self, key: Key) -> str:
        """Unique, as the rows of a segment with this key are in one file only."""
        folder = datetime.fromtimestamp(key.hour * 3600, UTC).strftime("%Y-%m-%d/%H")
        root = inference_log_root(self.bucket, self.namespace, key.deployment)
        first = hashlib.sha256(f"{self.pod_uid}/{self._chunks[key][0].segment.name}".encode()).hexdigest()[:16]
        return f"{root}/{folder}/{self.pod}-{first}-{key.digest}.parquet"

    def _shrink(self) -> None:
        while self.bytes > self.buffer_bytes:
            waiting = {uri: file.chunks for uri, file in self._files.items() if file.chunks}
            oldest = min([*self._chunks.values(), *waiting.values()], key=lambda c: c[0].since, default=None)
            if oldest is None:
                return
            uri = next((uri for uri, chunks in waiting.items() if chunks is oldest), None)
            # Of what may have been stored, no part can go: the file would be stored without it.
            file = self._files.pop(uri) if uri is not None else File("", "", [oldest.pop(0)])
            self._chunks = {key: chunks for key, chunks in self._chunks.items() if chunks}
            self.given_up_rows += sum(len(chunk.table) for chunk in file.chunks)
            self._settle(file)

    def _settle(self, file: File) -> None:
        self.journal.settle(file.uri)
        for chunk in file.chunks:
            self.bytes -= chunk.table.nbytes
            self._release(chunk.segment)

    def _release(self, segment: Segment) -> None:
        # The file goes first: who sees nothing waiting must not find it and read it again.
        if segment.waiting == 1:
            segment.path.unlink(missing_ok=True)
            self.journal.forget(segment.name, segment.keys)
        segment.waiting -= 1


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
