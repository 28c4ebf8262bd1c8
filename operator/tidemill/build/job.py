"""The Job that runs one task: one object, named after the task, so that two creators cannot start it twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tidemill.api.v1alpha1.common import JobOptions, NodePlacement, Resources
from tidemill.build.metadata import ANNOTATION_SHAPE, LABEL_GENERATION, LABEL_REQUEST, metadata, owner_labels
from tidemill.build.pod import mount_claims, place, pod_security, task_volumes, worker_container
from tidemill.build.settings import BuildSettings
from tidemill.contract.canonical import digest, short
from tidemill.contract.exitcodes import USER_CODES
from tidemill.contract.names import (
    ANNOTATION_RETRY,
    ANNOTATION_TASK,
    LABEL_QUEUE,
    LABEL_TASK,
    TASK_CONTAINER,
    child_name,
)
from tidemill.contract.tasks import BaseTask, ObjectRef

Manifest = dict[str, Any]


def request_of(task: BaseTask) -> str:
    """The id of what a task asks for, whatever generation of its owner asks."""
    return task.model_copy(update={"owner": task.owner.model_copy(update={"generation": 0})}).task_id


def job_name(owner: ObjectRef, what: str, task: BaseTask, request: str | None = None, retry: str | None = None) -> str:
    """The Job's name: deterministic, and another one for another task or another retry of it.

    With a request of its own (see `task_job`) the name follows the owner's UID and generation and that request, so that a
    task whose details are resolved anew by a second creator still cannot start twice.
    """
    key = task.task_id if request is None else short(digest([task.owner.uid, task.owner.generation, request]))
    return child_name(owner.name, what, key if retry is None else short(digest([key, retry])))


def job_shape(
    *,
    image: str,
    resources: Resources,
    options: JobOptions,
    settings: BuildSettings,
    placement: NodePlacement | None = None,
) -> str:
    """The id of what shapes a Job's pod but not its result: where it can run, with which image, for how long.

    It is recorded on the Job and compared as recorded, never with the live Job: Kueue rightly changes that one's node
    selector and tolerations. `suspend` is no part of it, because it is changed on the living Job.
    """
    documents = [d.model_dump(mode="json") for d in (resources, options, placement or NodePlacement())]
    images, store = settings.images, asdict(settings.store)
    pulling = [images.pull_policy, list(images.pull_secrets)]
    pod = [settings.worker_service_account, settings.pod_labels]
    return short(digest([image, *documents, pulling, store, pod]))


def shape_of(manifest: Manifest) -> str:
    """The shape that `task_job` recorded on a Job's manifest."""
    shape: str = manifest["metadata"]["annotations"][ANNOTATION_SHAPE]
    return shape


def task_job(
    *,
    owner: ObjectRef,
    what: str,
    task: BaseTask,
    image: str,
    resources: Resources,
    options: JobOptions,
    settings: BuildSettings,
    placement: NodePlacement | None = None,
    labels: Mapping[str, str] | None = None,
    secrets: Mapping[str, Sequence[str]] | None = None,
    claims: Iterable[str] = (),
    suspend: bool = False,
    queue_name: str | None = None,
    init_containers: Sequence[Manifest] = (),
    annotations: Mapping[str, str] | None = None,
    request: str | None = None,
    retry: str | None = None,
    shape: str | None = None,
) -> Manifest:
    """The Job of a task, to be given to the driver as `Child(manifest=…, mode="create")`.

    `what` says in a word what the Job does (`prepare`, `train`, `verify`) and is part of its name. `secrets` map Secrets
    to those of their keys that are mounted under /etc/tidemill/secrets; `claims` are mounted under /tidemill/volumes.
    `annotations` map further pod annotations (tasks of init containers) to their text; each is a file in /etc/tidemill named
    after the annotation's last part. With `queue_name` the Job starts suspended and Kueue alone resumes it. `request` says
    what is asked for in the owner's terms when the task holds more than that (resolved inputs); by default it is the task
    without its owner's generation. `reconcile.jobs.find_job` looks Jobs up by it. `retry` is the value of the owner's retry
    annotation. `shape` overrides `job_shape` where more shapes the pod.
    """
    extra = dict(annotations or {})
    fixed = {
        LABEL_TASK: type(task).__name__,
        LABEL_REQUEST: request or request_of(task),
        LABEL_GENERATION: str(task.owner.generation),
    }
    all_labels = owner_labels(owner, {**fixed, **(labels or {})})
    container = worker_container(
        name=TASK_CONTAINER, image=image, resources=resources, settings=settings, namespace=owner.namespace
    )
    pod: Manifest = {
        "restartPolicy": "Never",
        "serviceAccountName": settings.worker_service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": task_volumes(secrets=secrets, task_annotations=[(a, a.rpartition("/")[2]) for a in extra]),
    }
    if init_containers:
        pod["initContainers"] = list(init_containers)
    if settings.images.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.images.pull_secrets]
    place(pod, placement or NodePlacement())
    mount_claims(pod, claims)
    spec: Manifest = {
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": options.backoff_limit,
        "podFailurePolicy": failure_policy([c["name"] for c in (*init_containers, container) if not is_sidecar(c)]),
        "suspend": suspend or queue_name is not None,
        "template": {
            "metadata": {
                "labels": {**settings.pod_labels, **all_labels},
                "annotations": {ANNOTATION_TASK: task.to_json(), **extra},
            },
            "spec": pod,
        },
    }
    if options.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = options.active_deadline_seconds
    if options.ttl_seconds_after_finished is not None:
        spec["ttlSecondsAfterFinished"] = options.ttl_seconds_after_finished
    job_labels = {**all_labels, LABEL_QUEUE: queue_name} if queue_name else all_labels
    recorded = shape or job_shape(
        image=image,
        resources=resources,
        options=options,
        settings=settings,
        placement=placement,
    )
    notes = {ANNOTATION_SHAPE: recorded, **({ANNOTATION_RETRY: retry} if retry else {})}
    name = job_name(owner, what, task, request, retry)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(name=name, namespace=owner.namespace, labels=job_labels, annotations=notes),
        "spec": spec,
    }


def is_sidecar(container: Manifest) -> bool:
    """Whether an init container runs beside the others (KEP-753): how it ends says nothing of the task."""
    return container.get("restartPolicy") == "Always"


def failure_policy(containers: Sequence[str]) -> Manifest:
    """Disruptions do not count; exit codes that blame the user's input fail the Job at once; all else is retried."""
    blame = [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": name, "operator": "In", "values": list(USER_CODES)},
        }
        for name in containers
    ]
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    return {"rules": [disrupted, *blame]}
