"""The Job that trains: a built-in trainer in one container, or a user's own code (see own_code.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.api.v1alpha1.trainingrun import TrainingRun, TrainingRunSpec
from tidemill.build.distribution import distribute
from tidemill.build.indexed import index_job
from tidemill.build.job import job_shape, task_job
from tidemill.build.jobset import distributed_jobset
from tidemill.build.own_code import own_code_job, publishing
from tidemill.build.search import begun_with, searching
from tidemill.build.settings import BuildSettings
from tidemill.contract.canonical import digest, short
from tidemill.contract.checkpoint import Checkpoint
from tidemill.contract.distribution import Distribution
from tidemill.contract.layout import model_root, run_root
from tidemill.contract.names import GROUP, LABEL_MODEL
from tidemill.contract.tasks import (
    ArtifactRef,
    BaseTask,
    ModelRef,
    ObjectRef,
    PublishModel,
    SearchModel,
    TrainingTask,
    TrainLanguageModel,
    TrainModel,
)
from tidemill.contract.tracking import MLFLOW_KEYS, Tracking

Manifest = dict[str, Any]

ANNOTATION_DATASET, ANNOTATION_DATASET_URI = f"{GROUP}/dataset-digest", f"{GROUP}/dataset-uri"
"""On a run's Job: the dataset version that it trains on; on a batch's: the one that it scores."""
TRAIN_REQUEST = "train"
"""A run asks for one thing only, once: its Job's name follows the run's UID alone."""


def trainer_image(spec: TrainingRunSpec, settings: BuildSettings) -> str:
    """The image that trains, for the lineage."""
    own = spec.trainer.own
    return (own.image if own else None) or _image(spec, settings)


def _image(spec: TrainingRunSpec, settings: BuildSettings) -> str:
    """Of our own images the one that trains."""
    return settings.images.language if spec.trainer.transforms else settings.images.trainer


def training_task(spec: TrainingRunSpec) -> type[BaseTask]:
    """What the run's Job does."""
    if spec.trainer.own:
        return PublishModel
    if spec.trainer.language:
        return TrainLanguageModel
    return SearchModel if spec.search or spec.trainer.automatic else TrainModel


def training_shape(spec: TrainingRunSpec, settings: BuildSettings) -> str:
    """What shapes a run's Job but not its result; a user's image is immutable and so no part of it."""
    own = spec.trainer.own
    image = _image(spec, settings) if own is None else settings.images.worker
    shape = job_shape(
        image=image if own is None or own.image else f"{image} {settings.images.trainer}",
        resources=spec.resources,
        options=spec.job,
        settings=settings,
        placement=spec.placement,
    )
    return short(digest([shape, _described(spec.distribution)])) if spec.distribution else shape


def _described(distribution: Distribution) -> dict[str, Any]:
    """Without a JobSet as it was before there was one: Jobs that wait in a queue keep their place over an upgrade."""
    return distribution.model_dump(mode="json", exclude=None if distribution.job_set else {"job_set"})


def training_job(
    run: TrainingRun,
    dataset: ArtifactRef,
    settings: BuildSettings,
    *,
    production: ModelRef | None = None,
    base: ModelRef | None = None,
    stored: bool = False,
) -> Manifest:
    """The Job of a run on a dataset version, or the JobSet around it.

    `production` is what the new model is judged beside, `base` whose weights it begins with; `stored`: the model is in the
    store already and only its result is missing.
    """
    owner = run.ref.model_copy(update={"generation": 0})
    if own := run.spec.trainer.own:
        roots = {"run_root": run_folder(run, settings), "model_root": model_folder(run, settings)}
        publish = publishing(run, owner, own, dataset, production=production, **roots)
        shape = training_shape(run.spec, settings)
        job = own_code_job(run, publish, settings, request=TRAIN_REQUEST, shape=shape, stored=stored)
    else:
        task = _training(run, owner, dataset, settings, production=production, base=base)
        job = _built_in_job(run, owner, task, settings)
    job["metadata"]["annotations"] |= {ANNOTATION_DATASET: dataset.digest, ANNOTATION_DATASET_URI: dataset.uri}
    if run.spec.distribution is None or stored:
        return job
    if run.spec.distribution.job_set is not None:
        return distributed_jobset(job, run.spec.distribution, run.spec.distribution.job_set, settings)
    distribute(job, run.spec.distribution, settings)
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


def run_folder(run: TrainingRun, settings: BuildSettings) -> str:
    """Where the run's metrics and checkpoints go in the store."""
    meta = run.metadata
    return run_root(settings.store.bucket, meta.namespace, meta.name, meta.uid)


def _training(
    run: TrainingRun,
    owner: ObjectRef,
    dataset: ArtifactRef,
    settings: BuildSettings,
    *,
    production: ModelRef | None,
    base: ModelRef | None,
) -> TrainingTask:
    """What a built-in trainer is asked for."""
    spec, root = run.spec, run_folder(run, settings)
    if spec.trainer.language:
        name, language = spec.trainer.language
        return TrainLanguageModel(
            owner=owner,
            dataset=dataset,
            family=name,
            trainer=language,
            base=base,
            checkpoint=spec.checkpoint or Checkpoint(),
            gates=spec.gates,
            evaluation=spec.evaluation,
            tracking=spec.tracking,
            run_root=root,
            model_root=model_folder(run, settings),
        )
    auto, task = spec.trainer.automatic, spec.trainer.task
    built_in = begun_with(auto) if auto else spec.trainer.built_in
    assert built_in is not None, "the schema asks for exactly one trainer"
    assert task is not None, "only language models predict no column"
    family, trainer = built_in
    return TrainModel(
        owner=owner,
        task=task,
        dataset=dataset,
        family=family,
        trainer=trainer,
        checkpoint=spec.checkpoint or Checkpoint(),
        gates=spec.gates,
        evaluation=spec.evaluation,
        production=production,
        base=base,
        tracking=spec.tracking,
        run_root=root,
        model_root=model_folder(run, settings),
    )


def _built_in_job(run: TrainingRun, owner: ObjectRef, task: TrainingTask, settings: BuildSettings) -> Manifest:
    spec = run.spec
    whole, pods = searching(spec, task)
    job = task_job(
        owner=owner,
        what="train",
        task=whole,
        image=_image(spec, settings),
        resources=spec.resources,
        options=spec.job,
        settings=settings,
        placement=spec.placement,
        labels={LABEL_MODEL: spec.model.name},
        secrets=tracking_secrets(spec.tracking),
        suspend=spec.suspend,
        queue_name=spec.queue_name,
        request=TRAIN_REQUEST,
        shape=training_shape(spec, settings),
    )
    if pods > 1:
        index_job(job, pods=pods)
    return job


def tracking_secrets(tracking: Tracking | None) -> dict[str, tuple[str, ...]]:
    """The keys that a tracker reads, by the Secret that the spec names."""
    name = tracking.mlflow.secret_name if tracking is not None else None
    return {} if name is None else {name: MLFLOW_KEYS}
