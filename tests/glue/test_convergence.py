"""Objects become children and statuses, once; then nothing more is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.cluster import Cluster
from tests.glue.objects import apply, dataset, get, items, ready, run
from tests.glue.process import WRITES, Operator

COUNT = 200
Start = Callable[..., Operator]


def all_ready(namespace: str, resource: str, count: int) -> bool:
    found = items(namespace, resource)
    return len(found) == count and all(ready(o) == "True" for o in found)


def test_two_hundred_objects_then_silence_then_a_restart_without_a_write(operator: Start, namespace: str) -> None:
    first = operator()
    first.through_first_pass()
    apply(*(run(f"run-{n:03d}", namespace) for n in range(COUNT)))
    eventually(
        f"{COUNT} Jobs seen by their controller", lambda: all_ready(namespace, "trainingruns", COUNT), seconds=180
    )
    jobs = items(namespace, "jobs.batch")
    assert len(jobs) == COUNT
    owners = {job["metadata"]["ownerReferences"][0]["name"] for job in jobs}
    assert owners == {f"run-{n:03d}" for n in range(COUNT)}
    assert first.calls("create") <= COUNT + 10, "one POST for a Job, and no second try"
    assert first.calls("get", "apply", "delete") <= 10
    assert first.calls("patch") <= 2 * COUNT + 20, "a status write for each change of the condition"

    eventually(
        "all is quiet", lambda: first.metric("tidemill_queue_depth") + first.metric("tidemill_queue_delayed") == 0
    )
    before = {verb: first.calls(verb) for verb in (*WRITES, "get", "list")}
    time.sleep(8)  # the statement is about time in which nothing happens
    assert {verb: first.calls(verb) for verb in before} == before
    assert first.stop() == 0

    second = operator()
    second.through_first_pass()
    assert second.metric("tidemill_reconciles_total") >= COUNT
    assert {verb: second.calls(verb) for verb in WRITES} == dict.fromkeys(WRITES, 0)


def test_killed_at_work_it_goes_on_where_it_was(operator: Start, namespace: str) -> None:
    operator().through_first_pass()
    apply(*(run(f"run-{n:03d}", namespace) for n in range(60)))
    victim = operator("--lease-enabled", "false")  # two at once: what one made is not made again by the other
    victim.through_first_pass()
    for _ in range(3):
        victim.kill()
        victim = operator("--lease-enabled", "false")
        victim.through_first_pass()
    eventually("all ready", lambda: all_ready(namespace, "trainingruns", 60), seconds=120)
    assert len(items(namespace, "jobs.batch")) == 60


def test_children_are_kept_as_they_should_be(operator: Start, namespace: str) -> None:
    process = operator()
    process.through_first_pass()
    apply(dataset("d", namespace, inputs=("a", "b")))
    made = eventually("the Service", lambda: get(namespace, "service", "d-inputs"))
    assert [p["name"] for p in made["spec"]["ports"]] == ["a", "b"]
    events = eventually("the event", lambda: items(namespace, "events", "--field-selector=reason=Made"))
    assert events[0]["involvedObject"]["name"] == "d"

    # The spec changes: what is no longer wanted goes, which only an applied field set can do.
    apply(dataset("d", namespace, inputs=("b",)))
    eventually("one port", lambda: len(get(namespace, "service", "d-inputs")["spec"]["ports"]) == 1)

    # Somebody edits the child: what we want is there again (what they added besides is theirs).
    edit = '{"spec":{"ports":[{"port":1,"name":"x"}]}}'
    kubectl("patch", "service", "d-inputs", "-n", namespace, "--type=merge", "-p", edit)
    eventually(
        "the edit undone", lambda: "b" in [p["name"] for p in get(namespace, "service", "d-inputs")["spec"]["ports"]]
    )

    # Somebody deletes the child.
    uid = get(namespace, "service", "d-inputs")["metadata"]["uid"]
    kubectl("delete", "service", "d-inputs", "-n", namespace)
    eventually("another one", lambda: get(namespace, "service", "d-inputs").get("metadata", {}).get("uid", uid) != uid)

    # The plan deletes it.
    apply(dataset("d", namespace, inputs=("b",), suspend=True))
    eventually("deleted", lambda: not get(namespace, "service", "d-inputs"))
    eventually("Ready=False", lambda: ready(get(namespace, "datasets", "d")) == "False")

    # The owner goes, with all that is left.
    apply(dataset("d", namespace, inputs=("b",)))
    eventually("made again", lambda: get(namespace, "service", "d-inputs"))
    kubectl("delete", "datasets", "d", "-n", namespace)
    eventually("collected", lambda: not get(namespace, "service", "d-inputs"))
    process.alive()


def test_a_namesake_gets_children_of_its_own(operator: Start, namespace: str) -> None:
    operator().through_first_pass()
    apply(dataset("d", namespace))
    first = eventually("the Service", lambda: get(namespace, "service", "d-inputs"))
    kubectl("delete", "datasets", "d", "-n", namespace, "--cascade=background", "--wait=false")
    eventually("deleted", lambda: not get(namespace, "datasets", "d"))
    apply(dataset("d", namespace))
    owner = get(namespace, "datasets", "d")["metadata"]["uid"]

    def adopted() -> bool:
        found = get(namespace, "service", "d-inputs")
        return bool(found) and found["metadata"]["ownerReferences"][0]["uid"] == owner

    eventually("a Service of the new Dataset", adopted)
    assert get(namespace, "service", "d-inputs")["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_patch_on_another_object_is_applied_under_its_own_manager(operator: Start, namespace: str) -> None:
    operator().through_first_pass()
    apply(run("r", namespace))
    asking = dataset("d", namespace)
    asking["metadata"]["annotations"] = {"tidemill.dev/patch": "r"}
    apply(asking)
    found = eventually("suspended", lambda: (o := get(namespace, "trainingruns", "r"))["spec"].get("suspend") and o)
    owned = items(namespace, "trainingruns", "--show-managed-fields")[0]["metadata"]["managedFields"]
    assert "tidemill-test" in {entry["manager"] for entry in owned}
    assert found["spec"]["dataset"] == {"name": "flights"}


def test_of_what_is_new_the_child_comes_first_and_one_status_tells_of_it(
    operator: Start, namespace: str, glue_cluster: Cluster
) -> None:
    operator().through_first_pass()
    since = glue_cluster.audit_position()
    apply(dataset("d", namespace))
    eventually("told", lambda: ready(get(namespace, "datasets", "d")) == "True")

    def ours(event: dict[str, Any]) -> bool:
        about = event.get("objectRef", {})
        return (
            event.get("stage") == "ResponseComplete"
            and about.get("namespace") == namespace
            and event["userAgent"].startswith("tidemill")
            and event["verb"] in ("create", "patch")
            and about.get("resource") in ("services", "datasets")
        )

    writes = [(e["verb"], e["objectRef"]["resource"]) for e in glue_cluster.audited(ours, since=since)]
    assert writes == [("create", "services"), ("patch", "datasets")]
