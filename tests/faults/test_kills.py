"""SIGKILL of the leader at random moments while a load is submitted and finished; another takes over."""

from __future__ import annotations

import os
import random
import time

from tests.e2e.apiserver import eventually
from tests.faults.stage import LEASES_QUICK, Stage

KILLS = int(os.environ.get("TIDEMILL_FAULT_KILLS", "20"))
FAILOVER_SECONDS = 20


def test_leaders_killed_one_after_the_other(stage: Stage) -> None:
    moment = random.Random(20)
    for _ in range(3):
        stage.start(*LEASES_QUICK, wait=False)
    stage.leader()
    objects, failovers = stage.manifests(), list[float]()
    for number in range(KILLS):
        leader = stage.leader()
        eventually(
            "a standby is ready", lambda leader=leader: any(o.ready() for o in stage.operators if o is not leader)
        )
        stage.create(*objects[len(objects) * number // KILLS : len(objects) * (number + 1) // KILLS])
        time.sleep(moment.uniform(0.0, 1.0))
        stage.kill(leader)
        died = time.monotonic()
        stage.start(*LEASES_QUICK, wait=False)
        stage.leader()
        failovers.append(time.monotonic() - died)
    converged = stage.converge()
    note = f"failover with a lease of 3 s: at most {max(failovers):.1f} s"
    stage.verify("SIGKILL of the leader under load", converged=converged, times=KILLS, note=note)


def test_failover_with_the_default_lease(stage: Stage) -> None:
    first = stage.start()
    standby = stage.start(wait=False)
    eventually("the standby is ready", standby.ready)
    stage.submit(wait=False)
    stage.kill(first)
    died = time.monotonic()
    eventually("the standby leads", standby.is_leader, seconds=FAILOVER_SECONDS + 10)
    failover = round(time.monotonic() - died, 1)
    assert failover <= FAILOVER_SECONDS
    stage.converge()
    converged = round(time.monotonic() - died, 1)
    stage.verify("SIGKILL, lease of 15 s / 10 s / 2 s", converged=converged, note=f"failover {failover} s")
