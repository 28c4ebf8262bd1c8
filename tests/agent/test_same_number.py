"""A real server whose model is exchanged under the same version number: its counts are told apart by the artifact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.agent.conftest import Api
from tests.agent.models import onnx_model
from tests.agent.placing import eventually
from tests.agent.pod import Pod


@pytest.mark.slow
def test_two_artifacts_of_one_number_are_counted_apart(
    make_pod: Callable[..., Pod], double: Api, artifacts: Callable[..., Any]
) -> None:
    pod = make_pod(double)
    old, new, broken = (artifacts(model) for model in (onnx_model(1.0), onnx_model(2.0), b"no model"))
    name = pod.placing.create("again", version=3, samplingPercent=100, **old.spec())
    pod.placing.reached(name, "Loaded")
    eventually("the tap follows the control file", lambda: pod.tap_rate("again") == 1.0)

    def counted() -> list[float]:
        metric = "tidemill_sampled_requests_total"
        labels = [stored.digest.removeprefix("sha256:")[:12] for stored in (old, new)]
        return [sum(pod.samples(metric, deployment="again", version="3", digest=of).values()) for of in labels]

    def send(times: int) -> None:
        for number in range(times):
            pod.infer("again", [(1.0, 1, "AA")], request_id=f"r{number}")

    send(5)
    eventually("the first is counted", lambda: counted() == [5.0, 0.0])
    pod.placing.change(name, version=3, samplingPercent=100, **broken.spec())
    pod.placing.reached(name, "Failed")
    send(2)
    eventually("what answers on is counted on", lambda: counted() == [7.0, 0.0])
    pod.placing.change(name, version=3, samplingPercent=100, **new.spec())
    served = pod.placing.reached(name, "Loaded")["serving"]
    assert served["digest"] == new.digest
    send(3)
    eventually("the second is counted by itself", lambda: counted() == [7.0, 3.0])
