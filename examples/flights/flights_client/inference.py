"""Open Inference Protocol clients: single rows over HTTP and gRPC in turn, and whole tables over gRPC."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import tritonclient.grpc.aio as grpc
import tritonclient.http.aio as http
from tritonclient.utils import InferenceServerException

from flights_client.month import TARGET

TEXT = ("carrier", "origin")
OUTPUT = "prediction"


@dataclass
class Answers:
    """Predictions in row order (NaN: no answer), seconds by request, versions that answered, and errors."""

    predictions: np.ndarray
    seconds: list[float] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def arrays(table: pa.Table) -> dict[str, np.ndarray]:
    """The model's inputs by name, each of shape [rows, 1]: float32, or bytes for text; missing is NaN or empty."""
    out: dict[str, np.ndarray] = {}
    for name in table.column_names:
        if name == TARGET:
            continue
        column = table[name]
        if name in TEXT:
            out[name] = np.array([(v or "").encode() for v in column.to_pylist()], dtype=np.object_)[:, None]
        else:
            out[name] = np.array([np.nan if v is None else float(v) for v in column.to_pylist()], dtype=np.float32)[
                :, None
            ]
    return out


def _inputs(module: Any, columns: dict[str, np.ndarray]) -> list[Any]:
    tensors = []
    for name, values in columns.items():
        tensor = module.InferInput(name, list(values.shape), "BYTES" if name in TEXT else "FP32")
        tensor.set_data_from_numpy(values)
        tensors.append(tensor)
    return tensors


async def single_rows(host: str, model: str, table: pa.Table, ids: list[str], *, workers: int = 8) -> Answers:
    """Each row as a request of its own, with its id: even rows over HTTP, odd rows over gRPC."""
    columns = arrays(table)
    answers = Answers(np.full(table.num_rows, np.nan))
    async with (
        http.InferenceServerClient(f"{host}:8000", conn_limit=workers) as over_http,
        grpc.InferenceServerClient(f"{host}:8001") as over_grpc,
    ):
        rows = iter(range(table.num_rows))

        async def work() -> None:
            for row in rows:
                client, module = ((over_http, http), (over_grpc, grpc))[row % 2]
                one = {name: values[row : row + 1] for name, values in columns.items()}
                begin = time.perf_counter()
                try:
                    result = await client.infer(model, _inputs(module, one), request_id=ids[row])
                except InferenceServerException as error:
                    answers.errors.append(str(error))
                    continue
                answers.seconds.append(time.perf_counter() - begin)
                answers.predictions[row] = result.as_numpy(OUTPUT).reshape(-1)[0]
                version = _version(result)
                answers.versions[version] = answers.versions.get(version, 0) + 1

        await asyncio.gather(*(work() for _ in range(workers)))
    return answers


async def whole_table(host: str, model: str, table: pa.Table) -> Answers:
    """All rows as one request over gRPC. Raises InferenceServerException when the model does not answer."""
    async with grpc.InferenceServerClient(f"{host}:8001") as client:
        result = await client.infer(model, _inputs(grpc, arrays(table)))
        return Answers(result.as_numpy(OUTPUT).reshape(-1).astype(float), versions={_version(result): table.num_rows})


def _version(result: Any) -> str:
    response = result.get_response()
    return str(response["model_version"] if isinstance(response, dict) else response.model_version)
