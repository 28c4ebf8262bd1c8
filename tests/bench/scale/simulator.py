"""What a node would say: the kubelet's status of every pod and the agents' status of every ModelPlacement.

A pod of a task runs for a moment and leaves the result that the operator waits for; a server is ready at once; a model is
loaded at once. kube-controller-manager does the rest, as in any cluster. A process of its own, so that what it costs is
known apart: `python -m tests.bench.scale.simulator --kubeconfig FILE` runs until SIGTERM and then says what it did.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.scale.watch import follow
from tests.property.fake_jobs import result_of

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.modelplacement import ServedVersion
from tidemill.build.statefulset import SERVER
from tidemill.contract.names import COMPONENT, LABEL_POD, LABEL_TASK, MANAGED_BY, MANAGED_BY_VALUE, TASK_CONTAINER
from tidemill.kube.client import MERGE_PATCH, Client
from tidemill.kube.config import load as load_connection
from tidemill.kube.errors import ApiError
from tidemill.kube.resources import CHILDREN, OURS, ResourceType
from tidemill_agent.status import Report, status_of

Raw = dict[str, Any]
Name = tuple[str, str]
POD, PLACEMENT = CHILDREN["Pod"], OURS["ModelPlacement"]
WORKERS = 32


def task_states(pod: Raw, now: str) -> tuple[Raw, Raw]:
    """The statuses of a task's pod: running, and ended with its result."""
    result = result_of({"spec": {"template": {"metadata": pod["metadata"]}}}).to_json()
    ended = {
        "terminated": {"exitCode": 0, "reason": "Completed", "message": result, "startedAt": now, "finishedAt": now}
    }
    running = _status("Running", [_container(TASK_CONTAINER, {"running": {"startedAt": now}}, ready=True)], now)
    return running, _status("Succeeded", [_container(TASK_CONTAINER, ended, ready=False)], now, ready=False)


def server_state(pod: Raw, now: str, address: str) -> Raw:
    """The status of a server's pod whose Triton and agent are ready."""
    state = {"running": {"startedAt": now}}
    status = _status("Running", [_container(c["name"], state, ready=True) for c in pod["spec"]["containers"]], now)
    agents = [_container(c["name"], state, ready=True) for c in pod["spec"].get("initContainers", ())]
    return {**status, "initContainerStatuses": agents, "podIP": address, "podIPs": [{"ip": address}]}


def placement_state(placement: Raw, pod_uid: str, now: str) -> Raw:
    """The status of a placement whose model is loaded."""
    spec = placement["spec"]
    serving = ServedVersion(
        model_version=spec["modelVersion"],
        version=spec["version"],
        digest=spec["artifactDigest"],
        variant=spec["variant"],
        loaded_at=now,
        load_seconds=0.1,
    )
    report = Report(state="Loaded", serving=serving, attempts=1, generation=placement["metadata"]["generation"])
    return status_of(report, previous=placement.get("status") or {}, pod_uid=pod_uid, now=now)


def _container(name: str, state: Raw, *, ready: bool) -> Raw:
    return {"name": name, "image": "bench", "imageID": "bench", "ready": ready, "restartCount": 0, "state": state}


def _status(phase: str, containers: list[Raw], now: str, *, ready: bool = True) -> Raw:
    types = {"PodScheduled": True, "Initialized": True, "ContainersReady": ready, "Ready": ready}
    conditions = [
        {"type": type_, "status": "True" if value else "False", "lastTransitionTime": now}
        for type_, value in types.items()
    ]
    return {"phase": phase, "startTime": now, "conditions": conditions, "containerStatuses": containers}


