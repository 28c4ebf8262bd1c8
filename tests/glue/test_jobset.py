"""Runs as JobSets, with JobSet's real controller and webhooks, and Kubernetes' own Job controller.

The control plane is the test's own and has no node: the test says how pods fare. JobSet is built once from its Go module into
the cache (minutes) and runs as a process of this machine, as in tests/bench/peers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.bench.peers import audit
from tests.bench.peers.bed import GROUP, Bed
from tests.bench.peers.controllers import CONTROLLERS, install
from tests.bench.scale.simulator import task_states
from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.cluster import Cluster
from tests.glue import objects
from tests.glue.objects import apply, condition, get, items
from tests.glue.plane import control_plane
from tests.glue.process import Operator

from tidemill.api.durations import format_time
from tidemill.contract.names import ANNOTATION_TASK, LABEL_COMPLETION_INDEX, LABEL_RUN, LABEL_TASK
from tidemill.contract.reasons import FailureReason
from tidemill.contract.results import TaskFailure

pytestmark = [pytest.mark.slow, pytest.mark.peers]

Raw = dict[str, Any]
API = "jobset.x-k8s.io/v1alpha2"
CRD = "jobsets.jobset.x-k8s.io"


@pytest.fixture(scope="module")
def glue_cluster() -> Iterator[Cluster]:
    """Of its own: JobSet's webhooks would refuse other tests' pods once nobody answers."""
    with control_plane("jobset") as cluster:
        if not cluster.is_ours:
            pytest.skip("JobSet is installed into clusters that hack/cluster started only")
        yield cluster


@pytest.fixture(scope="module")
def jobset(glue_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """JobSet, from the first test on that asks for it."""
    bed = Bed(cluster=glue_cluster, folder=tmp_path_factory.mktemp("jobset"), log=audit.Log(glue_cluster.audit_log))
    kubectl("create", "clusterrolebinding", GROUP, "--clusterrole=cluster-admin", f"--group={GROUP}")
    process = install(CONTROLLERS["jobset"], bed).start()
    try:
        process.ready()
        yield
    finally:
        process.stop()
        bed.log.close()


@pytest.fixture
def operator(namespace: str, tmp_path: Path) -> Iterator[Operator]:
    """The real operator on the test's namespace, with a Dataset that is ready."""
    own = ("--watch-namespaces", namespace, "--lease-namespace", namespace)
    process = Operator(*own, log=tmp_path / "operator.log", module="tidemill.runtime")
    try:
        apply(objects.dataset("flights", namespace))
        (pod,) = eventually("the Dataset's pod", lambda: items(namespace, "pods"))
        succeed(pod)
        until(namespace, "datasets", "flights", "Ready", "True")
        yield process
    finally:
        process.kill()


def run(name: str, namespace: str, **spec: Any) -> Raw:
    """A run on two pods as a JobSet."""
    made = objects.run(name, namespace)
    made["spec"] |= {"distribution": {"nodes": 2, "jobSet": {}}, **spec}
    return made


def until(namespace: str, resource: str, name: str, type_: str, *wanted: str) -> Raw:
    """The object once a condition has this status, or this reason."""

    def look() -> Raw | None:
        found = get(namespace, resource, name)
        told = condition(found, type_)
        return found if {told.get("status"), told.get("reason")} & set(wanted) else None

    try:
        return dict(eventually(f"{resource} {name}: {type_} {wanted}", look, seconds=120))
    except AssertionError as error:
        raise AssertionError(
            f"{error}\n{json.dumps(get(namespace, resource, name).get('status'), indent=1)}"
        ) from error


def alive(namespace: str, name: str) -> list[Raw]:
    """The run's pods that have not ended."""
    found = items(namespace, "pods", "-l", f"{LABEL_RUN}={name},{LABEL_TASK}")
    return [pod for pod in found if pod["status"]["phase"] in ("Pending", "Running")]


def pods_of(namespace: str, name: str, count: int = 2) -> list[Raw]:
    """The run's pods by their index, once there are so many."""

    def look() -> list[Raw] | None:
        found = alive(namespace, name)
        return found if len(found) == count else None

    found: list[Raw] = eventually(f"{count} pods of {name}", look, seconds=120)
    return sorted(found, key=lambda pod: str(pod["metadata"]["labels"].get(LABEL_COMPLETION_INDEX)))


def none_left(namespace: str, name: str) -> None:
    """Until no pod of the run is alive."""
    eventually(f"no pods of {name}", lambda: not alive(namespace, name))


