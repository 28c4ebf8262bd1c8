"""The small model of the end-to-end tests: its rows, manifests, and requests to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import tritonclient.grpc as grpc
import tritonclient.http as http
from tests.e2e.stand import forwarded, resource, source

ROWS = 600
FEATURES = ("width", "height", "colour")
COLOURS = ("red", "green", "blue")
SMALL = {"cpu": "50m", "memory": "512Mi"}
POOL, POD = "pool", "pool-pool-0"


def rows(count: int = ROWS, *, seed: int = 1, shift: float = 0.0) -> pa.Table:
    """Two numbers, a text and what follows from them with a little noise; `shift` moves `width` away from where it was."""
    random = np.random.default_rng(seed)
    width, height, colour = random.normal(shift, 1, count), random.uniform(-1, 1, count), random.integers(0, 3, count)
    target = 3 * width - 2 * height + colour + random.normal(0, 0.1, count)
    return pa.table({"width": width, "height": height, "colour": [COLOURS[c] for c in colour], "target": target})


def dataset(name: str, key: str, **spec: Any) -> dict[str, Any]:
    """A Dataset of one object of the store."""
    return resource("Dataset", name, **{"inputs": source(key), "profile": {"html": False}, "resources": SMALL, **spec})


def trained(name: str, *, of: str, model: dict[str, Any], trainer: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A TrainingRun of a small network."""
    values = {"target": "target", "hiddenLayers": [8], "epochs": 3, "batchSize": 64, "seed": 1, **trainer}
    small = {"cpu": "50m", "memory": "1Gi"}
    spec = {
        "dataset": {"name": of},
        "model": model,
        "trainer": {"tabularRegression": values},
        "resources": small,
    } | spec
    return resource("TrainingRun", name, **spec)


def pool() -> dict[str, Any]:
    """One server."""
    return resource("ServingPool", POOL, replicas=1, resources={"cpu": "50m", "memory": "1Gi"}, tap={"flushSeconds": 1})


def inputs(table: pa.Table) -> dict[str, np.ndarray]:
    """The model's inputs, each of shape [rows, 1]."""
    return {
        name: np.array(table[name].to_pylist(), dtype=np.object_ if name == "colour" else np.float32)[:, None]
        for name in FEATURES
    }


def in_process(model: bytes, table: pa.Table) -> np.ndarray:
    """What onnxruntime predicts in this process."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["prediction"], inputs(table))[0]).reshape(-1)


class Client:
    """The served models over HTTP and gRPC."""

    def __init__(self, http_address: str, grpc_address: str) -> None:
        self._http = http.InferenceServerClient(http_address)
        self._grpc = grpc.InferenceServerClient(grpc_address)

    def over_http(self, model: str, table: pa.Table, *, request_id: str = "") -> tuple[np.ndarray, str]:
        """Predictions, and the version that made them."""
        result = self._http.infer(model, _tensors(http, table), request_id=request_id)
        return result.as_numpy("prediction").reshape(-1), str(result.get_response()["model_version"])

    def over_grpc(self, model: str, table: pa.Table, *, request_id: str = "") -> tuple[np.ndarray, str]:
        """Predictions, and the version that made them."""
        result = self._grpc.infer(model, _tensors(grpc, table), request_id=request_id)
        return result.as_numpy("prediction").reshape(-1), str(result.get_response().model_version)

    def close(self) -> None:
        """End the connections."""
        self._http.close()
        self._grpc.close()


@contextmanager
def client() -> Iterator[Client]:
    """A client of the pool's server. (`kubectl port-forward` wants a selector, which a Deployment's Service has not.)"""
    with forwarded(f"pod/{POD}", 8000, 8001) as (over_http, over_grpc):
        connected = Client(over_http, over_grpc)
        try:
            yield connected
        finally:
            connected.close()


def _tensors(module: Any, table: pa.Table) -> list[Any]:
    tensors = []
    for name, values in inputs(table).items():
        tensor = module.InferInput(name, list(values.shape), "BYTES" if name == "colour" else "FP32")
        tensor.set_data_from_numpy(values)
        tensors.append(tensor)
    return tensors
