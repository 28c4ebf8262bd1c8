"""Scenarios of a populated cluster: nothing happens for a while; the operator is started again, fails over, and comes back
with other settings."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.bench.scale.cluster import SYSTEM
from tests.bench.scale.operator_process import OperatorProcess, cpu_seconds
from tests.bench.scale.stage import Stage, Step
from tests.bench.scale.tracker import Raw

from tidemill.build.triton import TRITON_CONTAINER
from tidemill.contract.names import LABEL_POOL
from tidemill.kube.resources import LEASE

LEASE_NAME = "tidemill-operator"
OTHER_IMAGE = "registry.example/tidemill/serving:next"
OTHER_DOMAIN = "next.example"


async def idle(stage: Stage, seconds: float) -> dict[str, Any]:
    """What is written, read and computed while nothing changes."""
    step = await Step.begin(stage)
    await asyncio.sleep(seconds)
    writes = stage.writes(step.mark)
    cost = await step.end(1)
    return {
        "seconds": seconds,
        "writes": sum(writes.values()),
        "writesByCall": writes,
        "calls": cost["auditedByCall"],
        "reconciles": cost["reconciles"],
        "operatorCpuSeconds": cost["operatorCpuSeconds"],
        "cpuPercent": round(cost["operatorCpuSeconds"] / cost["seconds"] * 100, 2),
        "memory": cost["memory"],
    }


async def restart(stage: Stage, *, patience: float) -> dict[str, Any]:
    """SIGTERM, then a new process: seconds until it is synced and until its first pass is over, and what that wrote."""
    began = time.monotonic()
    await asyncio.to_thread(stage.operator.stop)
    stopped = time.monotonic() - began
    mark = stage.audit.mark()
    operator = stage.start("restarted")
    return {"stopSeconds": round(stopped, 2), **await _first_pass(stage, operator, mark, patience)}


async def _first_pass(stage: Stage, operator: OperatorProcess, mark: int, patience: float) -> dict[str, Any]:
    synced = await asyncio.to_thread(operator.until_synced, patience)
    passed = await asyncio.to_thread(operator.until_first_pass, patience)
    cpu = cpu_seconds(operator.pid)
    own = (await asyncio.to_thread(operator.reading)).total("tidemill_first_pass_seconds")
    await stage.tracker.until_quiet()
    writes = stage.writes(mark)
    return {
        "syncedSeconds": synced,
        "firstPassSeconds": passed,
        "firstPassSecondsByItself": round(own, 2),
        "cpuSeconds": round(cpu, 2),
        "writes": sum(writes.values()),
        "writesByCall": writes,
        "memory": operator.memory(),
    }


async def failover(stage: Stage, *, patience: float) -> dict[str, Any]:
    """SIGKILL of the leader while a standby is there: until it has the lease, and until its first pass is over."""
    leader = stage.operator
    standby = stage.start("standby")
    await asyncio.to_thread(standby.until_synced, patience)
    before, mark = await _holder(stage), stage.audit.mark()
    waiting = standby.memory()
    killed = time.monotonic()
    await asyncio.to_thread(leader.kill)
    while (holder := await _holder(stage)) == before:
        if time.monotonic() - killed > patience:
            raise TimeoutError(f"the lease still belongs to {holder}, who was killed {patience:.0f} s ago")
        await asyncio.sleep(0.1)
    taken = time.monotonic() - killed
    await asyncio.to_thread(standby.until_first_pass, patience + time.monotonic() - standby.started)
    passed = time.monotonic() - killed
    await stage.tracker.until_quiet()
    writes = stage.writes(mark)
    return {
        "leaseSeconds": round(taken, 2),
        "firstPassSeconds": round(passed, 2),
        "writes": sum(writes.values()),
        "writesByCall": writes,
        "standbyMemory": waiting,
        "memory": standby.memory(),
    }


async def _holder(stage: Stage) -> str:
    lease = await stage.client.request("get", LEASE.path(SYSTEM, LEASE_NAME), kind=LEASE.kind)
    return str(lease["spec"].get("holderIdentity"))


async def other_settings(stage: Stage, *, pools: int, deployments: int, patience: float) -> dict[str, Any]:
    """Another image of the servers and another DNS domain: until the last pool's StatefulSet and the last Deployment's
    status are of them, from the start of the process with the new settings. Jobs are immutable and stay as they are."""
    statefulsets: dict[tuple[str, str], float] = {}
    statuses: dict[tuple[str, str], float] = {}

    def hear(obj: Raw, now: float) -> None:
        meta = obj["metadata"]
        name = meta["namespace"], meta["name"]
        if obj["kind"] == "StatefulSet" and LABEL_POOL in (meta.get("labels") or {}):
            if _image(obj) == OTHER_IMAGE:
                statefulsets.setdefault(name, now)
        elif obj["kind"] == "Deployment":
            endpoints = (obj.get("status") or {}).get("endpoints") or {}
            if OTHER_DOMAIN in endpoints.get("http", ""):
                statuses.setdefault(name, now)

    await asyncio.to_thread(stage.operator.stop)
    mark = stage.audit.mark()
    stage.tracker.listeners.append(hear)
    operator = stage.start("settings", "--images-serving", OTHER_IMAGE, "--children-cluster-domain", OTHER_DOMAIN)
    end = operator.started + patience
    while len(statefulsets) < pools or len(statuses) < deployments:
        operator.alive()
        if time.monotonic() > end:
            raise TimeoutError(
                f"not of the new settings in {patience:.0f} s: {pools - len(statefulsets)} of {pools} StatefulSets, "
                f"{deployments - len(statuses)} of {deployments} Deployments ({operator.log})"
            )
        await asyncio.sleep(0.1)
    stage.tracker.listeners.remove(hear)
    writes = stage.writes(mark)
    return {
        "dependants": pools + deployments,
        "lastStatefulSetSeconds": round(max(statefulsets.values()) - operator.started, 2),
        "lastDeploymentSeconds": round(max(statuses.values()) - operator.started, 2),
        "writes": sum(writes.values()),
        "writesByCall": writes,
    }


def _image(statefulset: Raw) -> str:
    containers = statefulset["spec"]["template"]["spec"]["containers"]
    return next((c["image"] for c in containers if c["name"] == TRITON_CONTAINER), "")