def tell(pod: Raw, status: Raw) -> None:
    """What a kubelet would say of a pod."""
    meta = pod["metadata"]
    where = ("pod", meta["name"], "-n", meta["namespace"], "--subresource=status", "--type=merge")
    kubectl("patch", *where, "-p", json.dumps({"status": status}))


def states(pod: Raw) -> tuple[Raw, Raw]:
    """A pod that runs, and one that has ended with the result that the operator waits for."""
    return task_states(pod, format_time(datetime.now(UTC)))


def begin(*pods: Raw) -> None:
    """The pods run."""
    for pod in pods:
        tell(pod, states(pod)[0])


def succeed(pod: Raw) -> None:
    """The pod runs and ends well."""
    for status in states(pod):
        tell(pod, status)


def test_a_run_waits_for_the_api_and_goes_on_by_itself(
    namespace: str, operator: Operator, request: pytest.FixtureRequest
) -> None:
    assert not kubectl("get", "crd", CRD, "--ignore-not-found")
    apply(run("first", namespace))
    waiting = until(namespace, "trainingruns", "first", "Ready", "WaitingForAPI")
    assert condition(waiting, "Ready")["message"] == (
        f"spec.distribution.jobSet: the cluster does not serve {API}: install JobSet, or remove the field"
    )
    assert operator.alive()
    assert operator.ready()
    assert operator.metric("tidemill_reconcile_errors_total") == 0
    request.getfixturevalue("jobset")
    pods = pods_of(namespace, "first")
    (jobset_,), (job,) = items(namespace, "jobsets"), items(namespace, "jobs", "-l", f"{LABEL_RUN}=first")
    assert jobset_["metadata"]["ownerReferences"][0]["kind"] == "TrainingRun"
    assert job["metadata"]["ownerReferences"][0]["uid"] == jobset_["metadata"]["uid"]
    # where the pods meet is where JobSet's Service has the first of them
    met = next(e["value"] for e in pods[0]["spec"]["containers"][0]["env"] if e["name"] == "TIDEMILL_RENDEZVOUS")
    first, service = pods[0]["spec"], get(namespace, "service", pods[0]["spec"]["subdomain"])
    assert met == f"{first['hostname']}.{first['subdomain']}.{namespace}.svc.cluster.local:29500"
    assert service["spec"]["publishNotReadyAddresses"] is True
    for pod in pods:
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        assert ANNOTATION_TASK in pod["metadata"]["annotations"]
    assert [s["metadata"]["name"] for s in items(namespace, "services")] == [first["subdomain"]]
    begin(*pods)
    running = until(namespace, "trainingruns", "first", "Ready", "Running")
    assert pods[0]["metadata"]["name"] in condition(running, "Ready")["message"]
    assert running["status"]["jobName"] == job["metadata"]["name"]

    kubectl("delete", "pod", pods[1]["metadata"]["name"], "-n", namespace)
    again = eventually(
        "another pod in its place",
        lambda: (found := pods_of(namespace, "first"))[1]["metadata"]["uid"] != pods[1]["metadata"]["uid"] and found,
    )
    assert again[0]["metadata"]["uid"] == pods[0]["metadata"]["uid"], "the others stay"
    assert [j["metadata"]["uid"] for j in items(namespace, "jobs", "-l", f"{LABEL_RUN}=first")] == [
        job["metadata"]["uid"]
    ]
    begin(again[1])
    succeed(again[0])
    done = until(namespace, "trainingruns", "first", "Ready", "True")
    assert done["status"]["modelVersion"]["version"] == 1
    until(namespace, "jobsets", jobset_["metadata"]["name"], "Completed", "True")
    (kept,) = items(namespace, "jobsets")
    assert kept["metadata"]["uid"] == jobset_["metadata"]["uid"]
    assert kept["status"].get("restarts", 0) == 0


@pytest.mark.usefixtures("jobset", "operator")
def test_it_is_suspended_and_resumed(namespace: str) -> None:
    apply(run("paused", namespace, suspend=True))
    until(namespace, "trainingruns", "paused", "Ready", "Suspended")
    (job,) = eventually("the Job", lambda: items(namespace, "jobs", "-l", f"{LABEL_RUN}=paused"))
    assert job["spec"]["suspend"] is True
    apply(run("paused", namespace, suspend=False))
    begin(*pods_of(namespace, "paused"))
    until(namespace, "trainingruns", "paused", "Ready", "Running")
    apply(run("paused", namespace, suspend=True))
    until(namespace, "trainingruns", "paused", "Ready", "Suspended")
    none_left(namespace, "paused")
    apply(run("paused", namespace, suspend=False))
    pods = pods_of(namespace, "paused")
    begin(*pods)
    succeed(pods[0])
    until(namespace, "trainingruns", "paused", "Ready", "True")


