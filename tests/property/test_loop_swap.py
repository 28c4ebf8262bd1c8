"""A version change that goes wrong: what answered before goes on answering, on all servers, through their restarts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.property import fake_jobs, manifests
from tests.property.fake_api import Raw, key_of
from tests.property.fake_cluster import NAMESPACE
from tests.property.loop_cluster import LoopCluster
from tests.property.loop_invariants import check_rest, check_status_write
from tests.property.test_loop import condition, writes_of_a_resync

from tidemill.reconcile.plan import Key
from tidemill.reconcile.policies.placement import rank

POD_0, POD_1 = "cpu-pool-0", "cpu-pool-1"


def served(replicas: int, *, versions: int = 1) -> LoopCluster:
    """A cluster in which the last of so many versions answers; all others answered before it."""
    cluster = LoopCluster()
    cluster.create(manifests.pool(replicas=replicas))
    for number in range(1, versions + 1):
        cluster.create(manifests.version("delay", number, digest=str(number)))
    cluster.create(
        manifests.deployment(model={"name": "delay", "version": 1}, online={"pool": "cpu", "replicas": replicas})
    )
    cluster.settle()
    for number in range(2, versions + 1):
        choose(cluster, number)
        cluster.settle()
    assert cluster.status("Deployment", "delays")["serving"]["version"] == versions
    cluster.api.on_status.append(check_status_write)
    return cluster


def choose(cluster: LoopCluster, number: int) -> None:
    """The user sets another version."""
    key = Key(kind="Deployment", namespace=NAMESPACE, name="delays")
    cluster.api.patch_spec(key, {"model": {"name": "delay", "version": number}})


def bring(cluster: LoopCluster, number: int) -> None:
    """A new version is registered and chosen."""
    cluster.create(manifests.version("delay", number, digest=str(number)))
    choose(cluster, number)


def told(cluster: LoopCluster) -> dict[str, int]:
    """The version that each server's placement asks for."""
    return {p["spec"]["pod"]: p["spec"]["version"] for p in cluster.api.all("ModelPlacement")}


def answers(cluster: LoopCluster) -> dict[str, int]:
    """The version that each server of the slice answers with."""
    (slice_,) = cluster.api.all("EndpointSlice")
    listed = {e["targetRef"]["name"] for e in slice_["endpoints"]}
    found = {p["spec"]["pod"]: p["status"].get("serving", {}).get("version") for p in cluster.api.all("ModelPlacement")}
    return {pod: version for pod, version in found.items() if pod in listed}


def restart_server(cluster: LoopCluster, name: str) -> None:
    cluster.api.delete(Key(kind="Pod", namespace=NAMESPACE, name=name))


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_answered_comes_back_when_its_servers_are_made_anew_after_a_failed_load(replicas: int) -> None:
    cluster = served(replicas)
    cluster.unloadable.add("delay-v2")
    bring(cluster, 2)
    cluster.settle()
    everywhere = {f"cpu-pool-{n}": 1 for n in range(replicas)}
    assert answers(cluster) == everywhere
    for pod in list(cluster.server_pods()):
        cluster.api.delete(key_of(pod))
    cluster.settle()
    assert answers(cluster) == everywhere
    check_rest(cluster)
    assert writes_of_a_resync(cluster) == []
    status = cluster.status("Deployment", "delays")
    assert "delay-v2 is tried again at" in condition(status, "Ready")["message"]
    assert condition(status, "Available")["status"] == "True"
    cluster.settle(patience=600)
    assert condition(cluster.status("Deployment", "delays"), "Ready")["reason"] == "LoadFailed", "it was tried again"
    assert answers(cluster) == everywhere
    check_rest(cluster)


