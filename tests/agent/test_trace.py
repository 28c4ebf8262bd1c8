"""Sampling by Triton's own trace, on a server whose backend has no tap: the same counters and the same inference log."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.agent.conftest import Api
from tests.agent.models import EDGES, expected, onnx_model
from tests.agent.placing import eventually
from tests.agent.pod import Pod
from tests.agent.test_sampling import Row, counted, logged, logged_rows, send
from tests.worker.conftest import Seaweed

from tidemill.contract.names import TRACE_FILE


def rows(number: int) -> list[Row]:
    """Rows with texts that are no proper JSON once Triton has printed them."""
    draw = random.Random(7)
    carriers = ["AA", "DL", "UA", "ZZ", 'a "quoted", one', "two\nlines", "Ünï]}"]
    return [(draw.uniform(0, 1200), draw.choice([0, 6, 9, 13, 23]), draw.choice(carriers)) for _ in range(number)]


def trace(pod: Pod, model: str) -> dict[str, Any]:
    """The server's settings of a model."""
    found: dict[str, Any] = pod.triton.call("GET", f"v2/models/{model}/trace/setting")
    return found


def traced(pod: Pod, model: str, rate: int) -> None:
    """Waits until a model is traced so."""
    wanted = {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": str(rate)}
    eventually(f"{model} is traced at {rate}", lambda: wanted.items() <= trace(pod, model).items())


def files(pod: Pod) -> list[str]:
    """Files of the trace, taken over or not."""
    folder = (pod.tap / TRACE_FILE).parent
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def tracing(make_pod: Callable[..., Pod], api: Api) -> Pod:
    """A pod whose server only has its trace."""
    return make_pod(api, tap=False, trace=True)


def test_every_request_is_counted_and_logged_once(
    tracing: Pod, artifacts: Callable[..., Any], seaweed: Seaweed
) -> None:
    pod = tracing
    name = pod.placing.create("traced", version=5, samplingPercent=100, **artifacts(onnx_model(2.0)).spec())
    status = pod.placing.reached(name, "Loaded")
    assert [c["type"] for c in status["conditions"]] == ["Ready"]
    traced(pod, "traced", 1)
    sent = rows(300)
    send(pod, "traced", sent)
    pod.infer("traced", sent[:7], request_id="batch")
    everything = [*sent, *sent[:7]]
    eventually("all requests are counted", lambda: counted(pod, "traced") == len(sent) + 1)

    labels = {"deployment": "traced", "version": "5"}
    for feature, values in (
        ("distance", np.array([row[0] for row in everything])),
        ("prediction.delay", np.array([expected(2.0, *row) for row in everything])),
    ):
        bins = np.bincount(np.searchsorted(EDGES, values, side="right"), minlength=10)
        found = pod.samples("tidemill_feature_bin_total", feature=feature, **labels)
        assert [found[str(i)] for i in range(10)] == bins.tolist()
    carriers = [row[2] for row in everything]
    found = pod.samples("tidemill_feature_bin_total", feature="carrier", **labels)
    known = {c: carriers.count(c) for c in ("AA", "DL", "UA")}
    assert found == {**known, "_other_": len(carriers) - sum(known.values())}

    eventually("all rows are stored", lambda: logged_rows(seaweed, pod, "traced") == len(everything))
    eventually("the files are removed", lambda: files(pod) == [])
    table = pa.concat_tables([table for _, table in logged(seaweed, pod, "traced")])
    assert table.schema.field("distance").type == pa.float32()
    assert table.schema.field("hour").type == pa.int64()
    by_id = {row["_tidemill_request_id"]: row for row in table.to_pylist()}
    wanted = {**{f"r{i}": row for i, row in enumerate(sent)}, **{f"batch#{i}": row for i, row in enumerate(sent[:7])}}
    assert set(by_id) == set(wanted)
    for key, row in wanted.items():
        assert by_id[key]["distance"] == pytest.approx(row[0], rel=1e-5)
        assert (by_id[key]["hour"], by_id[key]["carrier"], by_id[key]["_tidemill_version"]) == (*row[1:], 5)
        assert by_id[key]["prediction.delay"] == pytest.approx(expected(2.0, *row), rel=1e-5)

    # A restarted agent counts from zero, and reads nothing for a second time.
    pod.terminate_agent()
    pod.start_agent()
    traced(pod, "traced", 1)
    send(pod, "traced", sent[:20], prefix="again")
    eventually("the new requests are stored", lambda: logged_rows(seaweed, pod, "traced") == len(everything) + 20)
    assert counted(pod, "traced") == 20
    assert sum(pod.samples("tidemill_dropped_samples_total", deployment="traced").values()) == 0


def test_the_rate_follows_the_placement(tracing: Pod, artifacts: Callable[..., Any]) -> None:
    pod = tracing
    name = pod.placing.create("tenth", version=1, samplingPercent=10, **artifacts(onnx_model(2.0)).spec())
    pod.placing.reached(name, "Loaded")
    traced(pod, "tenth", 10)
    send(pod, "tenth", rows(300))
    eventually("the samples are written out", lambda: counted(pod, "tenth") >= 20)
    eventually("the files are removed", lambda: files(pod) == [])
    # Each write out starts Triton's count anew, so some samples may be missing, never too many.
    assert 20 <= counted(pod, "tenth") <= 30
    pod.placing.change(name, samplingPercent=0)
    eventually("the trace is off", lambda: trace(pod, "tenth")["trace_level"] == ["OFF"])
    pod.placing.change(name, samplingPercent=50)
    traced(pod, "tenth", 2)
    pod.restart_triton()
    eventually("the model is loaded anew", lambda: pod.serves("tenth") == 1)
    traced(pod, "tenth", 2)


def test_a_server_without_a_trace_file_says_so(make_pod: Callable[..., Pod], api: Api, artifacts: Any) -> None:
    pod = make_pod(api, tap=False, trace=True, TIDEMILL_TAP_DIR=str(artifacts_folder(api)))
    name = pod.placing.create("nowhere", version=1, samplingPercent=10, **artifacts(onnx_model(2.0)).spec())

    def sampling() -> list[dict[str, Any]]:
        return [c for c in pod.placing.status(name).get("conditions", ()) if c["type"] == "Sampling"]

    (condition,) = eventually("the condition is there", sampling)
    assert (condition["status"], condition["reason"]) == ("False", "NotSupported")
    assert "--trace-config=triton,file=" in condition["message"]


def artifacts_folder(api: Api) -> Any:
    """Another folder than the one that the server was told."""
    other = api.kubeconfig.parent / "other-tap"
    other.mkdir(exist_ok=True)
    return other
