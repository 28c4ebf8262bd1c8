"""The API server goes away, comes back, and comes back with an older etcd."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.cluster import hack
from tests.faults.stage import Stage
from tests.glue.objects import get
from tests.property import manifests


def test_no_api_server_for_ten_seconds(stage: Stage) -> None:
    stage.start()
    stage.submit(wait=False)
    hack("cluster", "stop", "kube-apiserver", seconds=60)
    time.sleep(10)  # that is the fault
    hack("cluster", "start", "kube-apiserver", seconds=120)
    converged = stage.converge()
    stage.verify("API server away for 10 s under load", converged=converged)


@pytest.mark.parametrize("bump", [(), ("1000000000",)], ids=["versions-go-back", "versions-bumped"])
def test_etcd_is_restored_from_an_older_snapshot(
    stage: Stage, world: subprocess.Popen[bytes], tmp_path: Path, bump: tuple[str, ...]
) -> None:
    """What was made after the snapshot is gone, what was deleted is there again, what was changed is as it was."""
    operator = stage.start()
    stage.submit()
    space = stage.namespace
    snapshot = tmp_path / "etcd.db"
    hack("cluster", "snapshot", str(snapshot), seconds=60)
    # After the snapshot: a Dataset and its Job are made, another is deleted, a third is changed, a child is deleted.
    late = manifests.dataset("late", uri="s3://raw/late.parquet")
    stage.create({**late, "metadata": {**late["metadata"], "namespace": space}})
    eventually("late is ready", lambda: not any("late" in what for what in stage.state().unsettled()))
    kubectl("delete", "tmpool,tmdep", "--all", "-n", space, "--wait=false")
    kubectl("delete", "tmds", "data-1", "-n", space)
    kubectl("patch", "tmds", "data-0", "-n", space, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    eventually("all of it has happened", lambda: not stage.state().objects["StatefulSet"])
    stage.forget_logs()

    hack("cluster", "restore", str(snapshot), *bump, seconds=120)
    restored = time.monotonic()
    world.send_signal(signal.SIGHUP)
    assert not get(space, "tmds", "late")
    # The operator learns of it: what it makes for the next change is made of what there is now, not of its memory.
    kubectl("patch", "tmpool", "pool", "-n", space, "--type=merge", "-p", '{"spec":{"replicas":3}}')
    eventually(
        "three servers", lambda: get(space, "statefulset", "pool-pool").get("spec", {}).get("replicas") == 3, seconds=90
    )
    operator.alive()
    stage.converge()
    converged = round(time.monotonic() - restored, 1)
    held = {kind: operator.metric("tidemill_objects", kind=kind) for kind in ("Dataset", "Job", "ModelPlacement")}
    state = stage.verify(
        f"etcd restored from a snapshot, {'bumped' if bump else 'versions go back'}", converged=converged
    )
    assert held == {kind: len(state.objects[kind]) for kind in held}, "the cache holds what there is, and no ghost"
