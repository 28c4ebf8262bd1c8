"""The second half of a retraining: champion and challenger on the newest labelled rows, the gate, and the promotion."""

from __future__ import annotations

import math

from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.build.job import shape_of, task_job
from tidemill.contract.layout import drift_root, join
from tidemill.contract.names import API_VERSION, PROMOTION_MANAGER
from tidemill.contract.reasons import Reason
from tidemill.contract.results import CompareResult
from tidemill.contract.tasks import ArtifactRef, CompareModels
from tidemill.reconcile.artifacts import Waiting, dataset_artifact
from tidemill.reconcile.attempt import Scene, Step, end, enter, fail, stay
from tidemill.reconcile.jobs import expect, find_job, key_of, read_job
from tidemill.reconcile.plan import Child, Patch
from tidemill.reconcile.policies.promotion import awaits_approval, judge_challenger
from tidemill.reconcile.policies.variant import ORIGINAL, ServedArtifact, choose_artifact

PRODUCTION = "Production"


def comparing(scene: Scene) -> Step:
    """Run the comparison, and do what its result says."""
    challenger = scene.version(scene.attempt.challenger)
    if challenger is None or not _promoted(scene, challenger):
        return _champion_changed(scene) or _compare(scene)
    step = _compare(scene)
    if step.attempt.phase != "Failed":
        return step
    return _promote(scene, challenger, f"{challenger.metadata.name} was promoted; its scores cannot be read any more")


def _compare(scene: Scene) -> Step:
    champion, challenger = scene.version(scene.attempt.champion), scene.version(scene.attempt.challenger)
    if champion is None or challenger is None:
        return _gone(scene, "champion" if champion is None else "challenger")
    task = _task(scene, champion, challenger)
    if isinstance(task, Waiting):
        return fail(scene, Reason.NOT_FOUND, task.message)
    lookup = find_job(task, scene.observed.owned(scene.policy.metadata.uid, "Job"))
    stale = tuple(key_of(job) for job in lookup.others)
    names = f"{_title(scene, challenger)} with {_title(scene, champion)}"
    settings, retrain = scene.context.settings, scene.retrain
    job = task_job(
        owner=scene.policy.ref,
        what="compare",
        task=task,
        image=settings.images.worker,
        resources=retrain.resources,
        options=retrain.job,
        settings=settings,
    )
    if lookup.job is None:
        return stay(scene, f"comparing {names}", children=(Child(manifest=job, mode="create"),), deletes=stale)
    shape = shape_of(job)
    outcome = expect(read_job(lookup.job, scene.observed, now=scene.context.now, shape=shape), CompareResult)
    if outcome.phase == "Failed":
        return fail(scene, outcome.reason, f"comparing {names}: {outcome.message}")
    if outcome.phase == "Lost":
        return stay(scene, outcome.message, deletes=(*stale, key_of(lookup.job)))
    if isinstance(outcome.result, CompareResult):
        return _gate(scene, outcome.result, champion, challenger)
    message = f"comparing {names}" + (f": {outcome.warning}" if outcome.warning else "")
    return stay(scene, message, deletes=stale, recheck=outcome.recheck)


def awaiting_approval(scene: Scene) -> Step:
    """Wait for a person's word on the challenger's ModelVersion."""
    challenger = scene.version(scene.attempt.challenger)
    promoted = challenger is not None and _promoted(scene, challenger)
    if not promoted and (changed := _champion_changed(scene)):
        return changed
    if challenger is None:
        return _gone(scene, "challenger")
    if challenger.spec.stage == "Archived":
        message = f"{challenger.metadata.name} was archived instead of approved"
        return end(scene, "Kept", Reason.GATE_PASSED, message)
    if awaits_approval(challenger):
        return stay(scene, scene.attempt.message)
    by = challenger.spec.approval.approved_by or "nobody needs to"
    return _promote(scene, challenger, f"{challenger.metadata.name} was approved by {by}")


def promotion_patch(scene: Scene, challenger: ModelVersion) -> tuple[Patch, ...]:
    """What asks for Production on the challenger's behalf; nothing when it is asked for already."""
    if _promoted(scene, challenger):
        return ()
    meta = challenger.metadata
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": meta.name, "namespace": meta.namespace},
        "spec": {"stage": PRODUCTION, "promotedBy": _promoter(scene)},
    }
    return (Patch(manifest=manifest, field_manager=PROMOTION_MANAGER),)


def _promoter(scene: Scene) -> str:
    return f"driftpolicy/{scene.policy.metadata.name}#{scene.attempt.number}"


