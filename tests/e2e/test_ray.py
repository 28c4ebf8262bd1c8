"""Engine Ray on a cluster of its own, with the real KubeRay controller and real pods: the digest of the local engine, no
cluster left, and what happens without KubeRay, while suspended, and without the token's Secret.

KubeRay's image is not to be had everywhere, its Go module is: the controller runs as a process of this machine, and is built
once into the cache (some minutes).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.bench.peers import audit
from tests.bench.peers.bed import GROUP, Bed
from tests.bench.peers.controllers import CONTROLLERS, install
from tests.bench.peers.sources import program
from tests.e2e import story
from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.stand import RAW, SPACE, Stand, apply, awaited, condition, get, listed, put_table, ready, resource

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.peers]

FILES, ROWS = 3, 2000
SECRET = "ray-token"
OPTIONS = {
    "cluster": {"workers": 1, "memory": "1280Mi", "headMemory": "1536Mi"},
    "memory": "256Mi",
    "secretName": SECRET,
    "wait": "10m",
}
RAY: dict[str, Any] = {"engine": "Ray", "ray": OPTIONS}
STEPS = [
    {"filter": {"where": "height > -0.5"}},
    {"derive": {"column": "area", "expression": "width * height"}},
    {"deduplicate": {"columns": ["area"]}},
]
Install = Callable[[], None]


@pytest.fixture(scope="module")
def stood(tidemill: Stand) -> Iterator[Stand]:
    """Tidemill with the image `ray`, files to read, a token; KubeRay is not there yet."""
    if not tidemill.cluster.is_ours:
        pytest.skip("KubeRay is installed into clusters that hack/cluster started only")
    program("kuberay")
    image = tidemill.cluster.images("ray")["ray"]
    tidemill.upgrade("--set-json", f"images.ray={json.dumps(image)}")
    with tidemill.s3() as s3:
        for number in range(FILES):
            put_table(s3, f"ray/{number}.parquet", story.rows(ROWS, seed=number))
    apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": SPACE},
            "stringData": {"token": "a-token-of-more-than-sixteen"},
        }
    )
    yield tidemill
    kubectl("delete", "secret", SECRET, "-n", SPACE)


@pytest.fixture(scope="module")
def kuberay(stood: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """Installs KubeRay's CRDs and starts its controller, when it is called first."""
    folder = tmp_path_factory.mktemp("kuberay")
    bed = Bed(cluster=stood.cluster, folder=folder, log=audit.Log(stood.cluster.audit_log))
    processes = []

    def begin() -> None:
        if processes:
            return
        kubectl("create", "clusterrolebinding", GROUP, "--clusterrole=cluster-admin", f"--group={GROUP}")
        processes.append(install(CONTROLLERS["kuberay"], bed).start())
        processes[0].ready()

    yield begin
    for kind in ("tmds", "jobs"):
        kubectl("delete", kind, "--all", "-n", SPACE, "--timeout=60s")
    for process in processes:
        eventually("the Ray clusters to go", lambda: not pods())
        process.stop()
    names = [name for name in kubectl("get", "crds", "-o", "name").split() if name.endswith(".ray.io")]
    if names:
        kubectl("delete", *names, "--timeout=60s")
    kubectl("delete", "clusterrolebinding", GROUP, "--ignore-not-found")


def dataset(name: str, **spec: Any) -> dict[str, Any]:
    """Of the files under `ray/`."""
    small = {"cpu": "50m", "memory": "1Gi"}
    read = [{"name": "rows", "s3": {"uri": f"s3://{RAW}/ray/"}}]
    more = {"transform": {"steps": STEPS}, "profile": {"html": False}, "resources": small, **spec}
    return resource("Dataset", name, inputs=read, **more)


def clusters() -> list[str]:
    """The RayClusters in the tests' namespace."""
    return [item["metadata"]["name"] for item in listed("rayclusters.ray.io")]


def pods() -> list[str]:
    """The pods of Ray clusters."""
    return [item["metadata"]["name"] for item in listed("pods", "ray.io/cluster")]


def ready_reason(name: str) -> str:
    """Of a Dataset's Ready condition."""
    return str(condition(get("tmds", name), "Ready").get("reason"))


def test_it_waits_for_kuberay_and_makes_the_local_engines_version(stood: Stand, kuberay: Install) -> None:
    """It says what is missing, goes on by itself once that is there, and leaves no cluster behind."""
    del stood
    apply(dataset("over-ray", **RAY))
    waiting = awaited("tmds", "over-ray", lambda o: condition(o, "Reconciling"), "a condition")
    said = condition(waiting, "Reconciling")
    assert said["reason"] == "WaitingForAPI"
    assert "spec.ray.cluster: the cluster does not serve ray.io/v1: install KubeRay" in said["message"]
    assert not listed("jobs", "tidemill.dev/dataset=over-ray")
    apply(dataset("local"))
    local = ready("tmds", "local")
    kuberay()
    eventually("a cluster", clusters, seconds=180)
    over_ray = ready("tmds", "over-ray", seconds=900)
    assert over_ray["status"]["digest"] == local["status"]["digest"]
    assert over_ray["status"]["rows"] > FILES * ROWS / 2
    eventually("the cluster to go", lambda: not clusters() and not pods(), seconds=120)


def test_the_cluster_goes_while_the_dataset_is_suspended_or_deleted(stood: Stand, kuberay: Install) -> None:
    del stood
    kuberay()
    apply(dataset("held", split={"random": {"seed": 7}}, **RAY))
    eventually("a head and a worker", lambda: len(pods()) == 2, seconds=180)
    kubectl("patch", "tmds", "held", "-n", SPACE, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    eventually("the cluster to go", lambda: not clusters() and not pods(), seconds=120)
    assert ready_reason("held") == "Suspended"
    kubectl("patch", "tmds", "held", "-n", SPACE, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    eventually("the cluster to come again", pods, seconds=120)
    kubectl("delete", "tmds", "held", "-n", SPACE)
    eventually("the cluster to go", lambda: not clusters() and not pods(), seconds=120)


def test_a_token_that_is_not_there_is_the_users_to_give(stood: Stand, kuberay: Install) -> None:
    del stood
    kuberay()
    without = {"engine": "Ray", "ray": {**OPTIONS, "secretName": "none"}}
    apply(dataset("tokenless", split={"random": {"seed": 8}}, **without))
    stalled = awaited("tmds", "tokenless", lambda o: condition(o, "Stalled").get("status") == "True", "Stalled")
    said = condition(stalled, "Stalled")
    assert said["reason"] == "AccessDenied"
    assert "spec.ray.secretName: Secret none must hold token" in said["message"]
    eventually("the cluster to go", lambda: not clusters() and not pods(), seconds=120)
