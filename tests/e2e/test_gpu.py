"""A training run that asks for a GPU, on a node that says it has some: real scheduling, by the extended resource."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e import story
from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.stand import Stand, apply, awaited, condition, listed, put_table, ready, resource

from tidemill.contract.names import LABEL_RUN

pytestmark = pytest.mark.e2e

GPU = "nvidia.com/gpu"


@pytest.fixture(scope="module")
def node(tidemill: Stand) -> Iterator[str]:
    """A node whose status offers two devices. No device plugin: what is shown is the scheduling."""
    del tidemill
    name = str(json.loads(kubectl("get", "nodes", "-o", "json"))["items"][0]["metadata"]["name"])
    if _allocatable(name):
        pytest.skip(f"node {name} has {GPU} of its own")
    _patch(name, {"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "2"})
    try:
        eventually("the node to offer its devices", lambda: _allocatable(name) == "2", seconds=120)
        yield name
    finally:
        _patch(name, {"op": "remove", "path": "/status/capacity/nvidia.com~1gpu"})


def test_a_run_with_a_gpu_is_scheduled(tidemill: Stand, node: str) -> None:
    """The training pod asks for one device, is bound to the node that has them, runs, and trains the model."""
    with tidemill.s3() as s3:
        put_table(s3, "device.parquet", story.rows())
    gpu = {"cpu": "50m", "memory": "1Gi", "gpu": {"count": 1, "resourceName": GPU}}
    apply(
        story.dataset("device", "device.parquet"),
        story.trained("device", of="device", model={"name": "device"}, trainer={}, resources=gpu),
        # more than one device is for containers only
        resource(
            "TrainingRun",
            "devices",
            dataset={"name": "device"},
            model={"name": "device"},
            trainer={"container": {"image": "localhost/never-pulled:1", "target": "target"}},
            resources={**gpu, "gpu": {"count": 3, "resourceName": GPU}},
        ),
    )

    def bound() -> dict[str, Any] | None:
        pods = listed("pods", f"{LABEL_RUN}=device")
        return next((pod for pod in pods if _limit(pod) == "1" and pod["spec"].get("nodeName")), None)

    pod = eventually("a pod with a device that is bound", bound, seconds=600)
    assert pod["spec"]["nodeName"] == node
    assert ready("tmrun", "device")["status"]["metrics"]["test"]["mae"] > 0
    three = awaited(
        "tmrun", "devices", lambda o: condition(o, "Ready").get("reason") == "Unschedulable", "Unschedulable"
    )
    assert GPU in condition(three, "Ready")["message"]


def _limit(pod: dict[str, Any]) -> str | None:
    limits: dict[str, str] = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
    return limits.get(GPU)


def _allocatable(name: str) -> str:
    return kubectl("get", "node", name, "-o", r"jsonpath={.status.allocatable.nvidia\.com/gpu}")


def _patch(node: str, *operations: dict[str, Any]) -> None:
    kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(operations))
