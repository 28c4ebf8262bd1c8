"""Engine Ray: which image its Job has, what it is given, that where a version is made does not make another one, and how long
a Ray cluster of its own is there."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tidemill.api.v1alpha1.dataset import Dataset
from tidemill.build.ray_cluster import cluster_name
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.contract.names import ANNOTATION_TASK
from tidemill.contract.tasks import TASK, PrepareDataset
from tidemill.kube.apply import complete
from tidemill.reconcile.dataset import reconcile_dataset
from tidemill.reconcile.dataset_task import shape, spec_digest
from tidemill.reconcile.observed import Context
from tidemill.reconcile.plan import Child, Key, Plan
from tidemill.runtime.indices import Indices

IMAGES = Images(worker="worker:1", trainer="trainer:1", serving="serving:1", ray="ray:1")
SETTINGS = BuildSettings(images=IMAGES, store=Store(bucket="tidemill"))
CONTEXT = Context(now=datetime(2026, 1, 1, tzinfo=UTC), settings=SETTINGS)
RAY = {"engine": "Ray", "ray": {"address": "ray://ray.team.svc:10001", "secretName": "reader"}}


def dataset(**spec: Any) -> Dataset:
    source = {"uri": "s3://raw/a/", "secretName": "reader"}
    return Dataset.model_validate(
        {
            "apiVersion": "tidemill.dev/v1alpha1",
            "kind": "Dataset",
            "metadata": {"name": "clicks", "namespace": "team", "uid": "u-1", "generation": 1, "resourceVersion": "1"},
            "spec": {"inputs": [{"name": "a", "s3": source}], **spec},
        }
    )


def plan(of: Dataset, context: Context = CONTEXT) -> Plan:
    return reconcile_dataset(of, Indices(), context)


def test_its_job_has_rays_image_and_all_keys_of_a_secret_that_is_named_twice() -> None:
    (child,) = plan(dataset(**RAY)).children
    pod = child.manifest["spec"]["template"]
    assert pod["spec"]["containers"][0]["image"] == "ray:1"
    task = TASK.validate_json(pod["metadata"]["annotations"][ANNOTATION_TASK])
    assert isinstance(task, PrepareDataset)
    assert task.ray is not None
    assert task.ray.memory_bytes == 2 << 30
    sources = pod["spec"]["volumes"][0]["projected"]["sources"]
    (secret,) = [source["secret"] for source in sources if "secret" in source]
    assert [item["key"] for item in secret["items"]] == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "token"]
    (local,) = plan(dataset()).children
    assert local.manifest["spec"]["template"]["spec"]["containers"][0]["image"] == "worker:1"


def test_where_it_is_made_shapes_the_pod_but_not_the_version() -> None:
    assert spec_digest(dataset(**RAY).spec) == spec_digest(dataset().spec)
    other = {**RAY, "ray": {"address": "ray://other.team.svc:10001"}}
    assert len({shape(dataset(**spec), CONTEXT) for spec in ({}, RAY, other)}) == 3


def test_an_installation_without_the_image_says_so() -> None:
    without = replace(CONTEXT, settings=replace(SETTINGS, images=replace(IMAGES, ray="")))
    made = plan(dataset(**RAY), without)
    assert not made.children
    assert made.status is not None
    stalled = [c for c in made.status["conditions"] if c["type"] == "Stalled"]
    assert [(c["status"], c["reason"]) for c in stalled] == [("True", "InvalidSpec")]
    assert "set images.ray of its chart" in stalled[0]["message"]


class Nothing:
    """A cluster that serves no API of another project."""

    def absent(self, kind: str) -> str:
        return f"the cluster does not serve {kind}s: install KubeRay"


OWN = {"engine": "Ray", "ray": {"cluster": {"workers": 2, "cpu": 4, "memory": "12Gi"}, "secretName": "reader"}}
CLUSTER = "RayCluster"


class Kept:
    """A cache that is given what plans make of one Dataset."""

    def __init__(self, of: Dataset) -> None:
        self.of, self.cache, self.version = of, Indices(), 1

    def look(self, context: Context = CONTEXT) -> Plan:
        return reconcile_dataset(self.of, self.cache, context)

    def take(self, child: Child, **more: Any) -> dict[str, Any]:
        """As the API server would have stored it, and with it as it is from now on."""
        meta = self.of.metadata
        owner = {
            "apiVersion": "tidemill.dev/v1alpha1",
            "kind": "Dataset",
            "metadata": {"name": meta.name, "uid": meta.uid},
        }
        manifest, _ = complete(child, owner)
        return self.put({**manifest, **more})

    def put(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        meta = {
            "uid": manifest["metadata"]["name"],
            "creationTimestamp": "2026-01-01T00:00:00Z",
            **manifest["metadata"],
        }
        stored = {**manifest, "metadata": {**meta, "resourceVersion": str(self.version)}}
        self.cache.upsert(stored)
        return stored


def running(of: Dataset) -> tuple[Kept, dict[str, Any], dict[str, Any]]:
    """With its Job and its cluster."""
    kept = Kept(of)
    job = kept.take(kept.look().children[0])
    (child,) = kept.look().children
    return kept, job, kept.take(child)


def test_a_cluster_of_its_own_belongs_to_the_job_which_knows_its_address() -> None:
    kept, job, cluster = running(dataset(**OWN))
    assert cluster["kind"] == CLUSTER
    assert cluster["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    ]
    pod = job["spec"]["template"]
    task = TASK.validate_json(pod["metadata"]["annotations"][ANNOTATION_TASK])
    assert isinstance(task, PrepareDataset)
    assert task.ray is not None
    name = cluster["metadata"]["name"]
    assert task.ray.server == f"ray://{name}-head-svc.team.svc.cluster.local:10001"
    assert task.ray.chosen == "spec.ray.cluster"
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    peers = [group["template"]["metadata"]["labels"]["tidemill.dev/peers"] for group in groups]
    assert {pod["metadata"]["labels"]["tidemill.dev/peers"], *peers} == {name}
    assert not kept.look().children


@pytest.mark.parametrize("name", ["a", "9" * 63, "x" * 63])
def test_kuberay_takes_the_clusters_name_as_it_is(name: str) -> None:
    """At most 50 letters, of which the first is none of the digits: else it makes another one of it."""
    found = cluster_name(name)
    assert re.fullmatch(r"ray-[a-z0-9-]{1,46}", found)
    assert cluster_name(f"{name[:-1]}y") != found


def test_a_nodes_memory_holds_a_task_beside_ray_itself() -> None:
    _, _, cluster = running(dataset(**OWN))
    (workers,) = cluster["spec"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "4", "memory": "12Gi"}, "limits": {"memory": "12Gi"}}
    given = workers["rayStartParams"]
    assert given["num-cpus"] == "4"
    assert int(given["memory"]) + int(given["object-store-memory"]) + (512 << 20) == 12 << 30
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize(
    "ended",
    [
        {"spec": {"suspend": True}},
        {"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}},
        {"status": {"conditions": [{"type": "Complete", "status": "True"}]}},
    ],
)
def test_the_cluster_goes_when_its_job_has_ended_or_is_suspended(ended: dict[str, Any]) -> None:
    kept, job, cluster = running(dataset(**OWN))
    assert not kept.look().deletes
    kept.put({**job, **ended})
    plan = kept.look()
    assert Key(kind=CLUSTER, namespace="team", name=cluster["metadata"]["name"]) in plan.deletes
    assert all(child.manifest["kind"] != CLUSTER for child in plan.children)


def test_a_cluster_of_another_job_of_the_same_name_is_left_alone() -> None:
    kept, job, cluster = running(dataset(**OWN))
    owner = {**cluster["metadata"]["ownerReferences"][0], "uid": "another"}
    kept.put({**cluster, "metadata": {**cluster["metadata"], "ownerReferences": [owner]}})
    kept.put({**job, "spec": {"suspend": True}})
    assert not kept.look().deletes


def test_none_is_made_for_a_dataset_that_is_suspended() -> None:
    kept = Kept(dataset(**OWN))
    kept.take(kept.look().children[0])
    kept.of = dataset(**OWN, suspend=True)
    plan = kept.look()
    assert not plan.children
    assert [patch.manifest["spec"] for patch in plan.patches] == [{"suspend": True}]


def test_without_kuberay_no_job_is_made_and_the_condition_says_the_way_out() -> None:
    kept = Kept(dataset(**OWN))
    kept.cache.served = Nothing()
    made = kept.look()
    assert not made.children
    assert made.status is not None
    said = {c["type"]: c for c in made.status["conditions"]}
    assert "Stalled" not in said or said["Stalled"]["status"] == "False"
    assert said["Reconciling"]["reason"] == "WaitingForAPI"
    assert said["Reconciling"]["message"] == (
        "spec.ray.cluster: the cluster does not serve RayClusters: install KubeRay, or name a running Ray cluster in "
        "spec.ray.address"
    )
    assert made.requeue_after, "it looks again"


def test_what_kuberay_says_is_wrong_is_passed_on() -> None:
    kept, _, cluster = running(dataset(**OWN))
    wrong = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreateHeadPod", "message": "exceeded quota"}
    kept.put({**cluster, "status": {"conditions": [wrong]}})
    status = kept.look().status
    assert status is not None
    (said,) = [c["message"] for c in status["conditions"] if c["type"] == "Reconciling"]
    assert said.endswith(f"KubeRay cannot make the pods of RayCluster {cluster['metadata']['name']}: exceeded quota")
