"""The loop under everything at once: seasons change, Prometheus goes, servers restart, loads and Jobs fail, users interfere,
caches lag kind by kind, and the operator is killed between any two effects."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.property import fake_jobs, manifests
from tests.property.fake_api import NotFound, key_of
from tests.property.fake_cluster import NAMESPACE, Killed
from tests.property.loop_cluster import LoopCluster, Prometheus
from tests.property.loop_invariants import check_cluster, check_rest, check_status_write

from tidemill.reconcile.plan import Key

ENDS: tuple[fake_jobs.End, ...] = ("ok", "ok", "ok", "ok", "user", "crash", "evicted")


class LoopChaos(RuleBasedStateMachine):
    """One model, served by a pool of two servers and watched by a policy that retrains."""

    @initialize(
        approval=st.sampled_from(["Auto", "Auto", "Manual"]),
        improvement=st.sampled_from([-1.0, -1.0, 0.0, 1.0]),
        minutes=st.integers(3, 25),
    )
    def begin(self, approval: str, improvement: float, minutes: int) -> None:
        self.cluster = LoopCluster()
        self.cluster.create(manifests.dataset())
        self.cluster.create(manifests.run("first", template={"stage": "Production"}))
        self.cluster.create(manifests.pool())
        self.cluster.create(manifests.deployment())
        gate = {"metric": "mae", "minImprovement": improvement, "windowRows": 10}
        self.cluster.create(manifests.policy(retrain={"approval": approval, "gate": gate}))
        self.cluster.settle()
        self.cluster.api.on_status.append(check_status_write)
        # Whatever happens, it happens in some phase of a retraining: the first of them begins in the third minute.
        self.cluster.season = 1
        self.minutes_of_everything(minutes)

    # The world

    @rule(season=st.integers(0, 9))
    def change_season(self, season: int) -> None:
        self.cluster.season = season

    @rule(state=st.sampled_from(["ok", "ok", "ok", "down", "few", "empty"]))
    def change_prometheus(self, state: Prometheus) -> None:
        self.cluster.prometheus = state

    @rule(seconds=st.sampled_from([5, 60, 60, 60, 600]))
    def wait(self, seconds: float) -> None:
        self.cluster.api.tick(seconds)
        self.cluster.evaluate()

    @rule(number=st.integers(0, 1))
    def restart_server(self, number: int) -> None:
        if pods := self.cluster.server_pods():
            self.cluster.api.delete(key_of(pods[number % len(pods)]))

    @rule(number=st.integers(0, 1), ready=st.booleans())
    def set_ready(self, number: int, ready: bool) -> None:
        if pods := self.cluster.server_pods():
            self.cluster.set_ready(pods[number % len(pods)], ready)

    @rule(number=st.integers(0, 1), there=st.booleans())
    def set_agent(self, number: int, there: bool) -> None:
        if pods := self.cluster.server_pods():
            self.cluster.set_agent(pods[number % len(pods)], there)

    @rule()
    def run_servers(self) -> None:
        self.cluster.step_stateful()

    @rule()
    def run_agents(self) -> None:
        self.cluster.step_agents()

    @rule(number=st.integers(2, 4))
    def break_version(self, number: int) -> None:
        self.cluster.unloadable.add(f"delay-v{number}")

    @rule(version=st.integers(1, 4), server=st.integers(0, 2))
    def break_version_on_one_server(self, version: int, server: int) -> None:
        self.cluster.unloadable_on.add((f"delay-v{version}", f"cpu-pool-{server}"))

    @rule(data=st.data(), end=st.sampled_from(ENDS), steps=st.integers(1, 5))
    def run_job(self, data: st.DataObject, end: fake_jobs.End, steps: int) -> None:
        if jobs := [j for j in self.cluster.jobs() if not fake_jobs.is_finished(j)]:
            key = key_of(data.draw(st.sampled_from(jobs)))
            for _ in range(steps):
                if (live := self.cluster.api.get(key)) is not None:
                    fake_jobs.step(self.cluster.api, live, end)

    # Users

    @rule(suspend=st.sampled_from([False, False, True]))
    def suspend(self, suspend: bool) -> None:
        self._patch("DriftPolicy", "watch", {"suspend": suspend})

    @rule(replicas=st.integers(1, 2))
    def scale_deployment(self, replicas: int) -> None:
        self._patch("Deployment", "delays", {"online": {"pool": "cpu", "replicas": replicas, "variant": "int8"}})

    @rule(replicas=st.integers(1, 3))
    def scale_pool(self, replicas: int) -> None:
        self._patch("ServingPool", "cpu", {"replicas": replicas})

    @rule(data=st.data(), stage=st.sampled_from(["None", "Production", "Archived"]))
    def ask_for_stage(self, data: st.DataObject, stage: str) -> None:
        names = [v["metadata"]["name"] for v in self.cluster.api.all("ModelVersion")]
        if names:
            self._patch("ModelVersion", data.draw(st.sampled_from(names)), {"stage": stage})

    @rule(number=st.integers(2, 4))
    def approve(self, number: int) -> None:
        self._patch("ModelVersion", f"delay-v{number}", {"approval": {"mode": "Manual", "approvedBy": "ada"}})

    @rule(data=st.data(), kind=st.sampled_from(["Dataset", "TrainingRun", "ModelVersion"]))
    def delete_child(self, data: st.DataObject, kind: str) -> None:
        if found := [o for o in self.cluster.api.all(kind) if o["metadata"]["name"] not in ("flights", "first")]:
            self.cluster.api.delete(key_of(data.draw(st.sampled_from(found))))

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
        self.cluster.operate(rounds=600)

    @rule(minutes=st.integers(1, 12))
    def minutes_of_everything(self, minutes: int) -> None:
        for _ in range(minutes):
            self.cluster.api.tick(60)
            self.cluster.evaluate()
            for job in self.cluster.jobs():
                fake_jobs.step(self.cluster.api, job, "ok")
            self.cluster.step_stateful()
            self.cluster.step_agents()
            self.cluster.operate(rounds=600)

    # Always

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "cluster"):
            check_cluster(self.cluster)

    def teardown(self) -> None:
        if not hasattr(self, "cluster"):
            return
        self.cluster.prometheus = "down"  # no retraining begins any more: those that run come to their end
        for pod in self.cluster.server_pods():
            self.cluster.set_ready(pod, True)
        self.cluster.settle(patience=300, rounds=800)
        check_rest(self.cluster)
        before = len(self.cluster.api.writes)
        self.cluster.restart()
        self.cluster.operate()
        self.cluster.evaluate()
        self.cluster.operate()
        assert self.cluster.api.writes[before:] == [], "a pass over a cluster at rest writes nothing"

    def _patch(self, kind: str, name: str, changes: dict[str, Any]) -> None:
        try:
            self.cluster.api.patch_spec(Key(kind=kind, namespace=NAMESPACE, name=name), changes)
        except NotFound:
            return


LoopChaos.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ),  # shrinking takes many minutes, for a history that is long anyway
)
TestLoopChaos = LoopChaos.TestCase
