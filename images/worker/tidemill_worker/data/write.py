"""Writes a dataset's files with settings that never vary, so that equal rows are equal bytes."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from tidemill_worker.data.engine import literal, quote
from tidemill_worker.data.split import ORDER, SPLIT

ROW_GROUP = 122_880


def write_splits(
    connection: duckdb.DuckDBPyConnection, table: str, kinds: dict[str, str], rows: dict[str, int], folder: Path
) -> None:
    """One parquet file a split, and `schema.json`. Row groups are streamed: memory stays bounded."""
    listed = ", ".join(quote(name) for name in kinds)
    for split in rows:
        reader = connection.sql(
            f"SELECT {listed} FROM {quote(table)} WHERE {SPLIT} = {literal(split)} ORDER BY {ORDER}"
        ).to_arrow_reader(ROW_GROUP)
        with pq.ParquetWriter(
            folder / f"{split}.parquet",
            reader.schema,
            compression="zstd",
            compression_level=3,
            version="2.6",
            data_page_version="1.0",
            use_dictionary=True,
            write_statistics=True,
        ) as writer:
            for batch in reader:
                writer.write_batch(batch, row_group_size=ROW_GROUP)
    columns = [{"name": name, "type": kind.lower()} for name, kind in kinds.items()]
    (folder / "schema.json").write_text(json.dumps({"columns": columns, "rows": rows}, indent=1, ensure_ascii=False))
