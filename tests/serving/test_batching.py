"""Triton's dynamic batching on this backend: joined runs, each request's own rows back, each its own error."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tests.serving.clients import Client, InferenceServerException, Protocol
from tests.serving.tapped import wait_for
from tests.serving.triton import Triton
from tests.serving.zoo import model

DELAY = "max_batch_size: 16 dynamic_batching { max_queue_delay_microseconds: 100000 }"


def ready(triton: Triton, name: str, text: str, config: str = DELAY) -> None:
    """Adds and loads a model that gathers requests for 100 ms."""
    triton.add(name, model(text), config=config)
    triton.load(name)


def at_once(triton: Triton, protocol: Protocol, name: str, requests: list[dict[str, Any]]) -> list[Any]:
    """Sends all requests at the same time, a connection each; gives answers or exceptions."""

    def send(feeds: dict[str, Any]) -> Any:
        with Client(triton, protocol) as client:
            try:
                return client.infer(name, feeds)
            except InferenceServerException as error:
                return error

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(send, requests))


def runs(triton: Triton, name: str, *, requests: int) -> tuple[int, int, int, int]:
    """Rows, runs, successes and failures by Triton's statistics, once it has counted so many requests.

    A request is counted after its answer was sent.
    """
    counted: tuple[int, int, int, int] = (0, 0, 0, 0)

    def complete() -> bool:
        nonlocal counted
        stats = triton.call("GET", f"v2/models/{name}/stats")["model_stats"][0]
        outcomes = stats["inference_stats"]
        success, failed = outcomes["success"]["count"], outcomes["fail"]["count"]
        counted = (stats["inference_count"], stats["execution_count"], success, failed)
        return success + failed >= requests

    wait_for(f"{requests} requests of {name} are counted", complete)
    return counted


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_joined_requests_get_their_own_rows(triton: Triton, protocol: Protocol) -> None:
    name = f"batched-{protocol}"
    text = (
        "g (float[N,3] x, string[N,1] s) => (float[N,6] y, string[N,1] t)"
        " { y = Concat <axis = 1> (x, x)\n t = StringConcat (s, s) }"
    )
    ready(triton, name, text)
    rng = np.random.default_rng(1)
    requests = []
    for number in range(12):
        rows = number % 3 + 1
        text_rows = np.array([[f"{number}/{row}" * (row + 1)] for row in range(rows)], dtype=object)
        requests.append(
            {"x": rng.normal(size=(rows, 3)).astype(np.float32), "s": np.vectorize(str.encode, [object])(text_rows)}
        )
    answers = at_once(triton, protocol, name, requests)
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], np.concatenate([request["x"], request["x"]], axis=1))
        np.testing.assert_array_equal(answer["t"], request["s"] + request["s"])
    rows, executions, success, failed = runs(triton, name, requests=12)
    assert (rows, success, failed) == (24, 12, 0)
    assert executions < 12


def test_a_bad_request_does_not_fail_its_batch(triton: Triton) -> None:
    """The whole batch fails in ONNX Runtime; run again one by one, only the guilty ones get the error."""
    ready(triton, "one-bad", "g (int64[N,1] i) => (float[N,1] y) <float[4] t = {0, 10, 20, 30}> { y = Gather (t, i) }")
    indices = [0, 1, 99, 2, 3, -99, 1, 0]
    answers = at_once(triton, "grpc", "one-bad", [{"i": np.array([[i]], dtype=np.int64)} for i in indices])
    for index, answer in zip(indices, answers, strict=True):
        if abs(index) == 99:
            assert isinstance(answer, InferenceServerException)
            assert "model 'one-bad' version 1" in str(answer)
        else:
            np.testing.assert_array_equal(answer["y"], [[10.0 * index]])
    assert runs(triton, "one-bad", requests=8)[2:] == (6, 2)


def test_requests_of_different_shapes_run_side_by_side(triton: Triton) -> None:
    ready(triton, "shapes", "g (float[N,A] x) => (float[N,A] y) { y = Neg (x) }")
    requests = [{"x": np.full((1, 2 + number % 3), number, dtype=np.float32)} for number in range(9)]
    for request, answer in zip(requests, at_once(triton, "grpc", "shapes", requests), strict=True):
        np.testing.assert_array_equal(answer["y"], -request["x"])


def test_a_shape_that_the_graph_forbids_fails_alone(triton: Triton) -> None:
    config = f"""
        {DELAY}
        input {{ name: "x" data_type: TYPE_FP32 dims: [-1] }}
        output {{ name: "y" data_type: TYPE_FP32 dims: [3] }}
    """
    ready(triton, "misfit", "g (float[N,3] x) => (float[N,3] y) { y = Neg (x) }", config)
    requests = [{"x": np.ones((1, width), dtype=np.float32)} for width in (3, 2, 3, 4, 3)]
    answers = at_once(triton, "grpc", "misfit", requests)
    assert [isinstance(answer, InferenceServerException) for answer in answers] == [False, True, False, True, False]


def test_an_output_without_a_row_for_each_request_is_refused(triton: Triton) -> None:
    ready(triton, "not-rows", "g (int64[N,1] x) => (int64[N] y) { y = Unique (x) }")
    (answer,) = at_once(triton, "http", "not-rows", [{"x": np.array([[4], [4]], dtype=np.int64)}])
    assert "output 'y': its shape is [1]" in str(answer)
    assert "max_batch_size" in str(answer)


def test_instances_share_a_model_and_run_at_once(triton: Triton) -> None:
    ready(
        triton,
        "instances",
        "g (float[N,3] x) => (float[N,3] y) { y = Neg (x) }",
        "instance_group { count: 3 kind: KIND_CPU }",
    )
    config = triton.call("GET", "v2/models/instances/config")
    assert config["instance_group"][0]["count"] == 3
    requests = [{"x": np.full((1, 3), number, dtype=np.float32)} for number in range(16)]
    for request, answer in zip(requests, at_once(triton, "http", "instances", requests), strict=True):
        np.testing.assert_array_equal(answer["y"], -request["x"])


def test_statistics_have_times(triton: Triton) -> None:
    ready(triton, "timed", "g (float[N,3] x) => (float[N,3] y) { y = Neg (x) }", "max_batch_size: 4")
    at_once(triton, "http", "timed", [{"x": np.ones((2, 3), dtype=np.float32)}])

    def stats() -> dict[str, Any]:
        found: dict[str, Any] = triton.call("GET", "v2/models/timed/stats")["model_stats"][0]
        return found

    wait_for("a batch is counted, just after it is answered", lambda: bool(stats()["batch_stats"]))
    found = stats()
    assert found["batch_stats"][0]["batch_size"] == 2
    for phase in ("queue", "compute_input", "compute_infer", "compute_output"):
        assert found["inference_stats"][phase]["count"] == 1
    assert found["inference_stats"]["compute_infer"]["ns"] > 0
    assert sum(found["inference_stats"][p]["ns"] for p in ("compute_input", "compute_infer")) < 10**10
