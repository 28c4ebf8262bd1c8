"""The first half of a retraining: the Dataset, the TrainingRun, and the ModelVersion that it leaves."""

from __future__ import annotations

from typing import Any, TypeVar

from tidemill.api.base import Resource
from tidemill.api.v1alpha1.dataset import Dataset, DatasetStatus
from tidemill.api.v1alpha1.trainingrun import TrainingRun
from tidemill.build.retraining import attempt_name, challenger_run, retraining_dataset
from tidemill.contract.reasons import FailureReason, Reason
from tidemill.reconcile.artifacts import Waiting, dataset_artifact
from tidemill.reconcile.attempt import Scene, Step, enter, fail, stay
from tidemill.reconcile.conditions import READY, STALLED, is_current, is_true
from tidemill.reconcile.observed import Object
from tidemill.reconcile.plan import Child, Manifest
from tidemill.reconcile.podstate import containers
from tidemill.reconcile.retry import cause_of
from tidemill.reconcile.typed import typed
from tidemill.reconcile.workload import pods_of, workloads

ResourceT = TypeVar("ResourceT", bound=Resource[Any, Any])


def preparing(scene: Scene) -> Step:
    """Make the Dataset and wait for its version."""
    name = attempt_name(scene.policy.metadata.name, scene.attempt.number)
    found = scene.observed.get("Dataset", scene.namespace, name)
    if found is None:
        manifest = _dataset(scene)
        if isinstance(manifest, Waiting):
            return stay(scene, manifest.message)
        return stay(scene, f"Dataset {name} is being prepared", children=(Child(manifest=manifest, mode="create"),))
    if not scene.is_mine(found):
        return _taken(scene, "Dataset", found)
    dataset = typed(Dataset, found)
    if failure := _stalled(dataset):
        return fail(scene, failure[0], f"Dataset {name}: {failure[1]}")
    if not is_current(dataset.status, dataset.metadata.generation) or dataset.status.digest is None:
        return stay(scene, f"Dataset {name} is being prepared")
    rows = dataset.status.rows or 0
    return enter(
        scene, "Training", f"on {rows} rows of Dataset {name}", update={"dataset_digest": dataset.status.digest}
    )


def training(scene: Scene) -> Step:
    """Make the TrainingRun and wait for its ModelVersion."""
    name = attempt_name(scene.policy.metadata.name, scene.attempt.number)
    found = scene.observed.get("TrainingRun", scene.namespace, name)
    if not ((found or {}).get("status") or {}).get("datasetUri") and (lost := _dataset_lost(scene)):
        return fail(scene, Reason.NOT_FOUND, lost)
    if found is None:
        template = scene.observed.get("TrainingRun", scene.namespace, scene.retrain.template)
        if template is None:
            return stay(scene, f"waiting for the template: there is no TrainingRun {scene.retrain.template}")
        spec = typed(TrainingRun, template).spec
        manifest = challenger_run(scene.policy, scene.retrain, scene.attempt, spec)
        return stay(scene, f"TrainingRun {name} trains", children=(Child(manifest=manifest, mode="create"),))
    if not scene.is_mine(found):
        return _taken(scene, "TrainingRun", found)
    run = typed(TrainingRun, found)
    started = scene.attempt.training_started_at or _training_since(scene, found)
    update: dict[str, object] = {} if started is None else {"training_started_at": started}
    if failure := _stalled(run):
        return fail(scene, failure[0], f"TrainingRun {name}: {failure[1]}")
    version = run.status.model_version
    if not is_true(run.status, READY) or version is None:
        step = stay(scene, f"TrainingRun {name} trains")
        return Step(attempt=step.attempt.model_copy(update=update))
    return enter(scene, "Verifying", f"{version.name} of TrainingRun {name}", update={"challenger": version, **update})


