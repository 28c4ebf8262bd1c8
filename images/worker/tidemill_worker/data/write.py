"""Writes a dataset's files with settings that never vary, so that equal rows are equal bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill_worker.data import engine
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.data.split import SPLIT
from tidemill_worker.errors import ColumnType

ROW_GROUP = 122_880


def need_storable(connection: duckdb.DuckDBPyConnection, table: str, field: str) -> None:
    """Raises ColumnType for the first column of a type that parquet has no word for: an interval, a union."""
    schema = connection.sql(f"FROM {quote(table)} LIMIT 0").to_arrow_table().schema
    for column, kind in zip(schema, engine.columns(connection, table).values(), strict=True):
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([column])).close()
        except pa.ArrowNotImplementedError as error:
            way = "epoch(…) makes seconds of an interval" if "INTERVAL" in kind else "derive a plain column from it"
            text = f"{field}: column {column.name!r} is {kind.lower()}, which parquet cannot hold: {way}"
            raise ColumnType(text, field=field) from error


def write_splits(
    connection: duckdb.DuckDBPyConnection, table: str, kinds: dict[str, str], rows: dict[str, int], folder: Path
) -> None:
    """One parquet file a split, and `schema.json`. Row groups are streamed: memory stays bounded."""
    listed = ", ".join(quote(name) for name in kinds)
    for split in rows:
        # the table lies in its order, and DuckDB keeps that of a plain scan: to sort it again would only cost
        query = f"SELECT {listed} FROM {quote(table)} WHERE {SPLIT} = {literal(split)}"
        write_parquet(connection, query, folder / f"{split}.parquet")
    columns = [{"name": name, "type": kind.lower()} for name, kind in kinds.items()]
    (folder / "schema.json").write_text(json.dumps({"columns": columns, "rows": rows}, indent=1, ensure_ascii=False))


def write_parquet(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """The rows of a query as one file."""
    reader = connection.sql(query).to_arrow_reader(ROW_GROUP)
    with pq.ParquetWriter(
        path,
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


def write_table(connection: duckdb.DuckDBPyConnection, table: str, columns: Iterable[str], path: Path) -> None:
    """All columns of a table as one file, the rows in an order that depends on nothing but them."""
    order = ", ".join(f"{quote(name)} ASC NULLS FIRST" for name in columns)
    write_parquet(connection, f"SELECT * FROM {quote(table)} ORDER BY {order}", path)