def test_a_version_that_takes_its_server_down_is_tried_ever_more_rarely() -> None:
    cluster = served(1)
    bring(cluster, 2)
    tries = []
    for minute in range(240):
        for job in cluster.jobs():
            fake_jobs.step(cluster.api, job, "ok")
        cluster.operate()
        if told(cluster)[POD_0] == 2:
            tries.append(minute)
            cluster.api.delete(key_of(cluster.server_pods()[0]))
        cluster.step_stateful()
        cluster.operate()
        cluster.step_agents()
        cluster.operate()
        assert answers(cluster) == {POD_0: 1}
        cluster.api.tick(60)
        cluster.queue[Key(kind="Deployment", namespace=NAMESPACE, name="delays")] = None
    pauses = [b - a for a, b in pairwise(tries)]
    assert 4 <= len(tries) <= 8
    assert pauses == sorted(pauses)
    assert max(pauses) <= 61


def test_a_version_that_one_server_cannot_load_answers_on_none() -> None:
    cluster = served(2)
    cluster.unloadable_on.add(("delay-v2", POD_1))
    bring(cluster, 2)
    seen: list[dict[str, int]] = []
    cluster.api.on_status.append(lambda _before, _after: seen.append(told(cluster)))
    cluster.settle()
    assert {POD_0: 2, POD_1: 1} in seen, "one server first"
    assert answers(cluster) == {POD_0: 1, POD_1: 1}
    assert told(cluster) == {POD_0: 1, POD_1: 2}, "the one that failed remembers it, and goes on trying"
    status = cluster.status("Deployment", "delays")
    ready = condition(status, "Ready")
    assert ready["reason"] == "LoadFailed"
    assert "delay-v2 could not be loaded on cpu-pool-1: Invalid graph: node 3; delay-v1 answers" in ready["message"]
    assert status["serving"]["name"] == "delay-v1"
    check_rest(cluster)
    assert writes_of_a_resync(cluster) == []
    cluster.unloadable_on.clear()
    cluster.settle()
    assert answers(cluster) == {POD_0: 2, POD_1: 2}, "its next try succeeds, and the others follow"
    check_rest(cluster)


def test_an_even_older_version_answers_when_the_last_one_is_broken_too() -> None:
    cluster = served(2, versions=2)
    cluster.unloadable |= {"delay-v2", "delay-v3"}
    bring(cluster, 3)
    cluster.settle()
    assert answers(cluster) == {POD_0: 2, POD_1: 2}
    for pod in list(cluster.server_pods()):
        cluster.api.delete(key_of(pod))
    cluster.settle()
    assert answers(cluster) == {POD_0: 1, POD_1: 1}
    assert cluster.status("Deployment", "delays")["transitions"][0]["to"] == "delay-v1"
    check_rest(cluster)
    assert writes_of_a_resync(cluster) == []


def test_one_server_that_cannot_load_what_serves_does_not_take_it_from_the_others() -> None:
    cluster = served(2, versions=2)
    cluster.unloadable_on.add(("delay-v2", POD_1))
    restart_server(cluster, POD_1)
    cluster.settle()
    assert answers(cluster) == {POD_0: 2}
    assert told(cluster) == {POD_0: 2, POD_1: 2}
    ready = condition(cluster.status("Deployment", "delays"), "Ready")
    assert (ready["reason"], "on cpu-pool-1" in ready["message"]) == ("LoadFailed", True)
    assert writes_of_a_resync(cluster) == []


def test_a_newer_version_does_not_wait_for_what_a_former_one_did() -> None:
    cluster = served(1)
    cluster.unloadable.add("delay-v2")
    bring(cluster, 2)
    cluster.settle()
    restart_server(cluster, POD_0)
    cluster.settle()
    bring(cluster, 3)
    cluster.settle()
    assert answers(cluster) == {POD_0: 3}
    check_rest(cluster)


def test_an_agent_that_is_gone_takes_no_model_with_it() -> None:
    cluster = served(2)
    for pod in cluster.server_pods():
        cluster.set_agent(pod, False)
    cluster.settle(patience=600)
    assert answers(cluster) == {POD_0: 1, POD_1: 1}
    assert condition(cluster.status("Deployment", "delays"), "Ready")["reason"] == "Serving"
    assert condition(cluster.status("ServingPool", "cpu"), "Ready")["status"] == "False"
    check_rest(cluster)
    cluster.set_ready(cluster.server_pods()[0], False)
    cluster.settle(patience=30)
    assert answers(cluster) == {POD_1: 1}


