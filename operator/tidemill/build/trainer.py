"""The Job that trains: a built-in trainer in one container, or a user's image between fetching the data and publishing.

For a container trainer the pod runs three containers one after the other: init container `fetch` (downloads the verified
dataset), init container `trainer` (the user's image, with its accelerator and without any store credential), and `task`
(evaluates `model.onnx` and stores it; without the two before it, it finds what it stored earlier). The user's image finds
`$TIDEMILL_INPUT` and `$TIDEMILL_OUTPUT`; it may write to its own root file system as far as a user without privileges
can. `/tmp` is the working directory of `task`, which has the store's credentials, so the user's image has a `/tmp` of its
own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.api.v1alpha1.common import Resources
from tidemill.api.v1alpha1.trainingrun import TrainingRun, TrainingRunSpec
from tidemill.build.job import job_shape, task_job
from tidemill.build.pod import WORK_DIR, container_security, resource_requirements, worker_container
from tidemill.build.settings import BuildSettings
from tidemill.contract.layout import model_root, run_root
from tidemill.contract.names import GROUP, LABEL_MODEL
from tidemill.contract.tasks import ArtifactRef, FetchDataset, ObjectRef, PublishModel, TrainModel
from tidemill.contract.training import Checkpoint, ContainerTrainer, TabularTrainer

Manifest = dict[str, Any]

ANNOTATION_FETCH = f"{GROUP}/fetch-task"
"""On the pod of a container trainer: the task of its first init container, a file /etc/tidemill/fetch-task."""
ANNOTATION_DATASET, ANNOTATION_DATASET_URI = f"{GROUP}/dataset-digest", f"{GROUP}/dataset-uri"
"""On a run's Job: the dataset version that it trains on."""
FETCH_CONTAINER, TRAINER_CONTAINER = "fetch", "trainer"
USER_TMP = "trainer-tmp"
INPUT_DIR, OUTPUT_DIR = f"{WORK_DIR}/input", f"{WORK_DIR}/output"
TRAIN_REQUEST = "train"
"""A run asks for one thing only, once: its Job's name follows the run's UID alone."""


def trainer_image(spec: TrainingRunSpec, settings: BuildSettings) -> str:
    """The image that trains, for the lineage."""
    return spec.trainer.container.image if spec.trainer.container else settings.images.trainer


def training_shape(spec: TrainingRunSpec, settings: BuildSettings) -> str:
    """What shapes a run's Job but not its result; a user's image is immutable and so no part of it."""
    return job_shape(
        image=settings.images.worker if spec.trainer.container else settings.images.trainer,
        resources=spec.resources,
        options=spec.job,
        settings=settings,
        placement=spec.placement,
    )


def training_job(run: TrainingRun, dataset: ArtifactRef, settings: BuildSettings, *, stored: bool = False) -> Manifest:
    """The Job of a run on a dataset version. `stored`: the model is in the store already and only its result is missing."""
    owner = run.ref.model_copy(update={"generation": 0})
    if container := run.spec.trainer.container:
        job = _container_job(run, owner, container, dataset, settings, stored=stored)
    else:
        regression, classification = run.spec.trainer.tabular_regression, run.spec.trainer.tabular_classification
        trainer = regression or classification
        assert trainer is not None, "the schema asks for exactly one trainer"
        job = _tabular_job(run, owner, trainer, dataset, settings)
    job["metadata"]["annotations"] |= {ANNOTATION_DATASET: dataset.digest, ANNOTATION_DATASET_URI: dataset.uri}
    return job


def trained_on(job: Mapping[str, Any]) -> ArtifactRef | None:
    """The dataset version that a run's Job trains on, as it says itself."""
    notes = job["metadata"].get("annotations") or {}
    if not {ANNOTATION_DATASET, ANNOTATION_DATASET_URI} <= notes.keys():
        return None
    return ArtifactRef(uri=notes[ANNOTATION_DATASET_URI], digest=notes[ANNOTATION_DATASET])


def model_folder(run: TrainingRun, settings: BuildSettings) -> str:
    """Where the run's model goes in the store."""
    meta = run.metadata
    return model_root(settings.store.bucket, meta.namespace, run.spec.model.name, meta.name, meta.uid)


def _tabular_job(
    run: TrainingRun, owner: ObjectRef, trainer: TabularTrainer, dataset: ArtifactRef, settings: BuildSettings
) -> Manifest:
    meta, spec = run.metadata, run.spec
    task = TrainModel(
        owner=owner,
        task="Regression" if spec.trainer.tabular_regression else "Classification",
        dataset=dataset,
        trainer=trainer,
        checkpoint=spec.checkpoint or Checkpoint(),
        gates=spec.gates,
        run_root=run_root(settings.store.bucket, meta.namespace, meta.name, meta.uid),
        model_root=model_folder(run, settings),
    )
    return task_job(
        owner=owner,
        what="train",
        task=task,
        image=settings.images.trainer,
        resources=spec.resources,
        options=spec.job,
        settings=settings,
        placement=spec.placement,
        labels={LABEL_MODEL: spec.model.name},
        suspend=spec.suspend,
        queue_name=spec.queue_name,
        request=TRAIN_REQUEST,
        shape=training_shape(spec, settings),
    )


def _container_job(
    run: TrainingRun,
    owner: ObjectRef,
    container: ContainerTrainer,
    dataset: ArtifactRef,
    settings: BuildSettings,
    *,
    stored: bool,
) -> Manifest:
    spec = run.spec
    without_gpu = spec.resources.model_copy(update={"gpu": None})
    task = PublishModel(
        owner=owner, dataset=dataset, trainer=container, gates=spec.gates, model_root=model_folder(run, settings)
    )
    fetch = worker_container(
        name=FETCH_CONTAINER,
        image=settings.images.worker,
        resources=without_gpu,
        settings=settings,
        namespace=owner.namespace,
        task_file=ANNOTATION_FETCH.rpartition("/")[2],
        port=False,
    )
    job = task_job(
        owner=owner,
        what="train",
        task=task,
        image=settings.images.worker,
        resources=without_gpu,
        options=spec.job,
        settings=settings,
        placement=spec.placement,
        labels={LABEL_MODEL: spec.model.name},
        suspend=spec.suspend,
        queue_name=spec.queue_name,
        init_containers=() if stored else (fetch, user_container(container, spec.resources, settings)),
        annotations={ANNOTATION_FETCH: FetchDataset(owner=owner, dataset=dataset).to_json()},
        request=TRAIN_REQUEST,
        shape=training_shape(spec, settings),
    )
    job["spec"]["template"]["spec"]["volumes"].append({"name": USER_TMP, "emptyDir": {}})
    return job


def user_container(trainer: ContainerTrainer, resources: Resources, settings: BuildSettings) -> Manifest:
    """The user's own container."""
    fixed = {"TIDEMILL_INPUT": INPUT_DIR, "TIDEMILL_OUTPUT": OUTPUT_DIR}
    env = {"HOME": "/tmp", **{e.name: e.value for e in trainer.env}, **fixed}
    container: Manifest = {
        "name": TRAINER_CONTAINER,
        "image": trainer.image,
        "imagePullPolicy": settings.images.pull_policy,
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "resources": resource_requirements(resources),
        "securityContext": container_security(read_only=False),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "work", "mountPath": WORK_DIR}, {"name": USER_TMP, "mountPath": "/tmp"}],
    }
    if trainer.command is not None:
        container["command"] = list(trainer.command)
    if trainer.args is not None:
        container["args"] = list(trainer.args)
    if trainer.env_from_secret:
        container["envFrom"] = [{"secretRef": {"name": trainer.env_from_secret}}]
    return container