@pytest.mark.usefixtures("jobset", "operator")
def test_the_users_mistake_ends_it_at_once_and_nothing_is_started_again(namespace: str) -> None:
    apply(run("wrong", namespace))
    pods = pods_of(namespace, "wrong")
    begin(*pods)
    said = TaskFailure(reason=FailureReason.COLUMN_MISSING, message="column arr_delay is missing: name another one")
    ended = states(pods[0])[1]
    (container,) = ended["containerStatuses"]
    container["state"]["terminated"] |= {"exitCode": 65, "reason": "Error", "message": said.to_json()}
    tell(pods[0], {**ended, "phase": "Failed"})
    stalled = until(namespace, "trainingruns", "wrong", "Stalled", "True")
    assert condition(stalled, "Stalled")["reason"] == "ColumnMissing"
    (made,) = items(namespace, "jobsets")
    failed = until(namespace, "jobsets", made["metadata"]["name"], "Failed", "True")
    assert failed["status"].get("restarts", 0) == 0
    none_left(namespace, "wrong")


@pytest.mark.usefixtures("jobset", "operator")
def test_one_that_has_not_started_is_made_again_after_its_job_is_gone(namespace: str) -> None:
    """With the same name: JobSet's controller must not take the earlier Job for the new JobSet's."""
    apply(run("waiting", namespace))
    before = pods_of(namespace, "waiting")
    (old,) = items(namespace, "jobsets")
    apply(run("waiting", namespace, resources={"memory": "3Gi"}))

    def other() -> Raw | None:
        found = items(namespace, "jobsets")
        return found[0] if len(found) == 1 and found[0]["metadata"]["uid"] != old["metadata"]["uid"] else None

    new = eventually("another JobSet", other)
    assert new["metadata"]["name"] == old["metadata"]["name"]

    def pods() -> list[Raw] | None:
        found = pods_of(namespace, "waiting")
        return None if {p["metadata"]["uid"] for p in found} & {p["metadata"]["uid"] for p in before} else found

    after = eventually("other pods", pods)
    assert after[0]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "3Gi"
    begin(*after)
    succeed(after[0])
    until(namespace, "trainingruns", "waiting", "Ready", "True")


@pytest.mark.usefixtures("jobset", "operator")
def test_with_the_run_goes_all_that_it_made(namespace: str) -> None:
    apply(run("short", namespace))
    pods_of(namespace, "short")
    kubectl("delete", "trainingrun", "short", "-n", namespace)

    def left() -> list[str]:
        ours = ("jobsets", "jobs", "pods")
        found = [o for kind in ours for o in items(namespace, kind, "-l", f"{LABEL_RUN}=short")]
        return [o["metadata"]["name"] for o in (*found, *items(namespace, "services"))]

    eventually("nothing of it", lambda: not left(), seconds=120)


@pytest.mark.usefixtures("jobset", "operator")
def test_jobsets_webhook_takes_every_name_and_its_placement(namespace: str) -> None:
    names = ["a" * 63, "2" * 63, "2nd"]
    options = {"nodes": 256, "jobSet": {"exclusiveTopology": "topology.example.org/rack"}}
    apply(*(run(name, namespace, suspend=True, distribution=options) for name in names))
    for name in names:
        until(namespace, "trainingruns", name, "Ready", "Suspended")
    made = eventually("all JobSets", lambda: len(found := items(namespace, "jobsets")) == 3 and found)
    notes = [m["metadata"]["annotations"]["alpha.jobset.sigs.k8s.io/exclusive-topology"] for m in made]
    assert set(notes) == {"topology.example.org/rack"}


@pytest.mark.usefixtures("jobset")
def test_an_api_that_goes_leaves_the_operator_at_work(namespace: str, operator: Operator) -> None:
    """The last test: JobSet's CRD is removed, and with it every JobSet."""
    apply(run("left", namespace, suspend=True))
    until(namespace, "trainingruns", "left", "Ready", "Suspended")
    kubectl("delete", "crd", CRD)
    until(namespace, "trainingruns", "left", "Ready", "WaitingForAPI")
    apply(objects.run("plain", namespace))
    (pod,) = pods_of(namespace, "plain", 1)
    succeed(pod)
    until(namespace, "trainingruns", "plain", "Ready", "True")
    assert operator.alive()
    assert operator.ready()
    assert operator.log.read_text().count("watching failed") <= 1, "no loop"
    apply(run("left", namespace, suspend=True, distribution={"nodes": 2}))
    until(namespace, "trainingruns", "left", "Ready", "Suspended")
