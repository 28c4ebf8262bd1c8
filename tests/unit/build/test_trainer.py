"""The Job of a container trainer, and the ModelVersion that a run leaves."""

from __future__ import annotations

from typing import Any

from tests.property import manifests

from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.api.v1alpha1.trainingrun import TrainingRun
from tidemill.build.modelversion import config_digest, model_version, version_name
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.build.trainer import ANNOTATION_FETCH, training_job
from tidemill.contract.names import ANNOTATION_TASK, NAME_LIMIT
from tidemill.contract.tasks import TASK, ArtifactRef, FetchDataset, PublishModel, TrainModel

SETTINGS = BuildSettings(
    images=Images(worker="worker:1", trainer="trainer:1", serving="serving:1"), store=Store(bucket="tidemill")
)
DATA = ArtifactRef(uri="s3://tidemill/ml/datasets/flights/d", digest="sha256:" + "d" * 64)
MODEL = ArtifactRef(uri="s3://tidemill/ml/models/delay/first", digest="sha256:" + "a" * 64)
CONTAINER = {
    "image": "ours:1",
    "command": ["python", "train.py"],
    "env": [{"name": "TIDEMILL_INPUT", "value": "/elsewhere"}, {"name": "SEED", "value": "1"}],
    "envFromSecret": "wandb",
    "target": "arr_delay",
}


def run(**spec: object) -> TrainingRun:
    raw = manifests.run("first", **spec)  # type: ignore[arg-type]
    raw["metadata"] |= {"namespace": "ml", "uid": "0123456789", "generation": 3}
    return TrainingRun.model_validate(raw)


def container_run() -> TrainingRun:
    return run(trainer={"container": CONTAINER}, resources={"memory": "8Gi", "gpu": {"count": 1}})


def test_a_users_container_stands_between_fetching_and_publishing() -> None:
    template = training_job(container_run(), DATA, SETTINGS)["spec"]["template"]
    pod, annotations = template["spec"], template["metadata"]["annotations"]
    assert [c["name"] for c in (*pod["initContainers"], *pod["containers"])] == ["fetch", "trainer", "task"]
    assert isinstance(TASK.validate_json(annotations[ANNOTATION_FETCH]), FetchDataset)
    assert isinstance(TASK.validate_json(annotations[ANNOTATION_TASK]), PublishModel)
    fetch = {e["name"]: e.get("value") for e in pod["initContainers"][0]["env"]}
    assert fetch["TIDEMILL_TASK"] == "/etc/tidemill/fetch-task"
    files = pod["volumes"][0]["projected"]["sources"][0]["downwardAPI"]["items"]
    assert [f["path"] for f in files] == ["task", "fetch-task"]


def test_a_users_container_sees_its_folders_and_its_gpu_and_no_store_credentials() -> None:
    pod = training_job(container_run(), DATA, SETTINGS)["spec"]["template"]["spec"]
    fetch, trainer = pod["initContainers"]
    env = [(e["name"], e["value"]) for e in trainer["env"]]
    assert sorted(env) == [
        ("HOME", "/tmp"),
        ("SEED", "1"),
        ("TIDEMILL_INPUT", "/tidemill/work/input"),
        ("TIDEMILL_OUTPUT", "/tidemill/work/output"),
    ]
    assert trainer["envFrom"] == [{"secretRef": {"name": "wandb"}}]
    assert trainer["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": "1"}
    assert [m["mountPath"] for m in trainer["volumeMounts"]] == ["/tidemill/work", "/tmp"]
    for other in (fetch, *pod["containers"]):
        assert other["resources"]["limits"] == {"memory": "8Gi"}
        assert not _volumes_at(other, "/tmp") & _volumes_at(trainer, "/tmp"), "the task's working directory is its own"
    assert _volumes_at(trainer, "/tmp") <= {v["name"] for v in pod["volumes"]}


def _volumes_at(container: dict[str, Any], path: str) -> set[str]:
    return {m["name"] for m in container["volumeMounts"] if m["mountPath"] == path}


def test_the_failure_policy_names_every_container() -> None:
    rules = training_job(container_run(), DATA, SETTINGS)["spec"]["podFailurePolicy"]["rules"]
    assert [r["onExitCodes"]["containerName"] for r in rules[1:]] == ["fetch", "trainer", "task"]


def test_a_run_has_one_job_name_whatever_its_generation() -> None:
    first = training_job(run(), DATA, SETTINGS)
    meta = run().metadata.model_copy(update={"generation": 9})
    later = training_job(run(suspend=True).model_copy(update={"metadata": meta}), DATA, SETTINGS)
    assert first["metadata"]["name"] == later["metadata"]["name"]
    task = TASK.validate_json(first["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK])
    assert isinstance(task, TrainModel)
    assert task.task == "Regression"
    assert task.model_root == "s3://tidemill/ml/models/delay/first-01234567"


def test_a_version_carries_its_whole_lineage() -> None:
    made = model_version(container_run(), version=7, artifact=MODEL, dataset=DATA, settings=SETTINGS)
    version = ModelVersion.model_validate(made)
    origin = version.spec.origin
    assert made["metadata"]["name"] == "delay-v7"
    assert (version.spec.artifact.uri, version.spec.artifact.digest) == (MODEL.uri, MODEL.digest)
    assert (origin.training_run, origin.training_run_uid) == ("first", "0123456789")
    assert (origin.dataset, origin.dataset_uri, origin.dataset_digest) == ("flights", DATA.uri, DATA.digest)
    assert origin.image == "ours:1"
    assert origin.config_digest == config_digest(container_run().spec)
    assert version.spec.promoted_by is None


def test_the_configuration_is_what_decides_the_outcome() -> None:
    base = config_digest(run().spec)
    assert config_digest(run(suspend=True, job={"backoffLimit": 9}).spec) == base
    assert config_digest(run(trainer={"tabularRegression": {"target": "arr_delay", "epochs": 3}}).spec) != base
    assert config_digest(run(source="weather").spec) != base


def test_names_of_versions_fit() -> None:
    long = {version_name("m" * 63, n) for n in (1, 2, 1000)}
    assert len(long) == 3
    assert all(len(name) <= NAME_LIMIT for name in long)
