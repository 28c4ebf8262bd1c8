"""Clients of the Open Inference Protocol: NVIDIA's own, over HTTP and gRPC, with one call for both."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tests.serving.triton import Triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

Array = npt.NDArray[Any]
Protocol = Literal["http", "grpc"]
__all__ = ["Client", "InferenceServerException", "Protocol"]


class Client:
    """One connection to a server."""

    def __init__(self, server: Triton, protocol: Protocol) -> None:
        self.kind: Any = grpc_client if protocol == "grpc" else http_client
        port = server.grpc if protocol == "grpc" else server.http
        options = {} if protocol == "grpc" else {"network_timeout": 60.0, "connection_timeout": 60.0}
        self.client = self.kind.InferenceServerClient(f"127.0.0.1:{port}", **options)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def infer(
        self,
        model: str,
        feeds: dict[str, Array],
        outputs: list[str] | None = None,
        *,
        request_id: str = "",
        version: str = "",
    ) -> dict[str, Array]:
        """One request; scalars are sent with the shape [1]."""
        inputs = []
        for name, array in feeds.items():
            sent = np.asarray(array).reshape(1) if np.ndim(array) == 0 else array
            item = self.kind.InferInput(name, list(sent.shape), np_to_triton_dtype(sent.dtype))
            item.set_data_from_numpy(sent)
            inputs.append(item)
        wanted = None if outputs is None else [self.kind.InferRequestedOutput(name) for name in outputs]
        answer = self.client.infer(model, inputs, outputs=wanted, request_id=request_id, model_version=version)
        response = answer.get_response()
        described = response["outputs"] if isinstance(response, dict) else response.outputs
        names = [item["name"] if isinstance(item, dict) else item.name for item in described]
        return {name: answer.as_numpy(name) for name in names}
