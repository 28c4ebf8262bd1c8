"""What a server pod says of itself: whether Triton answers, whether its agent is there, what is still loaded."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.api.v1alpha1.modelplacement import ModelPlacement
from tidemill.reconcile.servers import Loaded, server_pod

EARLY, MIDDLE, LATE = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"


def pod(*, ready: str, containers: str, triton: bool, started: str = EARLY, **meta: Any) -> dict[str, Any]:
    kinds = {"Ready": ready, "ContainersReady": containers}
    return {
        "metadata": {"name": "cpu-pool-0", "uid": "uid", **meta},
        "status": {
            "podIP": "10.0.0.1",
            "conditions": [{"type": t, "status": s, "lastTransitionTime": EARLY} for t, s in kinds.items()],
            "containerStatuses": [{"name": "triton", "ready": triton, "state": {"running": {"startedAt": started}}}],
        },
    }


@pytest.mark.parametrize(
    ("obj", "ready", "manned"),
    [
        (pod(ready="True", containers="True", triton=True), True, True),
        (pod(ready="False", containers="False", triton=True), True, False),
        (pod(ready="False", containers="False", triton=False), False, False),
        (pod(ready="False", containers="True", triton=True), False, False),
        (pod(ready="True", containers="True", triton=True, deletionTimestamp=LATE), False, False),
    ],
    ids=["whole", "without its agent", "Triton is down", "its node is lost", "being deleted"],
)
def test_triton_decides_whether_a_server_answers(obj: dict[str, Any], ready: bool, manned: bool) -> None:
    found = server_pod(obj)
    assert (found.ready, found.manned) == (ready, manned)


@pytest.mark.parametrize(("started", "held"), [(EARLY, True), (LATE, False)])
def test_what_was_loaded_before_triton_began_is_not_loaded(started: str, held: bool) -> None:
    placement = ModelPlacement.model_validate(
        {
            "metadata": {"name": "delays-stable-cpu-pool-0", "namespace": "ml", "uid": "p", "generation": 1},
            "spec": {
                "pool": "cpu",
                "pod": "cpu-pool-0",
                "deployment": "delays",
                "modelVersion": "delay-v1",
                "version": 1,
                "artifactUri": "s3://models/delay/1",
                "artifactDigest": f"sha256:{'a' * 64}",
            },
            "status": {
                "podUid": "uid",
                "state": "Loaded",
                "serving": {
                    "modelVersion": "delay-v1",
                    "version": 1,
                    "digest": f"sha256:{'a' * 64}",
                    "loadedAt": MIDDLE,
                },
            },
        }
    )
    server = server_pod(pod(ready="True", containers="True", triton=True, started=started))
    assert Loaded(placement=placement, pod=server).routable is held
    assert server.since == started
