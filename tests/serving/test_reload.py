"""Models come and go under traffic: no request fails, and the memory of what is gone is given back."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.serving.clients import Client, Protocol
from tests.serving.tapped import wait_for
from tests.serving.triton import Triton
from tests.serving.zoo import model

SCALE = "g (float[N,3] x) => (float[N,3] y) <float[1] f = {{{0}}}> {{ y = Mul (x, f) }}"
LATEST = "version_policy { latest { num_versions: 1 } }"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_new_version_takes_over_without_an_error(triton: Triton, protocol: Protocol) -> None:
    name = f"hot-{protocol}"
    triton.add(name, model(SCALE.format(1)), config=LATEST)
    triton.load(name)
    seen: list[float] = []
    errors: list[BaseException] = []
    stop = threading.Event()

    def traffic() -> None:
        x = np.ones((1, 3), dtype=np.float32)
        with Client(triton, protocol) as client:
            while not stop.is_set():
                try:
                    seen.append(float(client.infer(name, {"x": x})["y"][0, 0]))
                except BaseException as error:
                    errors.append(error)

    threads = [threading.Thread(target=traffic) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for version in (2, 3, 4):
            count = len(seen)
            wait_for("traffic on the old version", lambda count=count: len(seen) > count + 30 or bool(errors))
            triton.add(name, model(SCALE.format(version)), version=version)
            triton.load(name)
            wait_for("traffic on the new version", lambda version=version: bool(seen) and seen[-1] == version)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert set(seen) == {1.0, 2.0, 3.0, 4.0}


def test_several_versions_are_served_side_by_side(triton: Triton) -> None:
    for version in (1, 2):
        triton.add("both", model(SCALE.format(10 * version)), version=version, config="version_policy { all {} }")
    triton.load("both")
    x = np.ones((1, 3), dtype=np.float32)
    with Client(triton, "http") as client:
        assert [float(client.infer("both", {"x": x}, version=v)["y"][0, 0]) for v in ("1", "2")] == [10, 20]


def _heavy(seed: int) -> bytes:
    weights = np.random.default_rng(seed).normal(size=(1024, 1024)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1024])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1024])
    held = helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)
    graph = helper.make_graph([node], "g", [x], [y], [held])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    )


def test_unloading_gives_memory_back(library: Path) -> None:
    megabyte = 1 << 20
    with Triton(library) as server:
        server.add("small", model(SCALE.format(1)))
        server.load("small")
        empty = server.rss()
        names = [f"heavy-{number}" for number in range(20)]
        for number, name in enumerate(names):
            server.add(name, _heavy(number))
            server.load(name)
        full = server.rss()
        assert full - empty > 20 * 4 * megabyte
        for name in names:
            server.unload(name)
        wait_for(
            f"memory given back (empty {empty >> 20} MiB, full {full >> 20} MiB)",
            lambda: server.rss() - empty < 0.25 * (full - empty),
        )


def test_loading_again_and_again_does_not_grow(library: Path) -> None:
    with Triton(library) as server:
        server.add("again", _heavy(1))
        sizes = []
        for round_number in range(60):
            server.load("again")
            server.unload("again")
            if round_number in (19, 59):
                wait_for("a trim", lambda: server.rss() < 400 << 20)
                sizes.append(server.rss())
        assert sizes[1] - sizes[0] < 24 << 20, sizes
