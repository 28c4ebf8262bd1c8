"""Several operators share out sixteen namespaces: each object is one operator's, also while their number changes."""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.apiserver import eventually, kubectl, temporary_namespace
from tests.e2e.cluster import Cluster
from tests.glue.objects import apply, ready, run
from tests.glue.process import Operator

from tidemill.runtime.shards import shard_of

NAMESPACES, EACH = 16, 13
Start = Callable[..., Operator]


@pytest.fixture
def spaces(_environment: None) -> Iterator[list[str]]:
    """Sixteen namespaces with models."""
    with ExitStack() as stack:
        names = [f"team-{secrets.token_hex(3)}" for _ in range(NAMESPACES)]
        yield [stack.enter_context(temporary_namespace(name)) for name in names]


@pytest.fixture
def shard(namespace: str, glue_cluster: Cluster, tmp_path: Path) -> Iterator[Start]:
    """Starts `shard(index, count)`, each with a ServiceAccount `shard-INDEX-of-COUNT`, by which the audit log knows it."""
    group = f"--group=system:serviceaccounts:{namespace}"
    kubectl("create", "clusterrolebinding", namespace, "--clusterrole=cluster-admin", group)
    started: list[Operator] = []

    def start(index: int, count: int) -> Operator:
        account, name = f"shard-{index}-of-{count}", f"shard-{index}-of-{count}-{len(started)}"
        if not kubectl("get", "serviceaccount", account, "-n", namespace, "--ignore-not-found"):
            kubectl("create", "serviceaccount", account, "-n", namespace)
        config = yaml.safe_load(Path(glue_cluster.environment["KUBECONFIG"]).read_text())
        for user in config["users"]:
            user["user"] = {"token": kubectl("create", "token", account, "-n", namespace).strip()}
        (tmp_path / name).write_text(json.dumps(config))
        flags = ("--shard-index", str(index), "--shard-count", str(count), "--lease-namespace", namespace)
        log, kubeconfig = tmp_path / f"{name}.log", str(tmp_path / name)
        started.append(Operator(*flags, log=log, kubeconfig=kubeconfig))
        return started[-1]

    yield start
    for process in started:
        process.kill()
    kubectl("delete", "clusterrolebinding", namespace)


def submit(spaces: Iterable[str], *names: str) -> None:
    """One TrainingRun of each name in each namespace."""
    apply(*(run(name, space) for space in spaces for name in names))


def listed(resource: str) -> list[dict[str, Any]]:
    """All objects of the cluster."""
    found: list[dict[str, Any]] = json.loads(kubectl("get", resource, "-A", "-o", "json"))["items"]
    return found


def done(spaces: Iterable[str]) -> int:
    """How many TrainingRuns of these namespaces are through."""
    wanted = set(spaces)
    return sum(ready(o) == "True" for o in listed("trainingruns") if o["metadata"]["namespace"] in wanted)


def one_job_each(spaces: Iterable[str]) -> bool:
    """Whether every TrainingRun has exactly one Job, and every Job its TrainingRun."""
    wanted = set(spaces)
    runs = [o["metadata"]["uid"] for o in listed("trainingruns") if o["metadata"]["namespace"] in wanted]
    owners = [
        o["metadata"]["ownerReferences"][0]["uid"] for o in listed("jobs.batch") if o["metadata"]["namespace"] in wanted
    ]
    return sorted(runs) == sorted(owners)


def share(spaces: Iterable[str], index: int, count: int) -> list[str]:
    """The namespaces of a shard; the test needs some."""
    found = [space for space in spaces if shard_of(space, count) == index]
    assert found, "sixteen namespaces, and none for this shard: once in 25 runs of four shards; try again"
    return found


def writes(cluster: Cluster, system: str, spaces: Iterable[str], since: int) -> list[tuple[str, str, str, datetime]]:
    """Who of the operators wrote where in these namespaces: shard, namespace, verb and resource, time."""
    prefix, wanted = f"system:serviceaccount:{system}:shard-", set(spaces)

    def by_an_operator(event: dict[str, Any]) -> bool:
        return (
            event["user"]["username"].startswith(prefix)
            and event["verb"] in ("create", "update", "patch", "delete")
            and (event.get("objectRef") or {}).get("namespace") in wanted
            and event["responseStatus"]["code"] < 300
        )

    return [
        (
            e["user"]["username"].removeprefix(prefix),
            e["objectRef"]["namespace"],
            f"{e['verb']} {e['objectRef']['resource']}",
            datetime.fromisoformat(e["stageTimestamp"]),
        )
        for e in cluster.audited(by_an_operator, since=since)
    ]


