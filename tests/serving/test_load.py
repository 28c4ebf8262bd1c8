"""Loading: configuration from the graph, checks of a given one, files that are no models; the server goes on serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.serving.clients import Client
from tests.serving.triton import Triton, TritonError
from tests.serving.zoo import floats, model

RELU = "g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }"


def refused(triton: Triton, name: str) -> str:
    """The server's words when the model does not load; others are served before and after."""
    with pytest.raises(TritonError) as caught:
        triton.load(name)
    assert caught.value.status == 400
    triton.add("witness", model(RELU))
    triton.load("witness")
    with Client(triton, "http") as client:
        np.testing.assert_array_equal(client.infer("witness", {"x": -floats(1, 3)})["y"], np.maximum(-floats(1, 3), 0))
    assert triton.alive()
    return caught.value.text


def test_a_model_without_a_configuration_gets_nvidias(triton: Triton) -> None:
    triton.add(
        "plain",
        model(
            "g (float[N,3,S] x, string[N,1] s) => (int64[N,3] y, string[N,1] t)"
            " { y = ArgMax <axis = 2, keepdims = 0> (x)\n t = Identity (s) }"
        ),
    )
    triton.load("plain")
    config = triton.call("GET", "v2/models/plain/config")
    assert (config["backend"], config["platform"], config["max_batch_size"]) == ("onnxruntime", "onnxruntime_onnx", 4)
    described = {io["name"]: (io["data_type"], io["dims"]) for io in config["input"] + config["output"]}
    assert described == {
        "x": ("TYPE_FP32", [3, -1]),
        "s": ("TYPE_STRING", [1]),
        "y": ("TYPE_INT64", [3]),
        "t": ("TYPE_STRING", [1]),
    }
    assert "dynamic_batching" in config
    assert config["instance_group"][0]["count"] == 1


@pytest.mark.parametrize(
    ("name", "text", "dims"),
    [
        ("fixed-first", "g (float[2,3] x) => (float[2,3] y) { y = Relu (x) }", [2, 3]),
        ("scalar", "g (float x) => (float y) { y = Relu (x) }", [1]),
        ("other-names", "g (float[A] x) => (float[B] y) { y = Unique (x) }", [-1]),
    ],
)
def test_a_model_that_cannot_batch_is_not_batched(triton: Triton, name: str, text: str, dims: list[int]) -> None:
    triton.add(name, model(text))
    triton.load(name)
    config = triton.call("GET", f"v2/models/{name}/config")
    assert config["max_batch_size"] == 0
    assert [io["dims"] for io in config["input"] + config["output"]] == [dims, dims]


def test_the_default_batch_size_is_a_setting_of_the_backend(library: Path) -> None:
    with Triton(library, arguments=["--backend-config=default-max-batch-size=32"]) as server:
        server.add("plain", model(RELU))
        server.load("plain")
        assert server.call("GET", "v2/models/plain/config")["max_batch_size"] == 32


def test_strict_configuration_and_the_library_beside_the_backend(library: Path) -> None:
    config = """
        backend: "onnxruntime"
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: [3] }
        output { name: "y" data_type: TYPE_FP32 dims: [3] }
    """
    with Triton(library, autocomplete=False, library_beside=True) as server:
        server.add("strict", model(RELU), config=config)
        server.load("strict")
        with Client(server, "grpc") as client:
            np.testing.assert_array_equal(
                client.infer("strict", {"x": np.ones((8, 3), np.float32)})["y"], np.ones((8, 3))
            )
        assert "libonnxruntime.so" in server.log


def test_parameters_and_another_file_name(triton: Triton) -> None:
    config = """
        default_model_filename: "net.onnx"
        optimization { graph { level: -1 } }
        parameters { key: "intra_op_thread_count" value { string_value: "2" } }
        parameters { key: "inter_op_thread_count" value { string_value: "2" } }
        parameters { key: "execution_mode" value { string_value: "1" } }
        parameters { key: "enable_mem_arena" value { string_value: "1" } }
        parameters { key: "enable_mem_pattern" value { string_value: "true" } }
        parameters { key: "session.set_denormal_as_zero" value { string_value: "1" } }
    """
    folder = triton.add("params", model(RELU), config=f'backend: "onnxruntime"\n{config}')
    (folder / "model.onnx").rename(folder / "net.onnx")
    triton.load("params")
    with Client(triton, "http") as client:
        np.testing.assert_array_equal(client.infer("params", {"x": np.ones((1, 3), np.float32)})["y"], np.ones((1, 3)))


