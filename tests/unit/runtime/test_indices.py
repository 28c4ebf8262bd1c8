"""The cache: lookups, forward only, no resurrection, little kept; compared with a plain model by random histories."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.runtime.objects import job, raw

from tidemill.contract.names import LABEL_JOB, LABEL_POOL
from tidemill.runtime.indices import Indices
from tidemill.runtime.trim import trim


def test_objects_are_found_by_name_owner_and_facet() -> None:
    indices = Indices()
    indices.upsert(raw("Dataset", "d"))
    indices.upsert(job("b"))
    indices.upsert(job("a"))
    indices.upsert(raw("TrainingRun", "r", spec={"dataset": {"name": "d"}, "model": {"name": "m"}}))
    found = indices.get("Job", "ns", "a")
    assert found is not None
    assert found["metadata"]["name"] == "a"
    assert [o["metadata"]["name"] for o in indices.owned("uid-Dataset-d", "Job")] == ["a", "b"]
    assert [o["metadata"]["name"] for o in indices.select("TrainingRun", "ns", "dataset", "d")] == ["r"]
    assert indices.select("TrainingRun", "other", "dataset", "d") == ()
    assert indices.count() == {"Dataset": 1, "Job": 2, "TrainingRun": 1}


def test_a_changed_facet_moves_the_object() -> None:
    indices = Indices()
    indices.upsert(raw("Deployment", "x", version=1, spec={"online": {"pool": "old"}, "model": {"name": "m"}}))
    indices.upsert(raw("Deployment", "x", version=2, spec={"online": {"pool": "new"}, "model": {"name": "m"}}))
    assert indices.select("Deployment", "ns", "pool", "old") == ()
    assert len(indices.select("Deployment", "ns", "pool", "new")) == 1


def test_an_older_version_is_no_news() -> None:
    indices = Indices()
    assert indices.upsert(raw(version=5, spec={"x": 5})) is not None
    assert indices.upsert(raw(version=5, spec={"x": 6})) is None
    assert indices.upsert(raw(version=4, spec={"x": 4})) is None
    found = indices.get("Dataset", "ns", "d")
    assert found is not None
    assert found["spec"] == {"x": 5}


def test_a_deleted_object_does_not_come_back_but_a_namesake_may() -> None:
    indices = Indices()
    indices.upsert(raw(uid="one", version=1))
    assert indices.remove("Dataset", "ns", "d", "one") is not None
    assert indices.upsert(raw(uid="one", version=9)) is None  # the answer to a write that the deletion overtook
    assert indices.upsert(raw(uid="two", version=10)) is not None
    assert indices.remove("Dataset", "ns", "d", "one") is None
    assert indices.get("Dataset", "ns", "d") is not None


Action = tuple[str, str, str, str, int]
history = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "delete"]),
        st.sampled_from("ab"), st.sampled_from("12"), st.sampled_from(["p", "q"]), st.integers(1, 30),
    ),
    max_size=40,
)  # fmt: skip


@given(history)
@settings(max_examples=200, deadline=None)
def test_random_histories_agree_with_a_plain_model(actions: list[Action]) -> None:
    indices, model, gone = Indices(), dict[str, dict[str, Any]](), set[str]()
    for what, name, generation, pool, version in actions:
        uid = f"{name}{generation}"
        if what == "delete":
            gone.add(uid)
            if name in model and model[name]["metadata"]["uid"] == uid:
                del model[name]
            indices.remove("Deployment", "ns", name, uid)
            continue
        owner = {"kind": "Dataset", "name": "d", "uid": f"owner-{pool}"}
        obj = raw("Deployment", name, uid=uid, version=version, owner=owner, spec={"online": {"pool": pool}})
        known = model.get(name)
        news = uid not in gone and (known is None or int(known["metadata"]["resourceVersion"]) < version)
        if news:
            model[name] = obj
        assert (indices.upsert(obj) is not None) is news
    for pool in "pq":
        expected = sorted(n for n, o in model.items() if o["spec"]["online"]["pool"] == pool)
        assert [o["metadata"]["name"] for o in indices.select("Deployment", "ns", "pool", pool)] == expected
        assert [o["metadata"]["name"] for o in indices.owned(f"owner-{pool}", "Deployment")] == expected
    assert sorted(e.obj["metadata"]["name"] for e in indices.all("Deployment")) == sorted(model)


def test_what_nobody_reads_is_not_kept() -> None:
    pod = raw(
        "Pod", api="v1", labels={LABEL_JOB: "j", LABEL_POOL: "p", "batch.kubernetes.io/controller-uid": "u"},
        spec={"nodeName": "n", "containers": [{"env": [{"name": "SECRET"}]}]},
        status={"phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.0.0.9", "containerStatuses": [
            {"name": "task", "ready": True, "containerID": "c", "state": {"running": {}}}],
            "conditions": [
                {"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True", "lastProbeTime": None}]},
    )  # fmt: skip
    pod["metadata"]["annotations"] = {"tidemill.dev/task": "{…}"}
    kept = trim(pod)
    assert kept["metadata"]["labels"] == {LABEL_JOB: "j", LABEL_POOL: "p"}
    assert "annotations" not in kept["metadata"]
    assert kept["spec"] == {"nodeName": "n"}
    assert kept["status"] == {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "task", "ready": True, "state": {"running": {}}}],
    }
    assert "managedFields" not in kept["metadata"]
    made = job(
        spec={"template": {"x": 1}, "podFailurePolicy": {"rules": []}, "suspend": True}, status={"terminating": 0}
    )
    assert (trim(made)["spec"], trim(made)["status"]) == ({"suspend": True}, {})
    assert "spec" not in trim(raw("Service", api="v1", spec={"ports": [{"port": 80}]}))


def test_of_a_pod_that_has_ended_no_conditions_are_kept() -> None:
    status = {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "False"}]}
    assert trim(raw("Pod", api="v1", status=status))["status"] == {"phase": "Succeeded"}


def test_of_a_child_whose_digest_alone_matters_no_labels_are_kept() -> None:
    assert (
        "labels" not in trim(raw("Service", api="v1", labels={"app.kubernetes.io/managed-by": "tidemill"}))["metadata"]
    )


def test_one_object_of_a_value_and_several_are_found_alike() -> None:
    indices = Indices()

    def of_pool() -> tuple[list[str], int]:
        found = [o["metadata"]["name"] for o in indices.select("Deployment", "ns", "pool", "p")]
        return found, indices.number_of("Deployment", "ns", "pool", "p")

    assert of_pool() == ([], 0)
    for version, name in enumerate(("b", "a", "b"), start=1):
        indices.upsert(raw("Deployment", name, uid=name, version=version, spec={"online": {"pool": "p"}}))
    assert of_pool() == (["a", "b"], 2)
    indices.remove("Deployment", "ns", "b", "b")
    assert of_pool() == (["a"], 1)
    indices.upsert(raw("Deployment", "a", uid="a", version=9, spec={"online": {"pool": "p"}, "more": 1}))
    assert of_pool() == (["a"], 1)
    indices.remove("Deployment", "ns", "a", "a")
    assert of_pool() == ([], 0)


def test_annotations_of_others_are_dropped_and_ours_kept() -> None:
    obj = raw()
    obj["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied": "x" * 9999, "tidemill.dev/digest": "d"}
    assert trim(obj)["metadata"]["annotations"] == {"tidemill.dev/digest": "d"}


def test_objects_with_a_facet_are_counted_without_looking_at_them() -> None:
    indices = Indices()
    for number in range(3):
        indices.upsert(
            raw("ModelPlacement", f"m{number}", spec={"deployment": "d", "pool": "p", "pod": f"p-{number % 2}"})
        )
    assert indices.number_of("ModelPlacement", "ns", "pod", "p-0") == 2
    indices.remove("ModelPlacement", "ns", "m0", "uid-ModelPlacement-m0")
    assert indices.number_of("ModelPlacement", "ns", "pod", "p-0") == 1
    assert indices.number_of("ModelPlacement", "other", "pod", "p-0") == 0
