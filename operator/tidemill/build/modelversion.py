"""The ModelVersion that a finished TrainingRun leaves: numbered within its model, with its lineage; and its own Jobs."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.modelversion import Artifact, ModelVersion, ModelVersionSpec, Origin
from tidemill.api.v1alpha1.trainingrun import TrainingRun, TrainingRunSpec
from tidemill.build.job import task_job
from tidemill.build.metadata import metadata, owner_labels
from tidemill.build.settings import BuildSettings
from tidemill.build.trainer import trainer_image
from tidemill.contract.canonical import digest
from tidemill.contract.names import API_VERSION, LABEL_MODEL, child_name
from tidemill.contract.tasks import ArtifactRef, BaseTask

Manifest = dict[str, Any]


def version_name(model: str, version: int) -> str:
    """The name of a version's object. Its uniqueness is the lock on the number."""
    return child_name(model, f"v{version}")


def config_digest(spec: TrainingRunSpec) -> str:
    """Digest of what decides the training's outcome: dataset, trainer, checkpoint, gates; not where and when it ran."""
    parts = {"dataset", "trainer", "checkpoint", "gates"}
    return digest(spec.model_dump(mode="json", by_alias=True, exclude_none=True, include=parts))


def model_version(
    run: TrainingRun, *, version: int, artifact: ArtifactRef, dataset: ArtifactRef, settings: BuildSettings
) -> Manifest:
    """The manifest of the version that a run made."""
    template = run.spec.model
    spec = ModelVersionSpec(
        model=template.name,
        version=version,
        artifact=Artifact(uri=artifact.uri, digest=artifact.digest),
        origin=Origin(
            training_run=run.metadata.name,
            training_run_uid=run.metadata.uid,
            dataset=run.spec.dataset.name,
            dataset_uri=dataset.uri,
            dataset_digest=dataset.digest,
            image=trainer_image(run.spec, settings),
            code=run.status.code,
            config_digest=config_digest(run.spec),
        ),
        stage=template.stage,
        promoted_by=f"trainingrun/{run.metadata.name}" if template.stage != "None" else None,
        approval=template.approval,
        optimise=template.optimise,
        export=template.export,
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": metadata(
            name=version_name(template.name, version),
            namespace=run.metadata.namespace,
            labels=owner_labels(run.ref, {LABEL_MODEL: template.name}),
        ),
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def version_job(
    version: ModelVersion, task: BaseTask, *, what: str, retry: str | None, settings: BuildSettings
) -> Manifest:
    """The Job of one of a version's tasks: verification, a variant, an export."""
    spec = version.spec
    return task_job(
        owner=version.ref,
        what=what,
        task=task,
        image=settings.images.worker,
        resources=spec.resources,
        options=spec.job,
        settings=settings,
        placement=spec.placement,
        labels={LABEL_MODEL: spec.model},
        retry=retry,
    )
