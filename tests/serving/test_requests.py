"""What one request may carry: types that numpy lacks, optional inputs, some of the outputs; and what it gets wrong."""

from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.serving.clients import Client, InferenceServerException, Protocol
from tests.serving.triton import Triton, TritonError
from tests.serving.zoo import floats, model, strings

BOTH: tuple[Protocol, ...] = ("http", "grpc")


def ready(triton: Triton, name: str, text: str, config: str | None = None) -> str:
    """Adds and loads a model."""
    triton.add(name, model(text), config=config)
    triton.load(name)
    return name


def tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    """One input in JSON."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


@pytest.mark.parametrize("protocol", BOTH)
def test_bf16(triton: Triton, protocol: Protocol) -> None:
    text = (
        "g (bfloat16[N,4] x) => (bfloat16[N,4] y, bfloat16[N,4] z)"
        " { f = Cast <to = 1> (x)\n s = Add (f, f)\n y = Cast <to = 16> (s)\n z = Identity (x) }"
    )
    name = ready(triton, f"bf16-{protocol}", text)
    sent = np.array([[1.0, -2.5, 0.15625, 3e30]], dtype=ml_dtypes.bfloat16)
    with Client(triton, protocol) as client:
        found = client.infer(name, {"x": sent})
    np.testing.assert_array_equal(found["z"], sent)
    np.testing.assert_array_equal(found["y"], sent + sent)


def test_json_answers_carry_every_json_type(triton: Triton) -> None:
    text = (
        "g (string[N,1] s, bool[N,1] b, int64[N,1] i, double[N,1] d)"
        " => (string[N,1] s2, bool[N,1] b2, int64[N,1] i2, double[N,1] d2)"
        " { s2 = Identity (s)\n b2 = Not (b)\n i2 = Neg (i)\n d2 = Neg (d) }"
    )
    name = ready(triton, "json-types", text)
    inputs = [
        tensor("s", "BYTES", [2, 1], ["ä", ""]),
        tensor("b", "BOOL", [2, 1], [True, False]),
        tensor("i", "INT64", [2, 1], [2**53 + 1, -5]),
        tensor("d", "FP64", [2, 1], [1e-300, 0.1]),
    ]
    answer = triton.call("POST", f"v2/models/{name}/infer", {"id": "r-1", "inputs": inputs})
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    assert answer["id"] == "r-1"
    assert found == {"s2": ["ä", ""], "b2": [False, True], "i2": [-(2**53) - 1, 5], "d2": [-1e-300, -0.1]}


@pytest.mark.parametrize("protocol", BOTH)
def test_only_the_wanted_outputs_are_sent(triton: Triton, protocol: Protocol) -> None:
    text = "g (float[N,2] x) => (float[N,2] a, float[N,2] b, float[N,2] c) { a = Neg (x)\n b = Relu (x)\n c = Exp (x) }"
    name = ready(triton, f"wanted-{protocol}", text)
    with Client(triton, protocol) as client:
        found = client.infer(name, {"x": floats(2, 2)}, ["c", "a"])
    assert sorted(found) == ["a", "c"]
    np.testing.assert_array_equal(found["a"], -floats(2, 2))
    np.testing.assert_allclose(found["c"], np.exp(floats(2, 2)), rtol=1e-6)


@pytest.mark.parametrize("protocol", BOTH)
def test_an_initializer_may_be_overridden(triton: Triton, protocol: Protocol) -> None:
    text = "g (float[A,2] x, float[2] w = {1, 2}) => (float[A,2] y) { y = Mul (x, w) }"
    config = """
        input [{ name: "x" data_type: TYPE_FP32 dims: [-1, 2] },
               { name: "w" data_type: TYPE_FP32 dims: [2] optional: true }]
        output { name: "y" data_type: TYPE_FP32 dims: [-1, 2] }
    """
    name = ready(triton, f"override-{protocol}", text, config)
    x = floats(3, 2)
    with Client(triton, protocol) as client:
        np.testing.assert_array_equal(client.infer(name, {"x": x})["y"], x * np.array([1, 2], dtype=np.float32))
        w = np.array([-1, 0.5], dtype=np.float32)
        np.testing.assert_array_equal(client.infer(name, {"x": x, "w": w})["y"], x * w)


def test_an_input_of_an_optional_type_takes_a_tensor(triton: Triton) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["A"])
    inner = helper.make_tensor_type_proto(TensorProto.FLOAT, ["A"])
    o = helper.make_value_info("o", helper.make_optional_type_proto(inner))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["A"])
    nodes = [helper.make_node("OptionalGetElement", ["o"], ["v"]), helper.make_node("Add", ["x", "v"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x, o], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    config = """
        input [{ name: "x" data_type: TYPE_FP32 dims: [-1] },
               { name: "o" data_type: TYPE_FP32 dims: [-1] optional: true }]
        output { name: "y" data_type: TYPE_FP32 dims: [-1] }
    """
    triton.add("optional", made.SerializeToString(), config=config)
    triton.load("optional")
    with Client(triton, "grpc") as client:
        np.testing.assert_array_equal(client.infer("optional", {"x": floats(2), "o": floats(2)})["y"], 2 * floats(2))


WRONG = [
    ("too many columns", tensor("x", "FP32", [1, 4], [1, 2, 3, 4]), "x"),
    ("wrong rank", tensor("x", "FP32", [3], [1, 2, 3]), "x"),
    ("wrong type", tensor("x", "INT64", [1, 3], [1, 2, 3]), "x"),
    ("unknown input", tensor("z", "FP32", [1, 3], [1, 2, 3]), "z"),
    ("too few values", tensor("x", "FP32", [1, 3], [1, 2]), "x"),
    ("over the batch size", tensor("x", "FP32", [9, 3], [0] * 27), "batch"),
]


@pytest.mark.parametrize(("what", "sent", "named"), WRONG, ids=[case[0] for case in WRONG])
def test_a_wrong_request_names_its_input(triton: Triton, what: str, sent: dict[str, Any], named: str) -> None:
    name = ready(triton, f"wrong-{what.replace(' ', '-')}", "g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }")
    with pytest.raises(TritonError) as caught:
        triton.call("POST", f"v2/models/{name}/infer", {"inputs": [sent]})
    assert caught.value.status in (400, 500)  # Triton itself answers 500 to JSON with too few values.
    assert named in caught.value.text or what == "too few values"
    right = triton.call("POST", f"v2/models/{name}/infer", {"inputs": [tensor("x", "FP32", [1, 3], [1, -2, 3])]})
    assert right["outputs"][0]["data"] == [1, 0, 3]


def test_a_missing_input_is_named(triton: Triton) -> None:
    """By Triton when it is required, by the backend when the configuration wrongly calls it optional."""
    text = "g (float[A,2] a, float[A,2] b) => (float[A,2] y) { y = Add (a, b) }"
    config = """
        input [{ name: "a" data_type: TYPE_FP32 dims: [-1, 2] },
               { name: "b" data_type: TYPE_FP32 dims: [-1, 2] optional: true }]
        output { name: "y" data_type: TYPE_FP32 dims: [-1, 2] }
    """
    for name, settings in (("missing-required", None), ("missing-optional", config)):
        ready(triton, name, text, settings)
        with pytest.raises(TritonError) as caught:
            triton.call("POST", f"v2/models/{name}/infer", {"inputs": [tensor("a", "FP32", [1, 2], [1, 2])]})
        assert caught.value.status == 400
        assert name in caught.value.text
    assert "input 'b' is missing" in caught.value.text


def test_a_shape_that_only_the_graph_forbids_is_refused_before_the_run(triton: Triton) -> None:
    config = """
        input { name: "x" data_type: TYPE_FP32 dims: [-1, -1] }
        output { name: "y" data_type: TYPE_FP32 dims: [-1, 3] }
    """
    ready(triton, "graph-shape", "g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }", config)
    with pytest.raises(TritonError) as caught:
        triton.call("POST", "v2/models/graph-shape/infer", {"inputs": [tensor("x", "FP32", [1, 2], [1, 2])]})
    assert (caught.value.status, "[1, 2]" in caught.value.text, "[-1, 3]" in caught.value.text) == (400, True, True)


def test_an_error_of_the_run_is_an_answer(triton: Triton) -> None:
    ready(triton, "gather", "g (int64[N,1] i) => (float[N,1] y) <float[3] t = {1, 2, 3}> { y = Gather (t, i) }")
    with pytest.raises(TritonError, match=r"model 'gather' version 1: .*Gather"):
        triton.call("POST", "v2/models/gather/infer", {"inputs": [tensor("i", "INT64", [1, 1], [3])]})
    answer = triton.call("POST", "v2/models/gather/infer", {"inputs": [tensor("i", "INT64", [1, 1], [2])]})
    assert answer["outputs"][0]["data"] == [3]


def test_strings_with_every_byte(triton: Triton) -> None:
    ready(triton, "bytes", "g (string[N,2] x) => (string[N,2] y) { y = Identity (x) }")
    every = bytes(range(256))
    sent = np.array([[every, b"\0"], [b"", every * 3]], dtype=object)
    for protocol in BOTH:
        with Client(triton, protocol) as client:
            np.testing.assert_array_equal(client.infer("bytes", {"x": sent})["y"], sent)


def test_a_binary_body_that_lies_about_its_strings(triton: Triton) -> None:
    """A length that runs past the end must not be read."""
    ready(triton, "lying", "g (string[N,1] x) => (string[N,1] y) { y = Identity (x) }")
    with Client(triton, "http") as client:
        item = client.kind.InferInput("x", [1, 1], "BYTES")
        item.set_data_from_numpy(strings("abc", shape=(1, 1)))
        item._raw_data = b"\xff\xff\x00\x00abc"
        item._parameters["binary_data_size"] = len(item._raw_data)
        with pytest.raises(InferenceServerException, match="x"):
            client.client.infer("lying", [item])
    assert triton.alive()


def test_the_index_shows_what_was_loaded(triton: Triton) -> None:
    ready(triton, "indexed", "g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }")
    assert json.dumps({"name": "indexed", "version": "1", "state": "READY"}) in json.dumps(triton.index())
