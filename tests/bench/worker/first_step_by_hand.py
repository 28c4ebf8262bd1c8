"""A training script as one writes it: download, standardise numbers, number texts, train. Ends with its first epoch.

python -m tests.bench.worker.first_step_by_hand S3_URI TARGET
"""

from __future__ import annotations

import io
import os
import sys

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from botocore.client import Config
from tests.bench.worker import by_hand

BATCH = 512


def read(uri: str) -> pa.Table:
    """A parquet file of the store that the environment names."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    client = boto3.client(
        "s3",
        endpoint_url=os.environ["TIDEMILL_STORE_ENDPOINT"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    return pq.read_table(io.BytesIO(client.get_object(Bucket=bucket, Key=key)["Body"].read()))


def encode(table: pa.Table, target: str) -> tuple[by_hand.Tensors, list[int]]:
    """Standardised numbers, texts as indices, the standardised target."""
    numbers, codes, categories = [], [], []
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            coded = pc.dictionary_encode(column).combine_chunks()
            codes.append(np.asarray(coded.indices.fill_null(0)) + 2)
            categories.append(len(coded.dictionary))
        else:
            values = np.asarray(column.to_numpy(), dtype=np.float32)
            values = np.nan_to_num(values, nan=float(np.nanmedian(values)))
            numbers.append((name, (values - values.mean()) / values.std()))
    features = np.stack([values for name, values in numbers if name != target], axis=1)
    wanted = dict(numbers)[target].reshape(-1, 1)
    tensors = tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in (features, np.stack(codes, axis=1), wanted))
    return tensors, categories  # type: ignore[return-value]


if __name__ == "__main__":
    rows, counts = encode(read(sys.argv[1]), sys.argv[2])
    torch.set_num_threads(1)
    network = by_hand.network_for(rows, counts)
    by_hand.epoch(1, network, by_hand.optimizer_for(network), rows, rows, BATCH)
