"""Engine Ray: which image its Job has, what it is given, and that where a version is made does not make another one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tidemill.api.v1alpha1.dataset import Dataset
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.contract.names import ANNOTATION_TASK
from tidemill.contract.tasks import TASK, PrepareDataset
from tidemill.reconcile.dataset import reconcile_dataset
from tidemill.reconcile.dataset_task import shape, spec_digest
from tidemill.reconcile.observed import Context
from tidemill.reconcile.plan import Plan
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