IO = """
    input {{ name: "{0}" data_type: {1} dims: [{2}] }}
    output {{ name: "y" data_type: TYPE_FP32 dims: [{3}] }}
"""
MISFITS = [
    ("unknown-input", IO.format("z", "TYPE_FP32", "-1, 3", "-1, 3"), ["input 'z'", "which has: x"]),
    ("wrong-type", IO.format("x", "TYPE_INT64", "-1, 3", "-1, 3"), ["'x'", "TYPE_INT64", "TYPE_FP32"]),
    ("wrong-dims", IO.format("x", "TYPE_FP32", "-1, 4", "-1, 3"), ["'x'", "[-1, 4]", "[-1, 3]"]),
    ("wrong-output", IO.format("x", "TYPE_FP32", "-1, 3", "7"), ["output 'y'", "[7]"]),
    ("no-type", IO.format("x", "TYPE_FP32", "-1, 3", "-1, 3").replace("FP32", "INVALID", 1), ["x"]),
    (
        "ragged",
        'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [3] allow_ragged_batch: true }'
        ' output { name: "y" data_type: TYPE_FP32 dims: [3] }',
        ["'x'", "allow_ragged_batch"],
    ),
    ("mode", 'parameters { key: "execution_mode" value { string_value: "5" } }', ["execution_mode", "'5'"]),
    ("threads", 'parameters { key: "intra_op_thread_count" value { string_value: "x" } }', ["intra_op_thread_count"]),
    ("gpu", "instance_group { kind: KIND_GPU count: 1 }", ["GPU"]),
]


@pytest.mark.parametrize(("name", "config", "words"), MISFITS, ids=[case[0] for case in MISFITS])
def test_a_configuration_that_does_not_fit_is_refused(triton: Triton, name: str, config: str, words: list[str]) -> None:
    triton.add(f"misfit-{name}", model(RELU), config=config)
    text = refused(triton, f"misfit-{name}")
    assert f"misfit-{name}" in text
    assert [word for word in words if word not in text] == [], text


def test_an_input_that_the_configuration_forgets_is_named(triton: Triton) -> None:
    text = "g (float[A,2] a, float[A,2] b) => (float[A,2] y) { y = Add (a, b) }"
    triton.add("forgets", model(text), config=IO.format("a", "TYPE_FP32", "-1, 2", "-1, 2"))
    assert "needs the input 'b'" in refused(triton, "forgets")


def test_a_sequence_alone_cannot_be_served(triton: Triton) -> None:
    triton.add("sequence", model("g (float[N,2] x) => (seq(float[N,2]) z) { z = SequenceConstruct (x, x) }"))
    assert "output 'z' is not a tensor" in refused(triton, "sequence")


def _large() -> bytes:
    weights = np.random.default_rng(3).normal(size=(64, 64)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 64])
    graph = helper.make_graph(
        [node], "g", [x], [y], [helper.make_tensor("w", TensorProto.FLOAT, (64, 64), weights.tobytes(), raw=True)]
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    )


def _future() -> bytes:
    made = onnx.load_from_string(model(RELU))
    made.opset_import[0].version = 9999
    return bytes(made.SerializeToString())


FILES: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("text", b"<html>not found</html>"),
    ("random", np.random.default_rng(5).bytes(4096)),
    ("truncated-1", _large()[:-1]),
    ("truncated-half", _large()[: len(_large()) // 2]),
    ("unknown-operator", model(RELU).replace(b"Relu", b"Rolu")),
    ("future-opset", _future()),
]


@pytest.mark.parametrize(("name", "data"), FILES, ids=[case[0] for case in FILES])
def test_a_file_that_is_no_model_is_refused(triton: Triton, name: str, data: bytes) -> None:
    triton.add(f"file-{name}", data)
    text = refused(triton, f"file-{name}")
    assert f"model 'file-{name}' version 1" in text
    assert f"file-{name}/1/model.onnx" in text


def test_no_file_at_all(triton: Triton) -> None:
    (triton.add("nothing", b"", config='backend: "onnxruntime"') / "model.onnx").unlink()
    text = refused(triton, "nothing")
    assert "nothing/1/model.onnx" in text
    assert "does not exist" in text


def _external(folder: Path) -> Path:
    made = onnx.load_from_string(_large())
    path = folder / "model.onnx"
    onnx.save_model(made, str(path), save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    return path


def test_external_data(triton: Triton, tmp_path: Path) -> None:
    path = _external(tmp_path)
    folder = triton.add("external", path)
    assert "model.onnx" in refused(triton, "external")
    data = (tmp_path / "model.onnx.data").read_bytes()
    (folder / "model.onnx.data").write_bytes(data[:100])
    assert "external" in refused(triton, "external")
    (folder / "model.onnx.data").write_bytes(data)
    triton.load("external")
    x = floats(2, 64)
    expected: Any = x @ np.frombuffer(data, np.float32, 64 * 64).reshape(64, 64)
    with Client(triton, "grpc") as client:
        np.testing.assert_allclose(client.infer("external", {"x": x})["y"], expected, rtol=1e-4, atol=1e-5)


def test_a_missing_library_is_named(library: Path) -> None:
    with Triton(library, environment={"ORT_DYLIB_PATH": "/nonexistent/libonnxruntime.so"}) as server:
        server.add("plain", model(RELU))
        with pytest.raises(TritonError, match=r"/nonexistent/libonnxruntime\.so"):
            server.load("plain")
        assert server.alive()