def test_a_server_that_cannot_be_made_again_is_given_up_after_a_while() -> None:
    cluster = served(2)
    key = Key(kind="Deployment", namespace=NAMESPACE, name="delays")
    cluster.api.patch_spec(key, {"online": {"pool": "cpu", "replicas": 1}})
    cluster.settle()
    ((holder, _),) = answers(cluster).items()
    cluster.unmakeable.add(holder)
    restart_server(cluster, holder)
    for _ in range(2):
        cluster.operate()
        assert set(told(cluster)) == {holder}, "it may be back soon"
        cluster.api.tick(30)
    cluster.settle(patience=120)
    assert answers(cluster) == {({POD_0, POD_1} - {holder}).pop(): 1}
    check_rest(cluster)
    assert writes_of_a_resync(cluster) == []


def scaled(replicas: int, *, models: int) -> LoopCluster:
    """A Deployment of one replica on the second of two servers; then the pool is scaled."""
    cluster = LoopCluster()
    cluster.create(manifests.pool(capacity={"models": models}))
    cluster.create(manifests.version("delay", 1))
    name = next(n for n in map("delays{}".format, range(99)) if rank(n, POD_1) > rank(n, POD_0))
    spec = {"model": {"name": "delay", "version": 1}, "online": {"pool": "cpu", "replicas": 1}}
    cluster.create(manifests.deployment(name, **spec))
    other = next(n for n in map("other{}".format, range(99)) if rank(n, POD_0) > rank(n, POD_1))
    cluster.create(manifests.deployment(other, **spec))
    cluster.settle()
    placed = {p["spec"]["deployment"]: p["spec"]["pod"] for p in cluster.api.all("ModelPlacement")}
    assert placed == {name: POD_1, other: POD_0}
    cluster.api.on_status.append(check_status_write)
    cluster.api.patch_spec(Key(kind="ServingPool", namespace=NAMESPACE, name="cpu"), {"replicas": replicas})
    return cluster


def test_a_server_goes_only_when_what_it_answers_with_answers_elsewhere() -> None:
    cluster = scaled(1, models=10)
    for _ in range(3):
        cluster.operate()
        cluster.step_stateful()
        assert len(cluster.server_pods()) == 2, "the other server has not loaded it yet"
    leaving = condition(cluster.status("ServingPool", "cpu"), "ScaledDown")
    assert leaving["status"] == "False"
    assert "cpu-pool-1 will go when what it serves (delays" in leaving["message"]
    lost: list[str] = []

    def watch(_before: Raw, after: Raw) -> None:
        if condition(after["status"], "Available").get("status") == "False":
            lost.append(after["metadata"]["name"])

    cluster.api.on_status.append(watch)
    cluster.settle(patience=0)
    assert len(cluster.server_pods()) == 1
    assert lost == []
    assert {e["targetRef"]["name"] for s in cluster.api.all("EndpointSlice") for e in s["endpoints"]} == {POD_0}
    assert condition(cluster.status("ServingPool", "cpu"), "ScaledDown") == {}
    assert condition(cluster.status("ServingPool", "cpu"), "Ready")["status"] == "True"
    check_rest(cluster)


@pytest.mark.parametrize(("replicas", "seconds"), [(1, 300), (0, 0)])
def test_a_server_does_not_stay_for_ever(replicas: int, seconds: int) -> None:
    cluster = scaled(replicas, models=1)
    if seconds:
        cluster.settle(patience=seconds - 70)
        assert len(cluster.server_pods()) == 2
        cluster.restart()
    cluster.settle(patience=120)
    assert len(cluster.server_pods()) == replicas
    assert condition(cluster.status("ServingPool", "cpu"), "ScaledDown") == {}
    check_rest(cluster)
    assert writes_of_a_resync(cluster) == []
