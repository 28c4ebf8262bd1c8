"""A training of two pods as a JobSet, with JobSet's real controller: the pods find each other by its Service, one is lost, the
model is made.

The controller is a process of this machine, as Kueue's is in test_kueue.py. How it and the operator take turns is in
tests/glue/test_jobset.py; here are real pods.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.bench.peers import audit
from tests.bench.peers.bed import GROUP, Bed
from tests.bench.peers.controllers import CONTROLLERS, install
from tests.e2e import story
from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.stand import SPACE, Stand, apply, awaited, condition, get, listed, put_table, ready
from tests.e2e.story import dataset, trained

from tidemill.contract.names import LABEL_COMPLETION_INDEX, LABEL_RUN

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.peers]

NAME, EPOCHS = "as-jobset", 400
"""Epochs of a tenth of a second and more: one pod is lost long before the end."""
CRD = "jobsets.jobset.x-k8s.io"


@pytest.fixture(scope="module")
def jobset(tidemill: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """JobSet, and a dataset. The operator was there before: it finds the API when a run wants it."""
    if not tidemill.cluster.is_ours:
        pytest.skip("JobSet is installed into clusters that hack/cluster started only")
    folder = tmp_path_factory.mktemp("jobset")
    bed = Bed(cluster=tidemill.cluster, folder=folder, log=audit.Log(tidemill.cluster.audit_log))
    kubectl("create", "clusterrolebinding", GROUP, "--clusterrole=cluster-admin", f"--group={GROUP}")
    process = install(CONTROLLERS["jobset"], bed).start()
    try:
        process.ready()
        with tidemill.s3() as s3:
            put_table(s3, "jobset.parquet", story.rows())
        apply(dataset("jobset", "jobset.parquet"))
        ready("tmds", "jobset")
        yield tidemill
    finally:
        kubectl("delete", "tmrun", "--all", "-n", SPACE, "--timeout=60s")
        eventually("the JobSets are gone", lambda: not listed(CRD), seconds=120)
        remove()
        process.stop()
        bed.log.close()


def remove() -> None:
    """What JobSet put into the cluster, its webhooks first: they would refuse pods once nobody answers."""
    for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations", "crds"):
        names = [name for name in kubectl("get", kind, "-o", "name").split() if "jobset" in name]
        if names:
            kubectl("delete", *names, "--timeout=60s")
    for kind, name in (("clusterrolebinding", GROUP), ("namespace", "jobset-system")):
        kubectl("delete", kind, name, "--ignore-not-found", "--timeout=60s")


def pods() -> dict[str, dict[str, Any]]:
    """The run's pods that are not being deleted, by their index; of several the newest."""
    found = [p for p in listed("pods", f"{LABEL_RUN}={NAME}") if "deletionTimestamp" not in p["metadata"]]
    found.sort(key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    return {pod["metadata"]["labels"][LABEL_COMPLETION_INDEX]: pod for pod in found}


def test_two_pods_train_as_a_jobset_and_one_is_lost(jobset: Stand) -> None:
    del jobset
    apply(
        trained(
            NAME,
            of="jobset",
            model={"name": NAME},
            trainer={"epochs": EPOCHS, "batchSize": 8, "hiddenLayers": [32, 32]},
            checkpoint={"everyEpochs": 2},
            resources={"cpu": "100m", "memory": "2Gi"},
            distribution={"nodes": 2, "jobSet": {}},
        )
    )

    def moving(run: dict[str, Any]) -> bool:
        return bool(((run.get("status") or {}).get("progress") or {}).get("epoch", 0) >= 4)

    run = awaited("tmrun", NAME, moving, "epochs in status.progress")
    assert run["status"]["progress"]["epoch"] < EPOCHS / 2, "the training was nearly over"
    (made,), (job,) = listed(CRD, f"{LABEL_RUN}={NAME}"), listed("jobs", f"{LABEL_RUN}={NAME}")
    assert made["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert run["status"]["jobName"] == job["metadata"]["name"]
    owners = [o for s in listed("services") for o in s["metadata"].get("ownerReferences", ())]
    assert [o["uid"] for o in owners if o["kind"] in ("Job", "JobSet")] == [made["metadata"]["uid"]]

    before = pods()
    assert sorted(before) == ["0", "1"]
    kubectl("delete", "pod", before["1"]["metadata"]["name"], "-n", SPACE, "--grace-period=0", "--force")
    run = ready("tmrun", NAME)
    after = pods()
    assert after["0"]["metadata"]["uid"] == before["0"]["metadata"]["uid"], "the other pod stays"
    assert run["status"]["modelVersion"] == {"name": f"{NAME}-v1", "version": 1}
    assert run["status"]["metrics"]["test"]["r2"] > 0.9
    made = awaited(CRD, made["metadata"]["name"], lambda o: conditioned(o, "Completed"), "Completed", seconds=60)
    assert made["status"].get("restarts", 0) == 0
    assert get("job", job["metadata"]["name"])["metadata"]["uid"] == job["metadata"]["uid"], "nothing was restarted"


def conditioned(obj: dict[str, Any], type_: str) -> bool:
    """Whether a condition of a JobSet is true; unlike ours it has no generation."""
    return any(c["type"] == type_ and c["status"] == "True" for c in obj.get("status", {}).get("conditions", ()))


def test_suspending_the_run_suspends_the_jobset(jobset: Stand) -> None:
    del jobset
    apply(
        trained(
            "paused",
            of="jobset",
            model={"name": "paused"},
            trainer={"epochs": 3},
            suspend=True,
            distribution={"nodes": 2, "jobSet": {}},
        )
    )
    awaited("tmrun", "paused", lambda o: condition(o, "Ready").get("reason") == "Suspended", "Suspended")
    (made,) = listed(CRD, f"{LABEL_RUN}=paused")
    assert made["spec"]["suspend"] is True
    assert not listed("pods", f"{LABEL_RUN}=paused")
    kubectl("patch", "tmrun", "paused", "-n", SPACE, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    assert ready("tmrun", "paused")["status"]["modelVersion"]["version"] == 1
