"""Anything may happen in any order: users change things, Jobs end well or badly, the caches lag kind by kind, the operator
is killed between any two effects and starts anew. The invariants hold at every step, and when it is quiet again everything
comes to rest in the right state without a single superfluous write."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.property import fake_jobs, manifests
from tests.property.fake_api import Conflict, NotFound, key_of
from tests.property.fake_cluster import NAMESPACE, FakeCluster, Killed
from tests.property.invariants import check_cluster, check_rest, check_status_write

from tidemill.contract.names import ANNOTATION_RETRY
from tidemill.reconcile.plan import Key

DATASETS = ("flights", "weather", "joined")
RUNS = ("first", "second", "third")
IMPORTED = (50, 51)
HUGE = {"memory": "100Ti"}
ENDS: tuple[fake_jobs.End, ...] = ("ok", "ok", "ok", "user", "crash", "oom", "evicted")


class Chaos(RuleBasedStateMachine):
    """A cluster with two source Datasets, one derived, runs of one model, and imported versions of the same model."""

    @initialize()
    def begin(self) -> None:
        self.cluster = FakeCluster()
        self.cluster.api.on_status.append(check_status_write)
        self.cluster.create(manifests.dataset())
        self.cluster.settle()

    # Users

    @rule(name=st.sampled_from(DATASETS))
    def create_dataset(self, name: str) -> None:
        made = manifests.derived(name, "flights") if name == "joined" else manifests.dataset(name)
        self._create(made)

    @rule(
        name=st.sampled_from(RUNS),
        suspend=st.sampled_from([False, False, False, True]),
        source=st.sampled_from(["flights", "flights", *DATASETS]),
    )
    def create_run(self, name: str, suspend: bool, source: str) -> None:
        template = {"stage": "Production"} if name != "second" else {}
        self._create(manifests.run(name, source=source, suspend=suspend, template=template))

    @rule(number=st.sampled_from(IMPORTED), manual=st.booleans())
    def create_version(self, number: int, manual: bool) -> None:
        approval = {"mode": "Manual"} if manual else {"mode": "Auto"}
        self._create(manifests.version("delay", number, approval=approval, stage="Staging"))

    @rule(name=st.sampled_from(DATASETS), number=st.integers(0, 2))
    def change_data(self, name: str, number: int) -> None:
        spec = manifests.dataset(uri=f"s3://data/{number}.parquet")["spec"]
        self._patch(Key(kind="Dataset", namespace=NAMESPACE, name=name), spec)

    @rule(
        kind=st.sampled_from(["Dataset", "TrainingRun"]),
        index=st.integers(0, 2),
        suspend=st.sampled_from([False, False, True]),
    )
    def suspend(self, kind: str, index: int, suspend: bool) -> None:
        name = (DATASETS if kind == "Dataset" else RUNS)[index]
        self._patch(Key(kind=kind, namespace=NAMESPACE, name=name), {"suspend": suspend})

    @rule(kind=st.sampled_from(["Dataset", "TrainingRun"]), index=st.integers(0, 2), huge=st.booleans())
    def change_resources(self, kind: str, index: int, huge: bool) -> None:
        """No node has that much memory: what asks for it waits for ever."""
        name = (DATASETS if kind == "Dataset" else RUNS)[index]
        self._patch(Key(kind=kind, namespace=NAMESPACE, name=name), {"resources": HUGE if huge else {}})

    @rule(
        kind=st.sampled_from(["Dataset", "ModelVersion"]),
        index=st.integers(0, 2),
        value=st.sampled_from(["1", "2", None]),
    )
    def retry(self, kind: str, index: int, value: str | None) -> None:
        name = (DATASETS if kind == "Dataset" else ("delay-v1", *(f"delay-v{n}" for n in IMPORTED)))[index]
        try:
            self.cluster.api.annotate(Key(kind=kind, namespace=NAMESPACE, name=name), {ANNOTATION_RETRY: value})
        except NotFound:
            return

    @rule(
        worker=st.sampled_from(["worker:1", "worker:2", "missing"]), trainer=st.sampled_from(["trainer:1", "missing"])
    )
    def upgrade(self, worker: str, trainer: str) -> None:
        self.cluster.upgrade(worker=worker, trainer=trainer)

    @rule(data=st.data(), stage=st.sampled_from(["None", "Staging", "Production", "Archived"]), by=st.integers(0, 3))
    def ask_for_stage(self, data: st.DataObject, stage: str, by: int) -> None:
        if versions := list(self.cluster.api.all("ModelVersion")):
            name = data.draw(st.sampled_from([v["metadata"]["name"] for v in versions]))
            changes: dict[str, Any] = {"stage": stage}
            if by and stage == "Production":
                changes["promotedBy"] = f"driftpolicy/watch#{by}"
            self._patch(Key(kind="ModelVersion", namespace=NAMESPACE, name=name), changes)

    @rule(number=st.sampled_from(IMPORTED), approved=st.booleans(), variants=st.integers(0, 2))
    def change_version(self, number: int, approved: bool, variants: int) -> None:
        approval = {"mode": "Manual", **({"approvedBy": "ada"} if approved else {})}
        optimise = [{"name": f"int8-{n}"} for n in range(variants)]
        key = Key(kind="ModelVersion", namespace=NAMESPACE, name=f"delay-v{number}")
        self._patch(key, {"approval": approval, "optimise": optimise})

    @rule(kind=st.sampled_from(["Dataset", "TrainingRun", "ModelVersion"]), data=st.data())
    def delete(self, kind: str, data: st.DataObject) -> None:
        if found := list(self.cluster.api.all(kind)):
            name = data.draw(st.sampled_from([o["metadata"]["name"] for o in found]))
            self.cluster.api.delete(Key(kind=kind, namespace=NAMESPACE, name=name))

    # Kubernetes

    @rule(data=st.data(), end=st.sampled_from(ENDS), steps=st.integers(1, 5))
    def run_job(self, data: st.DataObject, end: fake_jobs.End, steps: int) -> None:
        if jobs := self.cluster.jobs():
            name = data.draw(st.sampled_from([j["metadata"]["name"] for j in jobs]))
            for _ in range(steps):
                live = self.cluster.api.get(Key(kind="Job", namespace=NAMESPACE, name=name))
                if live is not None:
                    fake_jobs.step(self.cluster.api, live, end)

    @rule(data=st.data())
    def remove_finished_job(self, data: st.DataObject) -> None:
        if jobs := [j for j in self.cluster.jobs() if fake_jobs.is_finished(j)]:
            name = data.draw(st.sampled_from([j["metadata"]["name"] for j in jobs]))
            self.cluster.api.delete(Key(kind="Job", namespace=NAMESPACE, name=name))

    @rule(seconds=st.sampled_from([0.5, 5, 45]))
    def wait(self, seconds: float) -> None:
        self.cluster.api.tick(seconds)

    # The operator

    @precondition(lambda self: self.cluster.lagging())
    @rule(data=st.data(), count=st.integers(1, 5))
    def watch(self, data: st.DataObject, count: int) -> None:
        self.cluster.watch(data.draw(st.sampled_from(self.cluster.lagging())), count)

    @precondition(lambda self: self.cluster.queue)
    @rule(data=st.data(), kill_after=st.sampled_from([None, None, 1, 2, 3]))
    def reconcile(self, data: st.DataObject, kill_after: int | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.cluster.queue, key=str)))
        try:
            self.cluster.reconcile(key, kill_after=kill_after)
        except Killed:
            self.cluster.restart()

    @rule()
    def fail_over(self) -> None:
        self.cluster.restart()

    @rule()
    def catch_up(self) -> None:
        self.cluster.operate()

    @rule(end=st.sampled_from(ENDS), steps=st.integers(1, 6))
    def let_all_go_on(self, end: fake_jobs.End, steps: int) -> None:
        for _ in range(steps):
            for job in self.cluster.jobs():
                fake_jobs.step(self.cluster.api, job, end)
        self.cluster.operate()

    # Always

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "cluster"):
            check_cluster(self.cluster)

    def teardown(self) -> None:
        if not hasattr(self, "cluster"):
            return
        self.cluster.upgrade(worker="worker:3", trainer="trainer:3")
        for kind in ("Dataset", "TrainingRun"):
            for obj in list(self.cluster.api.all(kind)):
                self._patch(key_of(obj), {"resources": {}})
        self.cluster.settle(rounds=400)
        check_rest(self.cluster)
        before = len(self.cluster.api.writes)
        self.cluster.restart()
        self.cluster.operate()
        assert self.cluster.api.writes[before:] == [], "a pass over a cluster at rest writes nothing"

    def _create(self, manifest: dict[str, Any]) -> None:
        try:
            self.cluster.create(manifest)
        except Conflict:
            return

    def _patch(self, key: Key, changes: dict[str, Any]) -> None:
        try:
            self.cluster.api.patch_spec(key, changes)
        except NotFound:
            return


Chaos.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestChaos = Chaos.TestCase
