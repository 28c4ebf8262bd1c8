"""The operator is killed after every single effect of a whole turn of the loop: the end is the same each time."""

from __future__ import annotations

import copy
import random
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.faults.report import record
from tests.property import fake_jobs
from tests.property.fake_cluster import Killed
from tests.property.loop_cluster import LoopCluster
from tests.property.loop_invariants import check_cluster, check_rest, check_status_write
from tests.property.test_loop import served

MINUTES = 20
MOST_EFFECTS = 36


class Mortal:
    """Runs the loop from the change of the season on, and kills the operator after the effects of these numbers."""

    def __init__(self, cluster: LoopCluster, deaths: frozenset[int], end: fake_jobs.End) -> None:
        self.cluster, self.deaths, self.end = cluster, deaths, end
        self.effects = 0
        self.kills = 0

    def run(self) -> None:
        cluster = self.cluster
        cluster.api.on_status.append(check_status_write)
        cluster.season = 1
        for _ in range(MINUTES):
            cluster.api.tick(60)
            cluster.evaluate()
            for job in cluster.jobs():
                fake_jobs.step(cluster.api, job, self.end)
            cluster.step_stateful()
            cluster.step_agents()
            self._operate()
            check_cluster(cluster)
        cluster.settle(patience=60, end=self.end)
        check_rest(cluster)

    def _operate(self) -> None:
        cluster = self.cluster
        for _ in range(1000):
            for kind in cluster.lagging():
                cluster.watch(kind)
            if not cluster.queue:
                return
            next_death = min((d - self.effects for d in self.deaths if d > self.effects), default=None)
            try:
                self.effects += cluster.reconcile(next(iter(cluster.queue)), kill_after=next_death)
            except Killed:
                assert next_death is not None
                self.effects += next_death
                self.kills += 1
                cluster.restart()
                cluster.evaluate()
        raise AssertionError(f"the operator does not come to rest: {list(cluster.queue)}")


def outcome(cluster: LoopCluster) -> dict[str, Any]:
    """What the loop has left, without times and uids."""
    status, serving = cluster.status("DriftPolicy", "watch"), cluster.status("Deployment", "delays")
    attempt = (
        "number",
        "phase",
        "dataset",
        "trainingRun",
        "champion",
        "challenger",
        "improvement",
        "message",
        "trigger",
    )
    return {
        "attempts": [{k: a.get(k) for k in attempt} for a in status["attempts"]],
        "current": status.get("current"),
        "count": (status["attemptCount"], len(status["runsStarted"])),
        "serving": serving["serving"],
        "transitions": [{k: v for k, v in t.items() if k != "at"} for t in serving["transitions"]],
        "stages": {
            v["metadata"]["name"]: [(t["from"], t["to"], t["by"]) for t in v["status"]["transitions"]]
            for v in cluster.api.all("ModelVersion")
        },
        "objects": sorted(str(key) for key in cluster.api.objects if key.kind not in ("Pod", "Job")),
        "jobs": sorted(job["metadata"]["labels"]["tidemill.dev/task"] for job in cluster.jobs()),
    }


def turn(deaths: frozenset[int], *, minimum: float, end: fake_jobs.End = "ok") -> tuple[dict[str, Any], int]:
    """One turn, its outcome and the number of effects."""
    mortal = Mortal(copy.deepcopy(beginning(minimum)), deaths, end)
    mortal.run()
    return outcome(mortal.cluster), mortal.effects


@cache
def beginning(minimum: float) -> LoopCluster:
    """Version 1 serves and is watched."""
    return served(gate={"metric": "mae", "minImprovement": minimum, "windowRows": 10})


@cache
def undisturbed(minimum: float, end: fake_jobs.End = "ok") -> tuple[dict[str, Any], int]:
    """The turn that nobody disturbs."""
    return turn(frozenset(), minimum=minimum, end=end)


def test_the_undisturbed_turns_are_what_they_should_be() -> None:
    better, effects = undisturbed(-1.0)
    assert [a["phase"] for a in better["attempts"]] == ["Promoted"]
    assert better["serving"]["name"] == "delay-v2"
    assert effects < MOST_EFFECTS, "raise MOST_EFFECTS: not every effect is tried"
    worse, _ = undisturbed(1.0)
    assert {a["phase"] for a in worse["attempts"]} == {"Kept"}
    assert worse["serving"]["name"] == "delay-v1"
    failed, _ = undisturbed(-1.0, "user")
    assert {a["phase"] for a in failed["attempts"]} == {"Failed"}


@pytest.mark.parametrize("death", range(1, MOST_EFFECTS))
def test_killed_after_this_effect(death: int) -> None:
    wanted, effects = undisturbed(-1.0)
    if death > effects:
        pytest.skip(f"the whole turn has {effects} effects")
    found, _ = turn(frozenset({death}), minimum=-1.0)
    assert found == wanted


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    deaths=st.frozensets(st.integers(1, MOST_EFFECTS), min_size=2, max_size=10), minimum=st.sampled_from([-1.0, 1.0])
)
def test_killed_many_times(deaths: frozenset[int], minimum: float) -> None:
    wanted, _ = undisturbed(minimum)
    found, _ = turn(deaths, minimum=minimum)
    assert found == wanted


@pytest.mark.slow
def test_killed_two_hundred_times_at_random_points() -> None:
    wanted, effects = undisturbed(-1.0)
    chance, kills, turns = random.Random(200), 0, 0
    while kills < 200:
        deaths = frozenset(chance.sample(range(1, effects + 1), 12))
        mortal = Mortal(copy.deepcopy(beginning(-1.0)), deaths, "ok")
        mortal.run()
        assert outcome(mortal.cluster) == wanted, f"killed after the effects {sorted(deaths)}"
        assert mortal.kills > 0
        kills, turns = kills + mortal.kills, turns + 1
    record(
        "SIGKILL at random effects, fake cluster", times=kills, note=f"{turns} turns of the loop, each as undisturbed"
    )
