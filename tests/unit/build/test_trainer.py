"""The Job of a run, and the ModelVersion that it leaves. Of a user's own code: test_own_code.py."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tests.property import manifests

from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.api.v1alpha1.trainingrun import TrainingRun
from tidemill.build.modelversion import config_digest, model_version, version_name
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.build.trainer import training_job
from tidemill.contract.names import ANNOTATION_TASK, NAME_LIMIT
from tidemill.contract.tasks import TASK, ArtifactRef, ModelRef, TrainLanguageModel, TrainModel
from tidemill.contract.trainers import BUILT_IN
from tidemill.contract.trainers import LANGUAGE as LANGUAGE_TRAINERS

SETTINGS = BuildSettings(
    images=Images(worker="worker:1", trainer="trainer:1", language="language:1", serving="serving:1"),
    store=Store(bucket="tidemill"),
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


def test_a_tracker_is_part_of_the_task_and_its_credentials_are_files() -> None:
    mlflow = {"uri": "https://mlflow.example.org", "experiment": "delay", "secretName": "mlflow"}
    job = training_job(run(tracking={"mlflow": mlflow}), DATA, SETTINGS)
    template = job["spec"]["template"]
    task = TASK.validate_json(template["metadata"]["annotations"][ANNOTATION_TASK])
    assert isinstance(task, TrainModel)
    assert task.tracking is not None
    assert task.tracking.mlflow.model_dump(by_alias=True) == mlflow
    (secret,) = [s["secret"] for s in template["spec"]["volumes"][0]["projected"]["sources"] if "secret" in s]
    assert secret["name"] == "mlflow"
    assert secret["optional"] is True
    assert [item["path"] for item in secret["items"]] == [
        "secrets/mlflow/MLFLOW_TRACKING_TOKEN",
        "secrets/mlflow/MLFLOW_TRACKING_USERNAME",
        "secrets/mlflow/MLFLOW_TRACKING_PASSWORD",
    ]
    plain = training_job(run(), DATA, SETTINGS)
    assert config_digest(run(tracking={"mlflow": mlflow}).spec) == config_digest(run().spec), "it decides no outcome"
    assert "tracking" not in plain["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK]


def test_every_built_in_trainer_becomes_a_task_of_its_family() -> None:
    trainers = {
        "tabularRegression": ("tabular", "Regression", {}),
        "tabularClassification": ("tabular", "Classification", {}),
        "boostedRegression": ("boosted", "Regression", {}),
        "boostedClassification": ("boosted", "Classification", {}),
        "forecasting": ("forecasting", "Forecasting", {"time": "hour", "frequency": "1h", "horizon": 24}),
        "imageClassification": ("image", "Classification", {"image": "picture"}),
    }
    for name, (family, kind, more) in trainers.items():
        made = run(
            trainer={name: {"target": "arr_delay", "learningRate": 0.25, **more}},
            template={"optimise": [], "export": []},
        )
        template = training_job(made, DATA, SETTINGS)["spec"]["template"]
        task = TASK.validate_json(template["metadata"]["annotations"][ANNOTATION_TASK])
        assert isinstance(task, TrainModel)
        assert (task.family, task.task, task.field) == (family, kind, f"spec.trainer.{name}")
        assert type(task.trainer) is BUILT_IN[task.family]
        assert task.trainer.learning_rate == 0.25
        assert made.spec.trainer.task == kind
        assert template["spec"]["containers"][0]["image"] == "trainer:1"


TEXT = {"base": {"scratch": {"width": 32}}, "text": "body", "target": "topic"}
LANGUAGE = {"base": {"modelVersion": "answers-v1"}, "prompt": "question", "completion": "answer"}
PREFERENCE = {"base": {"modelVersion": "answers-v1"}, "prompt": "question", "chosen": "better", "rejected": "worse"}


def transformer_run(name: str, trainer: dict[str, Any]) -> TrainingRun:
    return run(trainer={name: trainer}, template={"optimise": [], "export": []})


def task_of(job: dict[str, Any]) -> Any:
    return TASK.validate_json(job["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK])


def test_transformers_are_trained_in_an_image_of_their_own() -> None:
    made = transformer_run("textClassification", TEXT)
    job = training_job(made, DATA, SETTINGS)
    task = task_of(job)
    assert isinstance(task, TrainModel)
    assert (task.family, task.task, task.field) == ("text", "Classification", "spec.trainer.textClassification")
    assert task.trainer.text == "body"
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "language:1"
    assert made.spec.trainer.task == "Classification"
    assert made.spec.trainer.base_version is None
    version = model_version(made, version=1, artifact=MODEL, dataset=DATA, settings=SETTINGS)
    assert version["spec"]["origin"]["image"] == "language:1"


def test_language_models_begin_with_the_version_that_the_spec_names() -> None:
    base = ModelRef(name="answers-v1", uri=MODEL.uri, digest=MODEL.digest)
    for name, trainer in (("languageModel", LANGUAGE), ("preference", PREFERENCE)):
        made = transformer_run(name, trainer)
        assert made.spec.trainer.base_version == (f"spec.trainer.{name}.base.modelVersion", "answers-v1")
        assert made.spec.trainer.task is None
        job = training_job(made, DATA, SETTINGS, base=base)
        task = task_of(job)
        assert isinstance(task, TrainLanguageModel)
        assert (task.family, task.field, task.base) == (name, f"spec.trainer.{name}", base)
        assert type(task.trainer) is LANGUAGE_TRAINERS[name]
        assert job["metadata"]["labels"]["tidemill.dev/task"] == "TrainLanguageModel"
        assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "language:1"
        assert len(job["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK]) < 10_000


@pytest.mark.parametrize(
    ("name", "trainer", "words"),
    [
        ("textClassification", {**TEXT, "base": {}}, "set exactly one of"),
        ("textClassification", {**TEXT, "base": {"scratch": {}, "modelVersion": "a-v1"}}, "set exactly one of"),
        ("textClassification", {**TEXT, "base": {"scratch": {"width": 20}}}, "even multiple of heads"),
        ("languageModel", {**LANGUAGE, "text": "body"}, "set text alone, or prompt and completion"),
        ("languageModel", {**LANGUAGE, "base": {"scratch": {}}, "lora": {}}, "lora has no effect on random weights"),
        ("preference", {**PREFERENCE, "base": {"scratch": {}}}, "set exactly one of"),
        ("preference", {**PREFERENCE, "beta": 0}, "greater than 0"),
    ],
)
def test_trainers_of_transformers_that_make_no_sense(name: str, trainer: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        transformer_run(name, trainer)


def test_a_retraining_by_trees_is_judged_by_the_metrics_of_their_task() -> None:
    for trainer, kind in (("boostedRegression", "Regression"), ("boostedClassification", "Classification")):
        assert run(trainer={trainer: {"target": "late"}}).spec.trainer.task == kind
    assert container_run().spec.trainer.task == "Regression"
    assert run(trainer={"container": {**CONTAINER, "task": "Classification"}}).spec.trainer.task == "Classification"


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


def test_a_version_names_the_code_that_trained_it() -> None:
    script = run(trainer={"script": {"configMap": {"name": "training"}, "target": "arr_delay"}})
    ran = script.model_copy(update={"status": script.status.model_copy(update={"code": "sha256:" + "c" * 64})})
    origin = model_version(ran, version=1, artifact=MODEL, dataset=DATA, settings=SETTINGS)["spec"]["origin"]
    assert (origin["image"], origin["code"]) == ("trainer:1", "sha256:" + "c" * 64)


def test_the_configuration_is_what_decides_the_outcome() -> None:
    base = config_digest(run().spec)
    assert config_digest(run(suspend=True, job={"backoffLimit": 9}).spec) == base
    assert config_digest(run(trainer={"tabularRegression": {"target": "arr_delay", "epochs": 3}}).spec) != base
    assert config_digest(run(source="weather").spec) != base


def test_names_of_versions_fit() -> None:
    long = {version_name("m" * 63, n) for n in (1, 2, 1000)}
    assert len(long) == 3
    assert all(len(name) <= NAME_LIMIT for name in long)
