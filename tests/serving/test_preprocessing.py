"""A model with every transform of `preprocessing` answers in Triton as in this process: raw columns, text inside the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.serving.clients import Client, Protocol
from tests.serving.triton import Triton
from tests.worker.feature_cases import ALL, CASES, build, table, unseen


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("name", ["all", "embed-characters", "one-hot-other", "hash-filled"])
def test_features_are_those_of_onnx_runtime_and_numpy(
    triton: Triton, name: str, protocol: Protocol, tmp_path: Path
) -> None:
    built = build(ALL if name == "all" else CASES[name], table(2000), tmp_path)
    served = f"preprocessing-{name}-{protocol}"
    config = 'backend: "onnxruntime"\nmax_batch_size: 1024\n'
    triton.add(served, built.proto.SerializeToString(), config=config)
    triton.load(served)
    rows = unseen(500)
    feeds = {
        column: np.array([text.encode() for text in values.ravel()], object).reshape(-1, 1)
        if values.dtype == object
        else values
        for column, values in built.predictor.feed(rows).items()
    }
    with Client(triton, protocol) as client:
        found = client.infer(served, feeds)["features"]
        np.testing.assert_array_equal(found, built.predictor.run(rows)["features"])
        np.testing.assert_allclose(found, built.plan.encode(rows), rtol=1e-5, atol=1e-5)
        single = client.infer(served, {column: values[:1] for column, values in feeds.items()})["features"]
        np.testing.assert_allclose(single, found[:1], rtol=1e-6, atol=1e-6)
    triton.unload(served)
