"""The fake cluster with what serving needs besides: StatefulSets that make pods, agents that load, scores that drift.

The world is in some season. A version fits the season in which its training began; in another one its scores drift.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Literal

from tests.property import fake_jobs
from tests.property.fake_api import Conflict, FakeApi, Raw, controller_uid, key_of
from tests.property.fake_cluster import NAMESPACE, RECONCILERS, FakeCluster

from tidemill.api.durations import format_time, parse_time
from tidemill.contract.names import ANNOTATION_DIGEST
from tidemill.kube.apply import complete
from tidemill.reconcile.deployment import reconcile_deployment
from tidemill.reconcile.driftpolicy import reconcile_driftpolicy
from tidemill.reconcile.observed import DriftReading
from tidemill.reconcile.plan import Child, Key
from tidemill.reconcile.policies.swap import TRIES
from tidemill.reconcile.servingpool import reconcile_servingpool

Prometheus = Literal["ok", "down", "few", "empty"]
KEPT_EVALUATIONS = 20


class LoopCluster(FakeCluster):
    """All kinds, and the world around them."""

    reconcilers = {
        **RECONCILERS,
        "Deployment": reconcile_deployment,
        "DriftPolicy": reconcile_driftpolicy,
        "ServingPool": reconcile_servingpool,
    }

    def __init__(self) -> None:
        self.season = 0
        self.prometheus: Prometheus = "ok"
        self.seasons: dict[str, int] = {}
        """By TrainingRun's uid: the season in which it was made."""
        self.unloadable: set[str] = set()
        """Names of ModelVersions that no server can load."""
        self.unloadable_on: set[tuple[str, str]] = set()
        """(ModelVersion, pod): what this one server cannot load, for lack of memory say."""
        self.unmakeable: set[str] = set()
        """Names of server pods that cannot be made, for lack of quota say."""
        self.evaluations: list[tuple[int, int]] = []
        super().__init__()

    def restart(self) -> None:
        self.evaluated = False
        super().restart()
        self.cache.measurements = self

    # Measurements

    def progress(self, _namespace: str, _pod: str) -> None:
        return None

    def drift(self, namespace: str, policy: str) -> DriftReading | None:
        """What the operator's Prometheus client would answer."""
        obj = self.cache.get("DriftPolicy", namespace, policy)
        if obj is None or not self.evaluated:
            return None
        at = self._moment(self.evaluations[-1][0])
        if self.prometheus == "down":
            return DriftReading(evaluated_at=at, error="Prometheus http://prometheus:9090 does not answer")
        deployment = self.cache.get("Deployment", namespace, obj["spec"]["deployment"])
        serving = ((deployment or {}).get("status") or {}).get("serving")
        if serving is None or self.prometheus == "empty":
            return DriftReading(evaluated_at=at)
        fits = self.season_of(serving["name"])
        count = obj["spec"].get("forConsecutive", 3)
        series = tuple(0.05 if season == fits else 3.2 for _, season in self.evaluations[-count:])
        samples = 10.0 if self.prometheus == "few" else 5000.0
        return DriftReading(
            evaluated_at=at, samples=samples, scores={("PSI", "temp"): series, ("PSI", "wind"): (0.01,)}
        )

    def season_of(self, version: str) -> int:
        """The season that a version fits."""
        obj = self.api.get(Key(kind="ModelVersion", namespace=NAMESPACE, name=version))
        uid = (((obj or {}).get("spec") or {}).get("origin") or {}).get("trainingRunUid", "")
        return self.seasons.get(uid, 0)

    def evaluate(self) -> None:
        """The operator asks Prometheus, which remembers, once more, and looks at all policies."""
        self.evaluated = True
        interval = 60
        at = int(self.api.now.timestamp() // interval) * interval
        if not self.evaluations or self.evaluations[-1][0] < at:
            self.evaluations = [*self.evaluations, (at, self.season)][-KEPT_EVALUATIONS:]
        for policy in self.api.all("DriftPolicy"):
            self.queue[key_of(policy)] = None

    def _moment(self, at: int) -> Any:
        return parse_time("1970-01-01T00:00:00Z").fromtimestamp(at, tz=self.api.now.tzinfo)

    # Children that are applied

    def _ensure(self, child: Child, owner: Raw) -> Iterator[str]:
        if child.mode == "create":
            if child.key.kind == "TrainingRun" and self.api.get(child.key) is None:
                yield from super()._ensure(child, owner)
                made = self.api.get(child.key)
                assert made is not None
                self.seasons[made["metadata"]["uid"]] = self.season
                return
            yield from super()._ensure(child, owner)
            return
        manifest, digest = complete(child, owner)
        live = self.api.get(child.key)
        if live is None:
            self.api.create(manifest)
            yield "create"
            return
        if controller_uid(live) != owner["metadata"]["uid"]:
            raise Conflict(f"{child.key} belongs to somebody else")
        cached = self.cache.get(child.key.kind, child.key.namespace, child.key.name)
        if cached is None or cached["metadata"].get("annotations", {}).get(ANNOTATION_DIGEST) != digest:
            apply(self.api, manifest)
            yield "apply"

    # Kubernetes and the agents

    def step_stateful(self) -> bool:
        """The StatefulSet controller and the kubelet: pods as many as asked for, ready at once."""
        moved = False
        for stateful in list(self.api.all("StatefulSet")):
            name, wanted = stateful["metadata"]["name"], stateful["spec"]["replicas"]
            names = [f"{name}-{n}" for n in range(wanted)]
            for pod in self.server_pods():
                if controller_uid(pod) == stateful["metadata"]["uid"] and pod["metadata"]["name"] not in names:
                    self.api.delete(key_of(pod))
                    moved = True
            for number, pod_name in enumerate(names):
                key = Key(kind="Pod", namespace=NAMESPACE, name=pod_name)
                if self.api.get(key) is None and pod_name not in self.unmakeable:
                    self._create_pod(stateful, pod_name, number)
                    moved = True
            status = {"observedGeneration": stateful["metadata"]["generation"], "replicas": wanted}
            status |= {"updatedReplicas": wanted, "currentRevision": "1", "updateRevision": "1"}
            if stateful.get("status") != status:
                self.api.write_status(key_of(stateful), status)
                moved = True
        return moved

    def _create_pod(self, stateful: Raw, name: str, number: int) -> None:
        meta = stateful["metadata"]
        self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "labels": dict(stateful["spec"]["template"]["metadata"]["labels"]),
                    "ownerReferences": [
                        {"kind": "StatefulSet", "name": meta["name"], "uid": meta["uid"], "controller": True}
                    ],
                },
                "spec": {"nodeName": "node"},
                "status": self._pod_status(ready=True, ip=f"10.0.0.{number + 1}"),
            }
        )

    def _pod_status(self, *, ready: bool, ip: str, agent: bool = True) -> Raw:
        now = format_time(self.api.now)
        status = "True" if ready and agent else "False"
        conditions = [
            {"type": type_, "status": status, "lastTransitionTime": now} for type_ in ("Ready", "ContainersReady")
        ]
        return {
            "phase": "Running",
            "podIP": ip,
            "conditions": conditions,
            "containerStatuses": [{"name": "triton", "ready": ready}],
            "initContainerStatuses": [{"name": "agent", "ready": agent}],
        }

    def set_ready(self, pod: Raw, ready: bool) -> None:
        """A server stops answering, or answers again."""
        self.api.write_status(key_of(pod), self._pod_status(ready=ready, ip=pod["status"]["podIP"]))

    def set_agent(self, pod: Raw, there: bool) -> None:
        """A server's agent ends, or is back; the server itself goes on as it was."""
        status = self._pod_status(ready=answers(pod), ip=pod["status"]["podIP"], agent=there)
        self.api.write_status(key_of(pod), status)

    def server_pods(self) -> list[Raw]:
        """The pods of all pools."""
        owners = {s["metadata"]["uid"] for s in self.api.all("StatefulSet")}
        return [p for p in self.api.all("Pod") if controller_uid(p) in owners]

    def step_agent(self, placement: Raw) -> bool:
        """The pod's agent loads what the placement asks for, or says why it cannot."""
        spec, before = placement["spec"], placement.get("status") or {}
        pod = self.api.get(Key(kind="Pod", namespace=NAMESPACE, name=spec["pod"]))
        if pod is None or pod["status"]["conditions"][0]["status"] != "True":
            return False  # no server, or no agent
        uid, generation = pod["metadata"]["uid"], placement["metadata"]["generation"]
        serving = before.get("serving") if before.get("podUid") == uid else None
        status: Raw = {"observedGeneration": generation, "podUid": uid, "conditions": []}
        if not self.can_load(spec["modelVersion"], spec["pod"]):
            same = before.get("podUid") == uid and before.get("observedGeneration") == generation
            attempts = before.get("attempts", 0) + 1 if same else 1
            status |= {"state": "Failed", "message": "Invalid graph: node 3", "attempts": min(attempts, TRIES)}
        else:
            status |= {"state": "Loaded"}
            same = serving is not None and serving["digest"] == spec["artifactDigest"]
            serving = serving if same else {
                "modelVersion": spec["modelVersion"],
                "version": spec["version"],
                "digest": spec["artifactDigest"],
                "variant": spec["variant"],
                "loadedAt": format_time(self.api.now),
                "loadSeconds": 1.0,
            }  # fmt: skip
        if serving:
            status["serving"] = serving
        changed = status != before
        self.api.write_status(key_of(placement), status)
        return changed

    def can_load(self, version: str, pod: str) -> bool:
        """Whether a server can load a version."""
        return version not in self.unloadable and (version, pod) not in self.unloadable_on

    def step_agents(self) -> bool:
        """All agents."""
        moved = [self.step_agent(p) for p in list(self.api.all("ModelPlacement"))]
        return any(moved)

    # Coming to rest

    def settle(self, *, end: fake_jobs.End = "ok", rounds: int = 400, patience: float = 120.0) -> None:
        """Let everybody work, and time pass as far as `patience`, until nothing changes any more."""
        until = self.api.now.timestamp() + patience
        for _ in range(rounds):
            self.evaluate()
            self.operate(rounds=600)
            moved = [fake_jobs.step(self.api, job, end) for job in self.jobs()]
            moved += [self.step_stateful(), self.step_agents()]
            if any(moved) or self.lagging():
                continue
            due = {key: after for key, after in self.due.items() if key in self.due}
            self.due.clear()
            if self.api.now.timestamp() >= until:
                return
            self.api.tick(min([60.0, *(after + 1 for after in due.values() if after < patience)]))
            self.queue.update(dict.fromkeys(due))
        raise AssertionError("the cluster does not come to rest")


def answers(pod: Raw) -> bool:
    """Whether a server pod answers, with or without its agent."""
    return bool(pod["status"]["containerStatuses"][0]["ready"])


def apply(api: FakeApi, manifest: Raw) -> Raw:
    """A server-side apply of a whole object of ours."""
    key = key_of(manifest)
    live = api.get(key)
    assert live is not None
    wanted = copy.deepcopy(manifest)
    meta = {**live["metadata"], **wanted.pop("metadata")}
    if live.get("spec") != wanted.get("spec"):
        meta["generation"] += 1
    kept = {k: v for k, v in live.items() if k == "status"}
    return api._store("apply", key, {**wanted, **kept, "metadata": meta})
