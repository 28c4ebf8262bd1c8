"""JobSets in a queue: the real Kueue controller admits all pods of a run or none. With JobSet's own controller beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.bench.peers import audit
from tests.bench.peers.bed import Bed
from tests.bench.peers.bed import apply as apply_all
from tests.bench.peers.controllers import CONTROLLERS, install
from tests.e2e.apiserver import eventually
from tests.e2e.cluster import Cluster
from tests.glue.objects import apply, condition, get, items
from tests.glue.test_jobset import begin, glue_cluster, jobset, none_left, operator, pods_of, run, succeed, until

__all__ = ["glue_cluster", "jobset", "operator"]  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.peers]

API = "kueue.x-k8s.io/v1beta1"
QUEUE = "team"


@pytest.fixture(scope="module")
def kueue(
    jobset: None,  # noqa: ARG001 - a fixture of a fixture
    glue_cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Kueue, with a quota that one run fits into."""
    log = audit.Log(glue_cluster.audit_log)
    bed = Bed(cluster=glue_cluster, folder=tmp_path_factory.mktemp("kueue"), log=log)
    process = install(CONTROLLERS["kueue"], bed).start()
    try:
        process.ready()
        quota = [{"name": "cpu", "nominalQuota": "1"}, {"name": "memory", "nominalQuota": "2Gi"}]
        group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "any", "resources": quota}]}
        spec = {"namespaceSelector": {}, "resourceGroups": [group]}
        apply_all(
            [
                {"apiVersion": API, "kind": "ResourceFlavor", "metadata": {"name": "any"}},
                {"apiVersion": API, "kind": "ClusterQueue", "metadata": {"name": "all"}, "spec": spec},
            ]
        )
        yield
    finally:
        process.stop()
        log.close()


@pytest.mark.usefixtures("kueue", "operator")
def test_kueue_admits_all_pods_of_a_run_or_none(namespace: str) -> None:
    queue = {"apiVersion": API, "kind": "LocalQueue", "metadata": {"name": QUEUE, "namespace": namespace}}
    apply_all([{**queue, "spec": {"clusterQueue": "all"}}])
    of_half = {"cpu": "500m", "memory": "1Gi"}
    apply(run("first", namespace, queueName=QUEUE, resources=of_half))
    pods = pods_of(namespace, "first")
    begin(*pods)
    until(namespace, "trainingruns", "first", "Ready", "Running")

    apply(run("second", namespace, queueName=QUEUE, resources=of_half))
    waiting = until(namespace, "trainingruns", "second", "Ready", "Queued")
    assert QUEUE in condition(waiting, "Ready")["message"]
    none_left(namespace, "second")

    succeed(pods[0])
    until(namespace, "trainingruns", "first", "Ready", "True")
    others = pods_of(namespace, "second")
    begin(*others)
    succeed(others[0])
    until(namespace, "trainingruns", "second", "Ready", "True")
    workloads = eventually("Kueue's workloads", lambda: items(namespace, "workloads.kueue.x-k8s.io"))
    owners = {w["metadata"]["ownerReferences"][0]["kind"] for w in workloads}
    assert owners == {"JobSet"}, "the Jobs inside are not queued once more"
    assert get(namespace, "trainingruns", "second")["status"]["modelVersion"]["version"] == 2
