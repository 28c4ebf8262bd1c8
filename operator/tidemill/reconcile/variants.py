"""Optimised variants and exports of a verified ModelVersion: a Job each, all at once, each with an end of its own.

What has come to an end stays as it is, also when its Job is gone. An accepted or rejected one is made again only when what
is asked of it changes; a failed one also when the version's resources, Job options or retry annotation do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tidemill.api.v1alpha1.common import ArtifactStatus
from tidemill.api.v1alpha1.modelversion import ExportStatus, ModelVersion, VariantStatus
from tidemill.build.job import request_of, shape_of
from tidemill.build.modelversion import version_job
from tidemill.contract.canonical import digest, short
from tidemill.contract.layout import variant_root
from tidemill.contract.optimisation import Export, Optimisation
from tidemill.contract.reasons import Reason
from tidemill.contract.results import ExportResult, VariantResult
from tidemill.contract.tasks import ArtifactRef, ExportModel, OptimiseModel
from tidemill.reconcile.conditions import ConditionSet, shorten
from tidemill.reconcile.jobs import expect, find_job, key_of, read_job
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Key
from tidemill.reconcile.retry import retriable

VARIANTS_READY = "VariantsReady"
ENDED = frozenset({"Accepted", "Rejected", "Failed"})
MESSAGE_LIMIT = 300

ItemT = TypeVar("ItemT", VariantStatus, ExportStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[ItemT]):
    """What one pass makes of one variant or export."""

    item: ItemT
    job: str | None = None
    """Name of the Job that is asked for."""
    children: tuple[Child, ...] = ()
    deletes: tuple[Key, ...] = ()
    recheck: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What all steps of one pass look at."""

    version: ModelVersion
    jobs: Sequence[Object]
    observed: Observed
    context: Context


def optimise(view: View) -> list[Step[VariantStatus]]:
    """One pass over spec.optimise."""
    before = {v.name: v for v in view.version.status.variants}
    return [
        _advance(
            view,
            before.get(item.name) or VariantStatus(name=item.name, state="Pending"),
            optimise_task(view.version, item),
            f"optimise-{item.name}",
        )
        for item in view.version.spec.optimise
    ]


def export(view: View) -> list[Step[ExportStatus]]:
    """One pass over spec.export."""
    before = {e.name: e for e in view.version.status.exports}
    return [
        _advance(
            view,
            before.get(item.name) or ExportStatus(name=item.name, state="Pending"),
            export_task(view.version, item),
            f"export-{item.name}",
        )
        for item in view.version.spec.export
    ]


def optimise_task(version: ModelVersion, item: Optimisation) -> OptimiseModel:
    """The task of a variant; its folder is named after what is asked for, so that equal requests share it."""
    origin, artifact = version.spec.origin, _artifact(version)
    dataset = None
    if origin.dataset_uri and origin.dataset_digest:
        dataset = ArtifactRef(uri=origin.dataset_uri, digest=origin.dataset_digest)
    draft = OptimiseModel(owner=version.ref, artifact=artifact, dataset=dataset, optimisation=item, root="")
    return draft.model_copy(update={"root": variant_root(artifact.uri, item.name, request_of(draft))})


def export_task(version: ModelVersion, item: Export) -> ExportModel:
    """The task of an export."""
    artifact = _artifact(version)
    draft = ExportModel(owner=version.ref, artifact=artifact, export=item, root="")
    return draft.model_copy(update={"root": variant_root(artifact.uri, item.name, request_of(draft))})


def set_variants_ready(
    conditions: ConditionSet, items: Iterable[VariantStatus | ExportStatus], version: ModelVersion
) -> bool:
    """Set VariantsReady, and say whether all variants and exports have come to an end."""
    every = list(items)
    if not every:
        conditions.remove(VARIANTS_READY)
        return True
    words = ", ".join(f"{i.name} {i.state.lower()}" for i in every)
    failed = [i for i in every if i.state == "Failed"]
    rejected = [i for i in every if i.state == "Rejected"]
    if any(i.state not in ENDED for i in every):
        conditions.set(VARIANTS_READY, False, Reason.OPTIMISING, words)
        return False
    if failed:
        reason = failed[0].message.partition(":")[0]
        text = "; ".join(f"{i.name}: {i.message}" for i in (*failed, *rejected))
        conditions.set(VARIANTS_READY, False, reason, retriable(text, version))
    elif rejected:
        text = "; ".join(f"{i.name}: {i.message}" for i in rejected)
        conditions.set(VARIANTS_READY, False, Reason.TOLERANCE_EXCEEDED, text)
    else:
        conditions.set(VARIANTS_READY, True, Reason.VARIANTS_READY, words)
    return True


def _advance(view: View, old: ItemT, task: OptimiseModel | ExportModel, what: str) -> Step[ItemT]:
    """Take one variant or export a step further."""
    context, retry = view.context, view.version.status.retried
    asked = request_of(task)
    tried = _attempt(view.version, asked)
    if old.state in ENDED and old.request == (tried if old.state == "Failed" else asked):
        return Step(item=old)
    job = version_job(view.version, task, what=what, retry=retry, settings=context.settings)
    found = find_job(task, view.jobs, retry=retry).job
    if found is None:
        return Step(item=_pending(old), job=job["metadata"]["name"], children=(Child(manifest=job, mode="create"),))
    name = found["metadata"]["name"]
    outcome = expect(
        read_job(found, view.observed, now=context.now, shape=shape_of(job)),
        VariantResult if isinstance(task, OptimiseModel) else ExportResult,
    )
    result = outcome.result
    if isinstance(result, VariantResult | ExportResult):
        changes = {
            "state": "Accepted" if result.report.accepted else "Rejected",
            "message": shorten(result.report.reason, MESSAGE_LIMIT),
            "artifact": ArtifactStatus(uri=result.artifact.uri, digest=result.artifact.digest),
            "report": result.report,
            "request": asked,
        }
        return Step(item=old.model_copy(update=changes), job=name)
    if outcome.phase == "Failed":
        message = shorten(f"{outcome.reason}: {outcome.message}", MESSAGE_LIMIT)
        failed = {"state": "Failed", "message": message, "artifact": None, "report": None, "request": tried}
        return Step(item=old.model_copy(update=failed), job=name)
    return Step(
        item=_pending(old, running=outcome.phase == "Running", message=outcome.warning or ""),
        job=name,
        deletes=(key_of(found),) if outcome.phase == "Lost" else (),
        recheck=outcome.recheck,
    )


def _attempt(version: ModelVersion, asked: str) -> str:
    """The id of one try: a failed one stands until this changes."""
    spec, retried = version.spec, version.status.retried
    parts = [asked, spec.resources.model_dump(mode="json"), spec.job.model_dump(mode="json")]
    if retried:
        parts.append(retried)
    return short(digest(parts))


def _pending(old: ItemT, *, running: bool = False, message: str = "") -> ItemT:
    return old.model_copy(
        update={
            "state": "Running" if running else "Pending",
            "message": shorten(message, MESSAGE_LIMIT),
            "artifact": None,
            "report": None,
            "request": "",
        }
    )


def _artifact(version: ModelVersion) -> ArtifactRef:
    artifact = version.spec.artifact
    return ArtifactRef(uri=artifact.uri, digest=artifact.digest)
