"""What the tests of inputs share."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidemill_worker.errors import TaskError

from .lab import Lab


def refused(lab: Lab, kind: type[TaskError], document: dict[str, Any]) -> TaskError:
    with pytest.raises(kind) as caught:
        lab.run(document)
    assert not [n for n in lab.list("datasets/") if n.endswith("manifest.json")], "nothing may be published"
    assert str(lab.work) not in caught.value.message, "a path of the pod says nothing to the user"
    return caught.value


def parquet(table: dict[str, Any] | pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), sink)
    return sink.getvalue().to_pybytes()


def arrow(table: pa.Table, *, stream: bool = False, chunk: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return sink.getvalue().to_pybytes()


def provenance(lab: Lab, result: Any) -> dict[str, str]:
    found: dict[str, str] = lab.get_json(f"{result.artifact.uri}/provenance.json")["inputs"]
    return found
