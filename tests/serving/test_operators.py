"""The answers equal those of onnxruntime in this process, for every operator and type of the zoo, over HTTP and gRPC."""

from __future__ import annotations

import numpy as np
import pytest
from tests.serving import zoo_math, zoo_networks, zoo_shapes, zoo_text
from tests.serving.clients import Client, Protocol
from tests.serving.triton import Triton
from tests.serving.zoo import Array, Case, output_names, reference

CASES: list[Case] = [*zoo_math.CASES, *zoo_shapes.CASES, *zoo_networks.CASES, *zoo_text.CASES]


def _flat(array: Array) -> list[bytes]:
    return [item if isinstance(item, bytes) else item.encode() for item in np.ravel(array).tolist()]


def _with_dims(array: Array, batching: bool) -> Array:
    """Triton has no empty `dims`: a scalar travels as [1], and a batch of scalars as [N, 1]."""
    array = np.asarray(array)
    return array.reshape(*array.shape, 1) if array.ndim == int(batching) else array


def assert_same(found: Array, expected: Array) -> None:
    """Type, shape and values."""
    assert found.shape == expected.shape
    if expected.dtype.kind in "OU":
        assert _flat(found) == _flat(expected)
        return
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answers_equal_onnxruntime(triton: Triton, case: Case) -> None:
    name = f"op-{case.name}"
    data = case.model()
    triton.add(name, data, config=case.config)
    triton.load(name)
    wanted = [output for output in output_names(data) if output not in case.skip_outputs]
    expected = reference(data, case.feeds, wanted)
    batching = triton.call("GET", f"v2/models/{name}/config")["max_batch_size"] > 0
    feeds = {key: _with_dims(array, batching) for key, array in case.feeds.items()}
    protocols: tuple[Protocol, ...] = ("http", "grpc")
    for protocol in protocols:
        with Client(triton, protocol) as client:
            found = client.infer(name, feeds)
        assert sorted(found) == sorted(wanted)
        for output in wanted:
            assert_same(found[output], _with_dims(expected[output], batching))
    triton.unload(name)


def test_the_zoo_is_large_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
