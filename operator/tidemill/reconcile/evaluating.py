"""Continuous evaluation of a Deployment: what it uses is judged on every new version of a Dataset, one Job at a time.

An evaluation is named by its content (model version, dataset version, options): whoever looks, and however often, there is one
Job for it. A Job that runs is let run to its end although a newer version of the Dataset has come meanwhile: one that is made
anew faster than it is judged would never be. Then the newest is next. When another version of the model takes over, the Job of
the one before goes: what is not in use any more is not judged. Nothing that serves is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.continuous import ContinuousEvaluation, EvaluationStatus, VersionEvaluation
from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.build.evaluation import (
    ANNOTATION_SUBJECT,
    evaluation_job,
    evaluation_shape,
    evaluation_task,
    subject_of,
)
from tidemill.build.job import request_of
from tidemill.build.metadata import LABEL_GENERATION, LABEL_REQUEST
from tidemill.build.trainer import ANNOTATION_DATASET
from tidemill.contract.canonical import short
from tidemill.contract.model import GATES_FILE
from tidemill.contract.names import ANNOTATION_RETRY, LABEL_TASK
from tidemill.contract.reasons import Reason
from tidemill.contract.results import EvaluateResult
from tidemill.contract.tasks import ArtifactRef, EvaluateModel
from tidemill.reconcile.artifacts import Waiting, dataset_artifact
from tidemill.reconcile.conditions import is_false
from tidemill.reconcile.evaluation_condition import (
    EVALUATED,
    Verdict,
    set_evaluated,
    unknown,
    verdict,
    without_evaluated,
)
from tidemill.reconcile.jobs import expect, find_job, is_finished, key_of, live, read_job
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Event, Key, Plan
from tidemill.reconcile.policies.evaluation import attempt_id, figures_of, holding, missed_gates, remembered, tells_all
from tidemill.reconcile.policies.variant import ORIGINAL, ServedArtifact, choose_artifact
from tidemill.reconcile.retry import retriable, retry_of
from tidemill.reconcile.serving import choose, reference

ANY_VERSION = ArtifactRef(uri="s3://any/version", digest=f"sha256:{0:064}")
"""Stands for whichever version of the Dataset: a subject leaves it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluating:
    """What a pass makes of the evaluation, beside what it makes of serving."""

    deployment: Deployment
    """With the evaluation's part of the status."""
    children: tuple[Child, ...] = ()
    deletes: tuple[Key, ...] = ()
    events: tuple[Event, ...] = ()
    again: float | None = None

    def beside(self, plan: Plan) -> Plan:
        """The plan with the evaluation's effects added."""
        waits = [wait for wait in (plan.requeue_after, self.again) if wait is not None]
        return replace(
            plan,
            children=(*plan.children, *self.children),
            deletes=(*plan.deletes, *self.deletes),
            events=(*plan.events, *self.events),
            requeue_after=min(waits, default=None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    deployment: Deployment
    asked: ContinuousEvaluation
    version: ModelVersion
    served: ServedArtifact
    observed: Observed
    context: Context

    @property
    def known(self) -> EvaluationStatus:
        return self.deployment.status.evaluation or EvaluationStatus()

    def task(self, dataset: ArtifactRef) -> EvaluateModel:
        artifact = ArtifactRef(uri=self.served.artifact.uri, digest=self.served.artifact.digest)
        return evaluation_task(self.deployment, self.asked, self.version, artifact, dataset, self.context.settings)

    def entry(self, **fields: object) -> VersionEvaluation:
        about = {
            "model_version": reference(self.version),
            "variant": None if self.served.variant == ORIGINAL else self.served.variant,
            "at": format_time(self.context.now),
        }
        return VersionEvaluation.model_validate({**about, **fields})


def evaluate(deployment: Deployment, observed: Observed, context: Context) -> Evaluating:
    """One look at the evaluation."""
    asked, owned = deployment.spec.evaluation, observed.owned(deployment.metadata.uid, "Job")
    jobs = [job for job in owned if (job["metadata"].get("labels") or {}).get(LABEL_TASK) == EvaluateModel.__name__]
    if asked is None:
        return Evaluating(deployment=without_evaluated(deployment), deletes=live(jobs))
    choice, _ = choose(deployment, observed)
    if choice.version is None:
        waiting = set_evaluated(deployment, context, unknown(choice.reason, choice.message))
        return Evaluating(deployment=_with(waiting, job_name=None), deletes=live(jobs))
    variant = deployment.spec.online.variant if deployment.spec.online else ORIGINAL
    scene = _Scene(
        deployment=deployment,
        asked=asked,
        version=choice.version,
        served=choose_artifact(choice.version, variant),
        observed=observed,
        context=context,
    )
    dataset = dataset_artifact(
        observed,
        namespace=deployment.metadata.namespace,
        name=asked.dataset,
        digest=None,
        field="spec.evaluation.dataset",
    )
    job = _under_way(scene, jobs)
    stale = live(other for other in jobs if other is not job)
    if job is not None:
        return _follow(scene, job, deletes=stale)
    if isinstance(dataset, Waiting):
        waiting = set_evaluated(deployment, context, unknown(dataset.reason, dataset.message))
        return Evaluating(deployment=_with(waiting, job_name=None), deletes=stale)
    return _newest(scene, dataset, jobs, deletes=stale)


def _under_way(scene: _Scene, jobs: Sequence[Object]) -> Object | None:
    """The oldest Job that judges what is in use as it is asked for, on whichever version of the Dataset, and whose result is
    not known yet: one that runs, or that has ended since the status named it."""
    subject = subject_of(scene.task(ANY_VERSION))
    mine = [
        job
        for job in sorted(jobs, key=lambda j: (j["metadata"].get("creationTimestamp") or "", j["metadata"]["name"]))
        if (job["metadata"].get("annotations") or {}).get(ANNOTATION_SUBJECT) == subject
        and (not is_finished(job) or job["metadata"]["name"] == scene.known.job_name)
    ]
    return next(iter(mine), None)


def _newest(scene: _Scene, dataset: ArtifactRef, jobs: Sequence[Object], *, deletes: tuple[Key, ...]) -> Evaluating:
    """The pair of versions that counts now: it is known, or told by the training, or a Job is to tell it."""
    deployment, context = scene.deployment, scene.context
    task, retry = scene.task(dataset), retry_of(deployment)
    request = request_of(task)
    known = holding(scene.known.results, request, attempt_id(deployment.metadata.generation, retry))
    if known is not None and known.outcome == "Failed" and is_false(deployment.status, EVALUATED):
        return Evaluating(deployment=deployment, deletes=deletes)
    if known is not None and known.outcome != "Failed":
        return _settled(scene, known, deletes=deletes)
    taught = scene.version.spec.origin.dataset_digest == dataset.digest and scene.served.variant == ORIGINAL
    if taught and tells_all(scene.version, scene.asked.gates):
        return _from_training(scene, dataset, request, deletes=deletes)
    found = find_job(task, jobs, retry=retry).job
    if found is not None:  # it has ended, and its operator before it could note so much as its name
        return _follow(scene, found, deletes=deletes)
    job = evaluation_job(task, scene.asked, scene.version.spec.model, retry=retry, settings=context.settings)
    name = job["metadata"]["name"]
    noted = _with(_running(scene, f"Job {name} was created"), job_name=name)
    return Evaluating(deployment=noted, children=(Child(manifest=job, mode="create"),), deletes=deletes)


def _follow(scene: _Scene, job: Object, *, deletes: tuple[Key, ...]) -> Evaluating:
    meta, notes = job["metadata"], job["metadata"].get("annotations") or {}
    shape = evaluation_shape(scene.asked, scene.context.settings)
    outcome = expect(read_job(job, scene.observed, now=scene.context.now, shape=shape), EvaluateResult)
    judged = {"dataset_digest": notes[ANNOTATION_DATASET], "request": meta["labels"][LABEL_REQUEST]}
    if isinstance(result := outcome.result, EvaluateResult):
        entry = scene.entry(
            outcome="GateNotPassed" if result.missed else "Passed",
            rows=result.rows,
            metrics=result.metrics,
            report_uri=result.artifact.uri,
            **judged,
        )
        return _known(scene, entry, verdict(entry, scene.asked.dataset, result.missed), deletes=deletes)
    if outcome.phase == "Failed":
        answered = attempt_id(int(meta["labels"][LABEL_GENERATION]), notes.get(ANNOTATION_RETRY))
        entry = scene.entry(outcome="Failed", attempt=answered, **judged)
        version = f"version {short(entry.dataset_digest)} of Dataset {scene.asked.dataset}"
        text = f"{scene.version.metadata.name} could not be judged on {version}: {outcome.message}"
        failure = Verdict(status="False", reason=outcome.reason, message=retriable(text, scene.deployment))
        return _known(scene, entry, failure, deletes=deletes)
    if outcome.phase == "Lost":
        return Evaluating(deployment=_running(scene, outcome.message), deletes=(*deletes, key_of(job)))
    if outcome.warning:
        said = set_evaluated(scene.deployment, scene.context, unknown(outcome.reason, outcome.message))
    else:
        said = _running(scene, f"Job {meta['name']} judges {scene.version.metadata.name}")
    return Evaluating(deployment=_with(said, job_name=meta["name"]), deletes=deletes, again=outcome.recheck)


def _from_training(scene: _Scene, dataset: ArtifactRef, request: str, *, deletes: tuple[Key, ...]) -> Evaluating:
    """The version was trained on this very version: it has that evaluation already."""
    missed = missed_gates(scene.version, scene.asked.gates)
    entry = scene.entry(
        dataset_digest=dataset.digest,
        outcome="GateNotPassed" if missed else "Passed",
        from_training=True,
        metrics=figures_of(scene.version),
        report_uri=scene.version.spec.artifact.uri,
        request=request,
    )
    return _known(scene, entry, verdict(entry, scene.asked.dataset, missed), deletes=deletes)


def _known(scene: _Scene, entry: VersionEvaluation, found: Verdict, *, deletes: tuple[Key, ...]) -> Evaluating:
    """Something new is known: it is noted, said and told once."""
    event = Event(reason=found.reason, message=found.message, type="Normal" if found.status == "True" else "Warning")
    results = remembered(scene.known.results, entry)
    said = set_evaluated(scene.deployment, scene.context, found)
    return Evaluating(deployment=_with(said, job_name=None, results=results), deletes=deletes, events=(event,))


def _settled(scene: _Scene, known: VersionEvaluation, *, deletes: tuple[Key, ...]) -> Evaluating:
    """It is known. What the condition said of it stays; after something else was said, it is told anew from what is noted."""
    before = scene.deployment.status.condition(EVALUATED)
    told = (
        missed_gates(scene.version, scene.asked.gates)
        if known.from_training
        else f"see {known.report_uri}/{GATES_FILE}"
    )
    found = verdict(known, scene.asked.dataset, told)
    if known is scene.known.results[0] and before is not None and before.status == found.status:
        return Evaluating(deployment=_with(scene.deployment, job_name=None), deletes=deletes)
    results = remembered(scene.known.results, known)
    said = set_evaluated(scene.deployment, scene.context, found)
    return Evaluating(deployment=_with(said, job_name=None, results=results), deletes=deletes)


def _running(scene: _Scene, message: str) -> Deployment:
    """The last verdict stands while the next one is on its way; before the first, or after some trouble, there is none."""
    before = scene.deployment.status.condition(EVALUATED)
    if before is not None and before.status != "Unknown":
        return scene.deployment
    return set_evaluated(scene.deployment, scene.context, unknown(Reason.RUNNING, message))


def _with(deployment: Deployment, **changes: object) -> Deployment:
    evaluation = (deployment.status.evaluation or EvaluationStatus()).model_copy(update=changes)
    return deployment.model_copy(update={"status": deployment.status.model_copy(update={"evaluation": evaluation})})
