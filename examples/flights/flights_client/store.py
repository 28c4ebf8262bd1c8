"""Parquet files of the demo in the S3 store: raw months in, labels out."""

from __future__ import annotations

import io
import os
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq

BUCKET = "raw"


def client() -> Any:
    """An S3 client by the environment: TIDEMILL_STORE_ENDPOINT and AWS_* as every Tidemill pod has them."""
    return boto3.client(
        "s3",
        endpoint_url=os.environ["TIDEMILL_STORE_ENDPOINT"],
        region_name=os.environ.get("TIDEMILL_STORE_REGION", "us-east-1"),
    )


def read_bytes(s3: Any, key: str) -> bytes:
    """One object."""
    data: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return data


def write_table(s3: Any, key: str, table: pa.Table) -> None:
    """A table as one parquet object."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    s3.put_object(Bucket=BUCKET, Key=key, Body=buffer.getvalue())
