"""Arrow IPC files (Feather V2) and streams, read one record batch at a time into a table.

DuckDB has no reader for them, so pyarrow reads and DuckDB takes the batches as they come. Offsets in a file may be wrong,
and Arrow believes them: each batch is validated before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from tidemill_worker.data import engine
from tidemill_worker.data.engine import quote
from tidemill_worker.errors import InvalidData

_MAGIC = b"ARROW1"
_READER = "_tidemill_arrow"


def load(connection: duckdb.DuckDBPyConnection, files: Mapping[Path, str], table: str, *, label: str) -> None:
    """Read files into a new table, by column name; NaN becomes null. Raises InvalidData that names the file."""
    reading = _Reading(files, label)
    schema = reading.schema()
    connection.register(_READER, pa.RecordBatchReader.from_batches(schema, reading.batches(schema)))
    floats = [quote(field.name) for field in schema if pa.types.is_floating(field.type)]
    cleaned = ", ".join(f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END AS {name}" for name in floats)
    try:
        replaced = f" REPLACE ({cleaned})" if floats else ""
        connection.execute(f"CREATE TABLE {quote(table)} AS SELECT *{replaced} FROM {_READER}")
    except duckdb.OutOfMemoryException as error:
        raise MemoryError(str(error)) from error
    except duckdb.Error as error:
        if reading.problem:
            raise reading.problem from error
        raise InvalidData(f"{label}: the files cannot be read as arrow: {engine.SqlProblem(error).message}") from error
    finally:
        connection.unregister(_READER)


class _Reading:
    """Files one after the other, remembering what was wrong with which."""

    def __init__(self, files: Mapping[Path, str], label: str) -> None:
        self._files, self._label = files, label
        self.problem: InvalidData | None = None

    def schema(self) -> pa.Schema:
        """What holds the columns of all files."""
        found = []
        for path, name in self._files.items():
            try:
                with pa.memory_map(str(path)) as source:
                    found.append(pa.schema([(f.name, _plain(f.type)) for f in _open(source).schema]))
            except (pa.ArrowException, OSError) as error:
                raise self._bad(name, error) from error
        try:
            return pa.unify_schemas(found, promote_options="permissive")
        except pa.ArrowException as error:
            raise InvalidData(f"{self._label}: the files cannot be read together: {error}") from error

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """All batches, brought into the common schema."""
        for path, name in self._files.items():
            try:
                with pa.memory_map(str(path)) as source:
                    reader = _open(source)
                    numbered = isinstance(reader, pa.RecordBatchFileReader)
                    for batch in map(reader.get_batch, range(reader.num_record_batches)) if numbered else reader:
                        batch.validate(full=True)
                        yield _conformed(batch, schema)
            except (pa.ArrowException, OSError) as error:
                self.problem = self._bad(name, error)
                raise self.problem from error

    def _bad(self, name: str, error: Exception) -> InvalidData:
        return InvalidData(f"{self._label}: {name} cannot be read as arrow: {error}")


def _open(source: pa.MemoryMappedFile) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    start = source.read(len(_MAGIC))
    source.seek(0)
    return pa.ipc.open_file(source) if start == _MAGIC else pa.ipc.open_stream(source)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type that values have in a table: a dictionary or run-length encoding is none."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if isinstance(kind, pa.DictionaryType | pa.RunEndEncodedType):
        return _plain(kind.value_type)
    return pa.float32() if kind == pa.float16() else kind


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field in schema:
        place = batch.schema.get_field_index(field.name)
        if place < 0:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(place)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        columns.append(column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