@pytest.mark.parametrize("count", [2, 4])
def test_every_namespace_has_one_writer(
    shard: Start, namespace: str, spaces: list[str], glue_cluster: Cluster, count: int
) -> None:
    since = glue_cluster.audit_position()
    submit(spaces, *(f"r{n}" for n in range(EACH)))
    operators = [shard(index, count) for index in range(count)]
    eventually("all are through", lambda: done(spaces) == NAMESPACES * EACH, seconds=300)
    assert one_job_each(spaces)

    wrote = writes(glue_cluster, namespace, spaces, since)
    assert Counter(what for _, _, what, _ in wrote)["create jobs"] == NAMESPACES * EACH, "and none was tried twice"
    strangers = [(who, where) for who, where, _, _ in wrote if who != f"{shard_of(where, count)}-of-{count}"]
    assert not strangers

    def kept() -> bool:  # other tests' namespaces may still be on their way out
        there = Counter(shard_of(o["metadata"]["namespace"], count) for o in listed("trainingruns"))
        return all(o.metric("tidemill_objects", kind="TrainingRun") == there[n] for n, o in enumerate(operators))

    eventually("each keeps its own objects and no others", kept)
    for index, operator in enumerate(operators):
        assert operator.metric("tidemill_shard_info", index=str(index), count=str(count)) == 1
        with urllib.request.urlopen(f"http://127.0.0.1:{operator.port}/readyz", timeout=5) as answer:
            assert answer.read().decode() == f"ok, shard {index} of {count}"
        assert operator.metric("tidemill_watch_events_total", kind="TrainingRun") > 0
        assert operator.metric("tidemill_watch_events_total", kind="TrainingRun", news="foreign") == 0, (
            "their namespaces were known when the watch was opened: the API server leaves them out"
        )

    # A namespace that is new comes through to all, and only one takes it up.
    with temporary_namespace(f"team-{secrets.token_hex(3)}") as new:
        submit([new], "first")
        eventually("the new namespace's is through", lambda: done([new]) == 1)
        owner = shard_of(new, count)
        assert {who for who, *_ in writes(glue_cluster, namespace, [new], since)} == {f"{owner}-of-{count}"}
        foreign = [o.metric("tidemill_watch_events_total", kind="TrainingRun", news="foreign") for o in operators]
        assert [n for n, events in enumerate(foreign) if not events] == [owner]


def test_a_dead_shards_namespaces_wait_for_its_standby_alone(
    shard: Start, namespace: str, spaces: list[str], glue_cluster: Cluster
) -> None:
    since = glue_cluster.audit_position()
    ours, theirs = share(spaces, 0, 2), share(spaces, 1, 2)
    leader, other = shard(0, 2), shard(1, 2)
    eventually("both lead", lambda: leader.alive() and leader.is_leader() and other.is_leader())
    standby = shard(0, 2)
    eventually("the standby is warm", standby.ready)
    submit(spaces, "before")
    eventually("all are through", lambda: done(spaces) == NAMESPACES, seconds=120)

    leader.kill()
    submit(spaces, "after")
    eventually("the other shard goes on", lambda: done(theirs) == 2 * len(theirs), seconds=120)
    eventually("the standby takes over", lambda: done(ours) == 2 * len(ours), seconds=120)
    assert standby.is_leader()
    assert one_job_each(spaces)

    made = [e for e in writes(glue_cluster, namespace, spaces, since) if e[2] == "create jobs"]
    assert Counter(where for _, where, _, _ in made) == dict.fromkeys(spaces, 2)
    after = {who: sorted(at for name, _, _, at in made if name == who) for who in ("0-of-2", "1-of-2")}
    assert after["1-of-2"][-1] < after["0-of-2"][len(ours)], "the other shard did not wait for the dead one's Lease"


def test_two_become_four(shard: Start, namespace: str, spaces: list[str], glue_cluster: Cluster) -> None:
    since = glue_cluster.audit_position()
    old = [shard(index, 2) for index in range(2)]
    submit(spaces, "before")
    eventually("the two are through", lambda: done(spaces) == NAMESPACES, seconds=120)

    new = [shard(index, 4) for index in range(4)]
    eventually(
        "the four are warm, so that a rolling update goes on",
        lambda: all(o.alive() and o.ready() for o in new),
        seconds=120,
    )
    submit(spaces, "meanwhile")
    eventually("the two still work", lambda: done(spaces) == 2 * NAMESPACES, seconds=120)
    assert not any(operator.is_leader() for operator in new)
    assert "waits: an operator of another number of shards still leads" in new[3].log.read_text()

    assert old[0].stop() == 0
    submit(spaces, "half")
    eventually(
        "one of the two still works", lambda: done(share(spaces, 1, 2)) == 3 * len(share(spaces, 1, 2)), seconds=120
    )
    assert not any(operator.is_leader() for operator in new)
    old[1].kill()
    eventually("the four lead", lambda: all(operator.is_leader() for operator in new), seconds=90)
    submit(spaces, "after")
    eventually("the four are through", lambda: done(spaces) == 4 * NAMESPACES, seconds=120)
    assert one_job_each(spaces)

    wrote = writes(glue_cluster, namespace, spaces, since)
    assert Counter(what for _, _, what, _ in wrote)["create jobs"] == 4 * NAMESPACES, "none was made twice"
    for who, where, _, _ in wrote:
        count = int(who.rpartition("-")[2])
        assert who == f"{shard_of(where, count)}-of-{count}"
    last = max(at for who, _, _, at in wrote if who.endswith("-of-2"))
    first = min(at for who, _, _, at in wrote if who.endswith("-of-4"))
    assert last < first, "never two counts at a time"
