"""Deployment, mode Batch: a Dataset is scored to parquet, again whenever the model's version or the Dataset's changes."""

from __future__ import annotations

from tidemill.api.v1alpha1.deployment import Batch, Deployment
from tidemill.build.job import task_job
from tidemill.build.trainer import ANNOTATION_DATASET
from tidemill.contract.layout import batch_root
from tidemill.contract.results import BatchResult, EdgeResult
from tidemill.contract.tasks import ArtifactRef, ScoreBatch
from tidemill.reconcile.artifacts import Waiting, dataset_artifact
from tidemill.reconcile.deployment_task import Work, carry_out, wait
from tidemill.reconcile.observed import Context, Observed
from tidemill.reconcile.plan import Plan
from tidemill.reconcile.retry import retry_of
from tidemill.reconcile.serving import choose


def reconcile_batch(deployment: Deployment, batch: Batch, observed: Observed, context: Context) -> Plan:
    """One pass over a batch Deployment."""
    choice, _ = choose(deployment, observed)
    if choice.version is None:
        return wait(deployment, context, reason=choice.reason, message=choice.message)
    meta, settings = deployment.metadata, context.settings
    dataset = dataset_artifact(
        observed, namespace=meta.namespace, name=batch.dataset, digest=None, field="spec.batch.dataset"
    )
    if isinstance(dataset, Waiting):
        return wait(deployment, context, reason=dataset.reason, message=dataset.message, stalled=dataset.stalled)
    artifact = choice.version.spec.artifact
    task = ScoreBatch(
        owner=deployment.ref,
        artifact=ArtifactRef(uri=artifact.uri, digest=artifact.digest),
        dataset=dataset,
        splits=batch.splits,
        root=batch_root(settings.store.bucket, meta.namespace, meta.name),
    )
    job = task_job(
        owner=deployment.ref,
        what="score",
        task=task,
        image=settings.images.worker,
        resources=batch.resources,
        options=batch.job,
        settings=settings,
        placement=batch.placement,
        retry=retry_of(deployment),
    )
    job["metadata"]["annotations"][ANNOTATION_DATASET] = dataset.digest
    name = choice.version.metadata.name

    def done(result: BatchResult | EdgeResult) -> str:
        rows = result.rows if isinstance(result, BatchResult) else 0
        return f"{name} has scored {rows} rows of Dataset {batch.dataset}"

    doing = f"scoring Dataset {batch.dataset} with {name}"
    work = Work(version=choice.version, task=task, job=job, doing=doing, done=done, result=BatchResult)
    return carry_out(deployment, work, observed, context)