def _promoted(scene: Scene, challenger: ModelVersion) -> bool:
    """Whether this attempt has promoted it: an operator may die, or be too slow, between that and the status."""
    return (challenger.spec.stage, challenger.spec.promoted_by) == (PRODUCTION, _promoter(scene))


def _task(scene: Scene, champion: ModelVersion, challenger: ModelVersion) -> CompareModels | Waiting:
    dataset = dataset_artifact(
        scene.observed,
        namespace=scene.namespace,
        name=scene.attempt.dataset or "",
        digest=scene.attempt.dataset_digest,
        field="the retraining's Dataset",
    )
    if isinstance(dataset, Waiting):
        return dataset
    root = drift_root(scene.context.settings.store.bucket, scene.namespace, scene.policy.metadata.name)
    return CompareModels(
        owner=scene.policy.ref,
        champion=_artifact(scene, champion),
        challenger=_artifact(scene, challenger),
        dataset=dataset,
        metric=scene.attempt.metric or scene.retrain.gate.metric,
        root=join(root, str(scene.attempt.number)),
    )


def _wanted(scene: Scene) -> str:
    online = scene.deployment.spec.online if scene.deployment else None
    return online.variant if online else ORIGINAL


def _served(scene: Scene, version: ModelVersion) -> ServedArtifact:
    """What the Deployment serves, or would serve, of a version: that is what must be better."""
    return choose_artifact(version, _wanted(scene))


def _artifact(scene: Scene, version: ModelVersion) -> ArtifactRef:
    artifact = _served(scene, version).artifact
    return ArtifactRef(uri=artifact.uri, digest=artifact.digest)


def _title(scene: Scene, version: ModelVersion) -> str:
    """The version's name, and which of its artifacts it is where the Deployment asks for a variant."""
    name = version.metadata.name
    return name if _wanted(scene) == ORIGINAL else f"{name} ({_served(scene, version).variant})"


def _gate(scene: Scene, result: CompareResult, champion: ModelVersion, challenger: ModelVersion) -> Step:
    promoted = _promoted(scene, challenger)
    figures: dict[str, object] = {
        "champion_score": result.champion,
        "challenger_score": result.challenger,
        "improvement": result.improvement,
        "rows": result.rows,
        "metric": result.metric,
    }
    verdict = judge_challenger(
        result,
        min_improvement=-math.inf if promoted else scene.retrain.gate.min_improvement,
        min_confidence=None if promoted else scene.retrain.gate.min_confidence,
        challenger=_title(scene, challenger),
        champion=_title(scene, champion),
    )
    if not verdict.passed:
        return end(scene, "Kept", Reason.GATE_NOT_PASSED, verdict.message, update=figures)
    if awaits_approval(challenger) and not promoted:
        name = challenger.metadata.name
        message = f"{verdict.message}; set spec.approval.approvedBy on ModelVersion {name} to promote it"
        return enter(scene, "AwaitingApproval", message, update=figures)
    return _promote(scene, challenger, verdict.message, figures)


def _promote(scene: Scene, challenger: ModelVersion, message: str, figures: dict[str, object] | None = None) -> Step:
    patches = promotion_patch(scene, challenger)
    return end(scene, "Promoted", Reason.PROMOTED, message, patches=patches, update=figures)


def _champion_changed(scene: Scene) -> Step | None:
    """Somebody else changed what serves: the challenger meets the new champion, unless it is that one itself."""
    serving, attempt = scene.serving, scene.attempt
    if serving is None or attempt.champion is None:
        return None
    if attempt.challenger and serving.name == attempt.challenger.name:
        version = scene.version(serving)
        by = (version.spec.promoted_by if version else "") or "hand"
        return end(scene, "Promoted", Reason.PROMOTED, f"{serving.name} serves already: it was promoted by {by}")
    if serving.name == attempt.champion.name:
        return None
    challenger = attempt.challenger.name if attempt.challenger else "the challenger"
    cleared = dict.fromkeys(("champion_score", "challenger_score", "improvement", "rows"))
    message = f"{challenger} with {serving.name}, which serves since"
    return enter(scene, "Comparing", message, update={"champion": serving, **cleared})


def _gone(scene: Scene, role: str) -> Step:
    reference = scene.attempt.champion if role == "champion" else scene.attempt.challenger
    name = reference.name if reference else "?"
    return fail(scene, Reason.NOT_FOUND, f"ModelVersion {name}, the {role}, was deleted during the retraining")
