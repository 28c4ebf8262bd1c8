"""A run on several pods on the fake cluster: its Service comes after its Job, and stays as long."""

from __future__ import annotations

from collections.abc import Iterator

from tests.property import manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import FakeCluster
from tests.property.loop_cluster import apply
from tests.property.test_lifecycle import condition, writes_of_a_resync

from tidemill.contract.names import ANNOTATION_DIGEST
from tidemill.kube.apply import complete
from tidemill.reconcile.plan import Child

Write = tuple[str, str]


class Cluster(FakeCluster):
    """Applies the children that are not only created."""

    def _ensure(self, child: Child, owner: Raw) -> Iterator[str]:
        if child.mode == "create":
            yield from super()._ensure(child, owner)
            return
        manifest, digest = complete(child, owner)
        live = self.cache.get(child.key.kind, child.key.namespace, child.key.name)
        if live is None:
            self.api.create(manifest)
            yield "create"
        elif live["metadata"]["annotations"][ANNOTATION_DIGEST] != digest:
            apply(self.api, manifest)
            yield "apply"


def started(**distribution: object) -> Cluster:
    cluster = Cluster()
    cluster.create(manifests.dataset())
    cluster.settle()
    cluster.create(manifests.run("first", distribution=distribution))
    return cluster


def services(cluster: Cluster) -> list[Raw]:
    return list(cluster.api.all("Service"))


def made(cluster: Cluster) -> list[Write]:
    kinds = ("Job", "Service")
    return [(verb, key.kind) for verb, key in cluster.api.writes if key.kind in kinds and "train" in key.name]


def test_a_distributed_run_ends_as_every_other() -> None:
    cluster = started()
    cluster.settle()
    assert condition(cluster.status("TrainingRun", "first"), "Ready")["status"] == "True"
    creations = [kind for verb, kind in made(cluster) if verb == "create"]
    assert creations == ["Job", "Service"]
    assert writes_of_a_resync(cluster) == 0


def test_the_service_belongs_to_the_job_that_its_pods_are_of() -> None:
    cluster = started()
    cluster.settle()
    (service,) = services(cluster)
    (job,) = [job for job in cluster.jobs() if job["metadata"]["name"].startswith("first-train")]
    assert [owner["uid"] for owner in service["metadata"]["ownerReferences"]] == [job["metadata"]["uid"]]
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_a_service_that_somebody_deletes_is_made_again_while_the_job_runs() -> None:
    cluster = started()
    cluster.operate()
    (service,) = services(cluster)
    cluster.api.delete(next(key for key in cluster.api.objects if key.kind == "Service"))
    cluster.watch("Service")
    cluster.reconcile(next(key for key in cluster.api.objects if key.kind == "TrainingRun"))
    assert services(cluster)[0]["spec"] == service["spec"]
