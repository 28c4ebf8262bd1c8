"""Trainings in a queue, with the real Kueue controller: admitted within a quota, preempted by a more important one, resumed.

Kueue's image is not to be had everywhere, its Go module is: the controller runs as a process of this machine, with its own
CRDs and webhooks, and is built once into the cache (some minutes).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from tests.bench.peers import audit
from tests.bench.peers.bed import GROUP, Bed
from tests.bench.peers.bed import apply as apply_all
from tests.bench.peers.controllers import CONTROLLERS, install
from tests.e2e import story
from tests.e2e.apiserver import eventually, kubectl, run
from tests.e2e.stand import SPACE, Stand, apply, awaited, condition, get, put_table, ready
from tests.e2e.story import dataset, trained
from tests.e2e.test_training import history_of, job_of, pods_of, running_pod, story_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.peers]

API = "kueue.x-k8s.io/v1beta1"
QUEUE, EPOCHS, PERIOD = "team", 300, 250
"""A checkpoint every PERIOD epochs: none before the training is preempted."""
SIZE = {"cpu": "100m", "memory": "1Gi"}
"""Of a run; the quota holds one of them."""
PRIORITIES = {f"low-{secrets.token_hex(2)}": 1, f"high-{secrets.token_hex(2)}": 1000}
LOW, HIGH = PRIORITIES


@pytest.fixture(scope="module")
def queued(tidemill: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Kueue with a queue that has room for one training, two priorities, and a dataset."""
    if not tidemill.cluster.is_ours:
        pytest.skip("Kueue is installed into clusters that hack/cluster started only")
    folder = tmp_path_factory.mktemp("kueue")
    bed = Bed(cluster=tidemill.cluster, folder=folder, log=audit.Log(tidemill.cluster.audit_log))
    kubectl("create", "clusterrolebinding", GROUP, "--clusterrole=cluster-admin", f"--group={GROUP}")
    installed = install(CONTROLLERS["kueue"], bed)
    process = installed.start()
    try:
        process.ready()
        quota = {
            "name": "any",
            "resources": [{"name": "cpu", "nominalQuota": "100m"}, {"name": "memory", "nominalQuota": "1Gi"}],
        }
        spec = {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [{"coveredResources": ["cpu", "memory"], "flavors": [quota]}],
        }
        apply_all(
            [
                {"apiVersion": API, "kind": "ResourceFlavor", "metadata": {"name": "any"}},
                {"apiVersion": API, "kind": "ClusterQueue", "metadata": {"name": "all"}, "spec": spec},
                {
                    "apiVersion": API,
                    "kind": "LocalQueue",
                    "metadata": {"name": QUEUE, "namespace": SPACE},
                    "spec": {"clusterQueue": "all"},
                },
                *(
                    {
                        "apiVersion": "scheduling.k8s.io/v1",
                        "kind": "PriorityClass",
                        "metadata": {"name": name},
                        "value": value,
                        "preemptionPolicy": "Never",  # the queue decides, not the scheduler
                    }
                    for name, value in PRIORITIES.items()
                ),
            ]
        )
        with tidemill.s3() as s3:
            put_table(s3, "queued.parquet", story.rows())
        apply(dataset("queued", "queued.parquet"))
        ready("tmds", "queued")
        yield tidemill
    finally:
        for kind in ("tmrun", "jobs", "workloads.kueue.x-k8s.io", "localqueues.kueue.x-k8s.io"):
            kubectl("delete", kind, "--all", "-n", SPACE, "--timeout=60s")
        process.stop()
        remove()