def verifying(scene: Scene) -> Step:
    """Wait until the challenger is verified and its variants are made, then fix the champion that it meets."""
    challenger = scene.version(scene.attempt.challenger)
    if challenger is None:
        name = scene.attempt.challenger.name if scene.attempt.challenger else "the challenger"
        return fail(scene, Reason.NOT_FOUND, f"ModelVersion {name} was deleted before it was compared")
    name = challenger.metadata.name
    if failure := _stalled(challenger):
        return fail(scene, failure[0], f"ModelVersion {name}: {failure[1]}")
    ready = challenger.status.condition(READY)
    if ready is None or not (ready.status == "True" or ready.reason == Reason.WAITING_FOR_APPROVAL):
        return stay(scene, f"ModelVersion {name} is being verified")
    # The comparison needs no server: a champion that none can load just now is compared as well.
    champion = scene.serving or scene.attempt.champion
    if champion is None or scene.version(champion) is None:
        missing = f"ModelVersion {champion.name}, the champion, was deleted" if champion else "there was no champion"
        return fail(
            scene, Reason.NOT_FOUND, f"{missing}, and Deployment {scene.policy.spec.deployment} serves no other version"
        )
    return enter(scene, "Comparing", f"{name} with {champion.name}", update={"champion": champion})


def _dataset_lost(scene: Scene) -> str | None:
    """Why a run that has not begun yet never will: the version that was prepared for it is gone."""
    found = dataset_artifact(
        scene.observed,
        namespace=scene.namespace,
        name=attempt_name(scene.policy.metadata.name, scene.attempt.number),
        digest=scene.attempt.dataset_digest,
        field="the retraining's Dataset was deleted before it was trained on",
    )
    return found.message if isinstance(found, Waiting) else None


def _dataset(scene: Scene) -> Manifest | Waiting:
    """The Dataset's manifest; the base's version is the newest one of this moment, and stays it."""
    retrain = scene.retrain
    digest, rows = None, 0
    if retrain.base:
        base = dataset_artifact(
            scene.observed,
            namespace=scene.namespace,
            name=retrain.base,
            digest=None,
            field="spec.action.retrain.base",
        )
        if isinstance(base, Waiting):
            return base
        found = scene.observed.get("Dataset", scene.namespace, retrain.base) or {}
        digest, rows = base.digest, DatasetStatus.model_validate(found.get("status") or {}).rows or 0
    created = scene.deployment.metadata.creation_timestamp if scene.deployment else None
    return retraining_dataset(
        scene.policy, retrain, scene.attempt, base_digest=digest, base_rows=rows, deployed_at=created
    )


def _stalled(resource: ResourceT) -> tuple[str, str] | None:
    """Reason and message when a child will not get any further."""
    stalled = resource.status.condition(STALLED)
    if stalled is None or stalled.status != "True" or stalled.observed_generation < resource.metadata.generation:
        return None
    return stalled.reason, cause_of(stalled.message)


def _taken(scene: Scene, kind: str, found: Object) -> Step:
    """The child's name belongs to somebody else; an earlier policy of this name is only being cleared away."""
    meta = found["metadata"]
    references = meta.get("ownerReferences") or ()
    if any(r.get("kind") == "DriftPolicy" and r.get("name") == scene.policy.metadata.name for r in references):
        return stay(scene, f"waiting until {kind} {meta['name']} of the policy's predecessor is deleted", recheck=5.0)
    return fail(
        scene,
        FailureReason.INVALID_TASK,
        f"{kind} {meta['name']} exists and is not this policy's: delete or rename it, retrainings take that name",
    )


def _training_since(scene: Scene, run: Object) -> str | None:
    """When the first training pod ran, as soon as there is one."""
    started = [
        str(since)
        for job in workloads(run["metadata"]["uid"], scene.observed)
        for pod in pods_of(job, scene.observed)
        for container in containers(pod)
        for state in (container.get("state") or {}).values()
        if (since := (state or {}).get("startedAt"))
    ]
    return min(started, default=None)
