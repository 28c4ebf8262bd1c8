"""The Job that judges what a Deployment uses on a version of a Dataset."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.continuous import ContinuousEvaluation
from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.build.job import job_shape, task_job
from tidemill.build.settings import BuildSettings
from tidemill.build.trainer import ANNOTATION_DATASET
from tidemill.contract.canonical import digest, short
from tidemill.contract.evaluating import ReportOptions
from tidemill.contract.layout import evaluation_root
from tidemill.contract.names import GROUP, LABEL_MODEL
from tidemill.contract.tasks import ArtifactRef, EvaluateModel, ModelRef

Manifest = dict[str, Any]

ANNOTATION_SUBJECT = f"{GROUP}/subject"
"""On an evaluation's Job: what is judged and how, whatever version of the Dataset it is judged on."""


def evaluation_task(
    deployment: Deployment,
    evaluation: ContinuousEvaluation,
    version: ModelVersion,
    artifact: ArtifactRef,
    dataset: ArtifactRef,
    settings: BuildSettings,
) -> EvaluateModel:
    """What is asked of the Job. `artifact` is what is in use of the version: the original, or a variant."""
    meta, origin = deployment.metadata, version.spec.origin
    known = origin.dataset_uri and origin.dataset_digest
    options = evaluation.model_dump(include=set(ReportOptions.model_fields))
    return EvaluateModel(
        owner=deployment.ref,
        model=ModelRef(uri=artifact.uri, digest=artifact.digest, name=version.metadata.name),
        dataset=dataset,
        dataset_name=evaluation.dataset,
        trained_on=ArtifactRef(uri=origin.dataset_uri, digest=origin.dataset_digest) if known else None,
        evaluation=ReportOptions.model_validate(options),
        gates=evaluation.gates,
        root=evaluation_root(settings.store.bucket, meta.namespace, meta.name),
    )


def subject_of(task: EvaluateModel) -> str:
    """The id of what is judged and how."""
    document = task.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"owner", "dataset"})
    return short(digest(document))


def evaluation_shape(evaluation: ContinuousEvaluation, settings: BuildSettings) -> str:
    """What shapes the Job's pod but not its result."""
    return job_shape(
        image=settings.images.worker,
        resources=evaluation.resources,
        options=evaluation.job,
        settings=settings,
        placement=evaluation.placement,
    )


def evaluation_job(
    task: EvaluateModel, evaluation: ContinuousEvaluation, model: str, *, retry: str | None, settings: BuildSettings
) -> Manifest:
    """The Job. As long as it runs, the Dataset's retention keeps the version that it names."""
    job = task_job(
        owner=task.owner,
        what="evaluate",
        task=task,
        image=settings.images.worker,
        resources=evaluation.resources,
        options=evaluation.job,
        settings=settings,
        placement=evaluation.placement,
        labels={LABEL_MODEL: model},
        retry=retry,
    )
    job["metadata"]["annotations"] |= {ANNOTATION_DATASET: task.dataset.digest, ANNOTATION_SUBJECT: subject_of(task)}
    return job