def remove() -> None:
    """What Kueue put into the cluster: its webhooks would refuse Jobs now that nobody answers."""
    for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations", "crds"):
        names = kubectl("get", kind, "-o", "name").split()
        ours = [name for name in names if "kueue" in name]
        if not ours:
            continue
        if kind == "crds":
            for name in ours:  # with finalizers that only Kueue would take away
                resource = name.partition("/")[2]
                for item in run("kubectl", "get", resource, "-A", "-o", "name").stdout.split():
                    where = ("-n", SPACE) if "localqueue" in item or "workload" in item else ()
                    # one that is gone meanwhile is what is wanted
                    run("kubectl", "patch", item, *where, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        kubectl("delete", *ours, "--timeout=60s")
    for kind, name in (
        ("clusterrolebinding", GROUP),
        ("namespace", "kueue-system"),
        ("priorityclass", LOW),
        ("priorityclass", HIGH),
    ):
        kubectl("delete", kind, name, "--ignore-not-found", "--timeout=60s")


def submit(name: str, *, priority: str, epochs: int = EPOCHS, queue: str | None = QUEUE) -> None:
    """A training whose epochs take about a tenth of a second."""
    apply(
        trained(
            name,
            of="queued",
            model={"name": name},
            trainer={"epochs": epochs, "batchSize": 8, "hiddenLayers": [32, 32]},
            checkpoint={"everyEpochs": PERIOD},
            resources=SIZE,
            placement={"priorityClassName": priority},
            **({"queueName": queue} if queue else {}),
        )
    )


def reason(name: str) -> str:
    """Of the run's Ready condition."""
    return str(condition(get("tmrun", name), "Ready").get("reason"))


def test_a_queued_training_is_preempted_and_ends_as_if_it_had_not_been(queued: Stand) -> None:
    """The low one runs, the high one takes its place at once, the low one goes on from the epoch that it had reached when it
    was told to stop (not from its last periodic checkpoint), and its model is the one of an undisturbed run, byte for byte."""
    submit("low", priority=LOW)

    def moving(run: dict[str, Any]) -> bool:
        return bool(((run.get("status") or {}).get("progress") or {}).get("epoch", 0) >= 5)

    seen = awaited("tmrun", "low", moving, "epochs in status.progress")["status"]["progress"]["epoch"]
    assert seen < PERIOD, "a periodic checkpoint was due already"
    stopped = running_pod("low")["metadata"]["name"]
    submit("high", priority=HIGH, epochs=3)
    awaited("tmrun", "low", lambda o: condition(o, "Ready").get("reason") == "Queued", "back in the queue")
    assert job_of("low")["spec"]["suspend"] is True
    high = ready("tmrun", "high")
    low = ready("tmrun", "low")
    assert high["status"]["finishedAt"] < low["status"]["finishedAt"]
    (pod,) = [p["metadata"]["name"] for p in pods_of("low") if p["status"]["phase"] == "Succeeded"]
    assert pod != stopped
    resumed, epochs = story_of(pod)
    assert seen <= resumed < PERIOD
    assert epochs == list(range(resumed + 1, EPOCHS + 1))
    assert history_of(queued, low) == list(range(1, EPOCHS + 1))
    submit("alone", priority=LOW, queue=None)
    alone = ready("tmrun", "alone")
    assert alone["status"]["artifactDigest"] == low["status"]["artifactDigest"]


def test_what_does_not_fit_the_quota_waits_and_says_for_whom(queued: Stand) -> None:
    """Two trainings in a quota of one: never both at a time."""
    del queued
    for name in ("first", "second"):
        submit(name, priority=LOW, epochs=20)
    most = 0

    def both_done() -> bool:
        nonlocal most
        running = [
            p for name in ("first", "second") for p in pods_of(name) if p["status"]["phase"] in ("Pending", "Running")
        ]
        most = max(most, len(running))
        return all(reason(name) == "Succeeded" for name in ("first", "second"))

    eventually("both trainings to end", both_done, seconds=300)
    assert most == 1


def test_a_queue_that_does_not_exist_is_waited_for_with_a_hint(queued: Stand) -> None:
    """Kueue admits nothing for it; the run says whose turn it is, and goes on when the queue appears."""
    del queued
    submit("stray", priority=LOW, epochs=1, queue="typo")
    waiting = awaited("tmrun", "stray", lambda o: condition(o, "Ready").get("reason") == "Queued", "Queued")
    assert "typo" in condition(waiting, "Ready")["message"]
    queue = {"apiVersion": API, "kind": "LocalQueue", "metadata": {"name": "typo", "namespace": SPACE}}
    apply_all([{**queue, "spec": {"clusterQueue": "all"}}])
    ready("tmrun", "stray")
