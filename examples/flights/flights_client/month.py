"""The rows of one month in order of departure, by the Dataset's own SQL on the raw files."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flights_client.store import read_bytes

TARGET = "arr_delay"


def chunks_of(s3: Any, month: int, *, sql: str, rows: int, chunk: int, seed: int) -> Iterator[pa.Table]:
    """Tables of about `chunk` flights with the model's columns and the label; the same flights for the same seed.

    Raises duckdb.Error when the SQL does not fit the raw files.
    """
    flights = pq.read_table(io.BytesIO(read_bytes(s3, f"flights/2013-{month:02d}.parquet")))
    flights = flights.filter(pa.compute.is_valid(flights["arr_delay"]))
    if flights.num_rows > rows:
        chosen = np.random.default_rng([seed, month]).choice(flights.num_rows, rows, replace=False)
        flights = flights.take(pa.array(np.sort(chosen)))
    flights = flights.sort_by([("day", "ascending"), ("sched_dep_time", "ascending")])
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        weather = Path(folder) / "weather.csv"
        weather.write_bytes(read_bytes(s3, "weather.csv"))
        database.execute(f"CREATE TABLE weather AS SELECT * FROM read_csv('{weather}')")
        for start in range(0, flights.num_rows, chunk):
            database.register("flights", flights.slice(start, chunk))
            yield database.execute(sql).to_arrow_table()
