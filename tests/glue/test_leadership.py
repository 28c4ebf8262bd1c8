"""Two operators, one writer."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.e2e.apiserver import eventually
from tests.glue.objects import apply, items, ready, run
from tests.glue.process import WRITES, Operator

Start = Callable[..., Operator]


def test_a_standby_is_warm_and_takes_over(operator: Start, namespace: str) -> None:
    leader = operator()
    eventually("the first leads", lambda: leader.alive() and leader.is_leader(), seconds=60)
    standby = operator()
    eventually("the second is ready", standby.ready, seconds=60)
    apply(*(run(f"a{n}", namespace) for n in range(10)))
    eventually("the first works", lambda: [ready(o) for o in items(namespace, "trainingruns")] == ["True"] * 10)
    assert not standby.is_leader()
    eventually("the second sees it", lambda: standby.metric("tidemill_objects", kind="Job") == 10)
    assert standby.calls(*WRITES) == 0

    leader.kill()
    died = time.monotonic()
    apply(*(run(f"b{n}", namespace) for n in range(10)))
    eventually("the second leads", standby.is_leader, seconds=40)
    assert time.monotonic() - died <= 20 + 2, "20 s, and two for asking"
    eventually("the second works", lambda: [ready(o) for o in items(namespace, "trainingruns")] == ["True"] * 20)
    assert len(items(namespace, "jobs.batch")) == 20

    # Ending in order gives the lease back at once.
    third = operator()
    eventually("the third is ready", third.ready, seconds=60)
    assert standby.stop() == 0
    ended = time.monotonic()
    eventually("the third leads", third.is_leader, seconds=15)
    assert time.monotonic() - ended < 6
    third.through_first_pass()
    assert third.calls(*WRITES) == 0


def test_who_cannot_renew_steps_down_before_another_may_lead(operator: Start, namespace: str) -> None:
    from tests.e2e.apiserver import kubectl

    process = operator("--lease-duration", "6", "--lease-renew-deadline", "3", "--lease-retry-period", "0.5")
    eventually("it leads", lambda: process.alive() and process.is_leader(), seconds=60)
    # Somebody else takes the lease by force, as a leader of a healed partition would find it.
    holder = '{"spec":{"holderIdentity":"somebody-else","leaseDurationSeconds":8}}'
    kubectl("patch", "lease", "tidemill-operator", "-n", namespace, "--type=merge", "-p", holder)
    eventually("it steps down", lambda: process.alive() and not process.is_leader(), seconds=10)
    apply(run("r", namespace))
    before = process.calls(*WRITES)
    time.sleep(2)  # a writer would have written by now
    assert process.calls(*WRITES) == before
    assert not items(namespace, "jobs.batch")
    # The other one never renews: its lease runs out, and the work is done.
    eventually("it leads again", process.is_leader, seconds=30)
    eventually("the work is done", lambda: [ready(o) for o in items(namespace, "trainingruns")] == ["True"])