class Simulator:
    """Watches pods and placements, and writes their statuses by a few workers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._todo: asyncio.Queue[tuple[str, Name]] = asyncio.Queue()
        self._queued: set[tuple[str, Name]] = set()
        self._pods: dict[Name, Raw] = {}
        """Pods with work left to do, and servers."""
        self._placements: dict[Name, Raw] = {}
        self._on: dict[Name, set[Name]] = {}
        """By server pod: the placements on it."""
        self._addresses = 0
        self.done = {"tasks": 0, "servers": 0, "placements": 0}

    async def run(self, listed: asyncio.Event) -> None:
        """Work until cancelled."""
        seen = asyncio.Event()
        ours = f"{MANAGED_BY}={MANAGED_BY_VALUE}"
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(self._client, POD, self.on_pod, listed=seen, selector=ours))
            group.create_task(follow(self._client, PLACEMENT, self.on_placement, listed=listed))
            for _ in range(WORKERS):
                group.create_task(self._work())

    def on_pod(self, event: str, pod: Raw) -> None:
        """A pod has changed."""
        meta, name = pod["metadata"], _name(pod)
        labels, phase = meta.get("labels") or {}, (pod.get("status") or {}).get("phase")
        if event == "DELETED" or "deletionTimestamp" in meta:
            self._pods.pop(name, None)
        elif LABEL_TASK in labels:
            if phase == "Pending":
                self._pods[name] = pod
                self._add("task", name)
        elif labels.get(COMPONENT) == SERVER:
            before = self._pods.get(name)
            self._pods[name] = pod
            if not _is_ready(pod):
                self._add("server", name)
            elif before is None or not _is_ready(before) or before["metadata"]["uid"] != meta["uid"]:
                for placement in self._on.get(name, ()):
                    self._add("placement", placement)

    def on_placement(self, event: str, placement: Raw) -> None:
        """A placement has changed."""
        name = _name(placement)
        pod = name[0], placement["metadata"]["labels"][LABEL_POD]
        if event == "DELETED":
            self._placements.pop(name, None)
            self._on.get(pod, set()).discard(name)
            return
        self._placements[name] = placement
        self._on.setdefault(pod, set()).add(name)
        self._add("placement", name)

    def _add(self, what: str, name: Name) -> None:
        if (what, name) not in self._queued:
            self._queued.add((what, name))
            self._todo.put_nowait((what, name))

    async def _work(self) -> None:
        acts = {"task": self._task, "server": self._server, "placement": self._placement}
        while True:
            what, name = await self._todo.get()
            self._queued.discard((what, name))
            try:
                await acts[what](name)
            except ApiError as error:
                if not (error.not_found or error.conflict):  # gone meanwhile, or made anew
                    raise

    async def _task(self, name: Name) -> None:
        pod = self._pods.pop(name, None)
        if pod is None:
            return
        for status in task_states(pod, _now()):
            await self._write(POD, pod, status)
        self.done["tasks"] += 1

    async def _server(self, name: Name) -> None:
        pod = self._pods.get(name)
        if pod is None or _is_ready(pod):
            return
        self._addresses += 1
        address = f"10.244.{self._addresses // 250 % 250}.{self._addresses % 250 + 1}"
        await self._write(POD, pod, server_state(pod, _now(), address))
        self.done["servers"] += 1

    async def _placement(self, name: Name) -> None:
        placement = self._placements.get(name)
        if placement is None:
            return
        pod = self._pods.get((name[0], placement["metadata"]["labels"][LABEL_POD]))
        if pod is None or not _is_ready(pod):
            return  # comes back when the server is ready
        uid, status = pod["metadata"]["uid"], placement.get("status") or {}
        if status.get("podUid") == uid and status.get("observedGeneration") == placement["metadata"]["generation"]:
            return
        await self._write(PLACEMENT, placement, placement_state(placement, uid, _now()))
        self.done["placements"] += 1

    async def _write(self, type_: ResourceType, obj: Raw, status: Raw) -> None:
        meta = obj["metadata"]
        await self._client.request(
            "patch",
            type_.path(meta["namespace"], meta["name"], "status"),
            kind=type_.kind,
            body={"metadata": {"uid": meta["uid"]}, "status": status},
            content_type=MERGE_PATCH,
        )


def _name(obj: Raw) -> Name:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _is_ready(pod: Raw) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _now() -> str:
    return format_time(datetime.now(UTC))


async def main(kubeconfig: Path) -> None:
    """Simulate until SIGTERM."""
    stop, listed = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connection = load_connection(str(kubeconfig))
    async with Client(connection, user_agent="bench-simulator", connections=WORKERS) as client:
        simulator = Simulator(client)
        running, stopping = asyncio.create_task(simulator.run(listed)), asyncio.create_task(stop.wait())
        await asyncio.wait([asyncio.create_task(listed.wait()), running], return_when=asyncio.FIRST_COMPLETED)
        print("ready", flush=True)
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    print(json.dumps({**simulator.done, "cpuSeconds": round(time.process_time(), 2)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="whose user may write statuses")
    asyncio.run(main(parser.parse_args().kubeconfig))
