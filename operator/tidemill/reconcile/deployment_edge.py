"""Deployment, mode Edge: a bundle for devices is published to the store whenever the model's version changes."""

from __future__ import annotations

from tidemill.api.v1alpha1.common import ArtifactStatus
from tidemill.api.v1alpha1.deployment import Deployment, Edge
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.build.job import task_job
from tidemill.contract.layout import join, namespace_root
from tidemill.contract.reasons import FailureReason, Reason
from tidemill.contract.results import BatchResult, EdgeResult
from tidemill.contract.tasks import ArtifactRef, PublishEdge
from tidemill.reconcile.artifacts import Waiting
from tidemill.reconcile.deployment_task import Work, carry_out, wait
from tidemill.reconcile.observed import Context, Observed
from tidemill.reconcile.plan import Plan
from tidemill.reconcile.retry import retriable, retry_of
from tidemill.reconcile.serving import choose


def reconcile_edge(deployment: Deployment, edge: Edge, observed: Observed, context: Context) -> Plan:
    """One pass over an edge Deployment."""
    choice, _ = choose(deployment, observed)
    if choice.version is None:
        return wait(deployment, context, reason=choice.reason, message=choice.message)
    version, meta, settings = choice.version, deployment.metadata, context.settings
    export = accepted_export(version, edge.export)
    if isinstance(export, Waiting):
        return wait(deployment, context, reason=export.reason, message=export.message, stalled=export.stalled)
    task = PublishEdge(
        owner=deployment.ref,
        model=version.spec.model,
        version=version.spec.version,
        export=ArtifactRef(uri=export.uri, digest=export.digest),
        format=next(e.format for e in version.spec.export if e.name == edge.export),
        root=join(namespace_root(settings.store.bucket, meta.namespace), "edge", meta.name),
    )
    job = task_job(
        owner=deployment.ref,
        what="publish",
        task=task,
        image=settings.images.worker,
        resources=edge.resources,
        options=edge.job,
        settings=settings,
        retry=retry_of(deployment),
    )
    name = version.metadata.name

    def done(result: BatchResult | EdgeResult) -> str:
        files, size = (result.files, result.size_bytes) if isinstance(result, EdgeResult) else (0, 0)
        return f"export {edge.export} of {name} is published: {files} files, {size} bytes"

    doing = f"publishing export {edge.export} of {name}"
    work = Work(version=version, task=task, job=job, doing=doing, done=done, result=EdgeResult)
    return carry_out(deployment, work, observed, context)


def accepted_export(version: ModelVersion, wanted: str) -> ArtifactStatus | Waiting:
    """The artifact of the version's export of this name, or what is waited for."""
    name = version.metadata.name
    if not any(e.name == wanted for e in version.spec.export):
        return Waiting(
            reason=Reason.NOT_FOUND,
            message=f"spec.edge.export: {name} has no export {wanted}: add it to spec.export of the ModelVersion, or "
            "name another one",
            stalled=True,
        )
    found = next((e for e in version.status.exports if e.name == wanted), None)
    if found is None or found.state in ("Pending", "Running"):
        return Waiting(reason=Reason.WAITING_FOR_MODEL, message=f"export {wanted} of {name} is being made")
    if found.state == "Accepted" and found.artifact:
        return found.artifact
    said = f": {found.message}" if found.message else ""
    if found.state == "Rejected":
        text = f"export {wanted} of {name} differs too much from the model{said}"
        return Waiting(reason=Reason.TOLERANCE_EXCEEDED, message=text, stalled=True)
    text = retriable(f"export {wanted} of {name} could not be made{said}", version)
    return Waiting(reason=FailureReason.CONTAINER_FAILED, message=text, stalled=True)
