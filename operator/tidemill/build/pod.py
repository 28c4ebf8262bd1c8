"""The pieces of every task's pod: security, resources, environment, volumes.

A pod meets Pod Security `restricted`, has no ServiceAccount token, and sees of its task one folder:

- `/etc/tidemill/task`: the task's JSON, from the pod's annotation (`$TIDEMILL_TASK` names the file);
- `/etc/tidemill/secrets/<secret name>/<key>`: credentials of inputs (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`) and of
  trackers (`MLFLOW_TRACKING_TOKEN` …) that name a Secret of their own. The Secret and each key are optional for the kubelet,
  so that a missing one ends in a failure or warning that names the field instead of a pod that never starts.

`/tidemill/work` and `/tmp` are the only writable places. Claims that a task reads are at `/tidemill/volumes/<claim>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidemill.api.v1alpha1.common import NodePlacement, Resources
from tidemill.build.settings import BuildSettings
from tidemill.contract.names import (
    ANNOTATION_TASK,
    ENV_GPU,
    ENV_IMAGE,
    ENV_NAMESPACE,
    ENV_POD,
    ENV_STORE_BUCKET,
    ENV_STORE_ENDPOINT,
    ENV_STORE_REGION,
    ENV_TASK,
    ENV_WORK_DIR,
    PROGRESS_PORT,
)

RUN_AS = 65532
ETC_DIR = "/etc/tidemill"
SECRETS_DIR = f"{ETC_DIR}/secrets"
WORK_DIR = "/tidemill/work"
VOLUMES_DIR = "/tidemill/volumes"
WORKER_COMMAND = ("python3", "-m", "tidemill_worker")
CREDENTIAL_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
AUTHORIZATION_KEY = "authorization"
TOKEN_KEY = "token"

Manifest = dict[str, Any]


def pod_security() -> Manifest:
    """The pod's securityContext."""
    return {
        "runAsNonRoot": True,
        "runAsUser": RUN_AS,
        "runAsGroup": RUN_AS,
        "fsGroup": RUN_AS,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(*, read_only: bool = True) -> Manifest:
    """A container's securityContext; a user's own image may write to its root file system, as far as a non-root user can."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": read_only,
    }


def resource_requirements(resources: Resources) -> Manifest:
    """Memory is request and limit, cpu the request only, an accelerator a limit (which Kubernetes takes as request too)."""
    limits: Manifest = {"memory": resources.memory}
    if gpu := resources.gpu:
        limits[gpu.resource_name] = str(gpu.count)
    return {"requests": {"cpu": resources.cpu, "memory": resources.memory}, "limits": limits}


def worker_env(*, settings: BuildSettings, namespace: str, image: str, task_file: str = "task") -> list[Manifest]:
    """The environment of a worker's container: the store, its namespace and pod, where its task and its work folder are."""
    plain = {
        ENV_TASK: f"{ETC_DIR}/{task_file}",
        ENV_NAMESPACE: namespace,
        ENV_WORK_DIR: WORK_DIR,
        ENV_IMAGE: image,
        ENV_STORE_BUCKET: settings.store.bucket,
        ENV_STORE_REGION: settings.store.region,
        ENV_STORE_ENDPOINT: settings.store.endpoint,
        "HOME": "/tmp",
    }
    env: list[Manifest] = [{"name": name, "value": value} for name, value in plain.items() if value]
    env.append({"name": ENV_POD, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    return env


def worker_container(
    *,
    name: str,
    image: str,
    resources: Resources,
    settings: BuildSettings,
    namespace: str,
    task_file: str = "task",
    port: bool = True,
) -> Manifest:
    """A container that runs one task."""
    env = worker_env(settings=settings, namespace=namespace, image=image, task_file=task_file)
    if resources.gpu:
        env.append({"name": ENV_GPU, "value": resources.gpu.resource_name})
    container: Manifest = {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.images.pull_policy,
        "command": list(WORKER_COMMAND),
        "env": env,
        "envFrom": [{"secretRef": {"name": settings.store.secret_name, "optional": True}}],
        "resources": resource_requirements(resources),
        "securityContext": container_security(),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "tidemill", "mountPath": ETC_DIR, "readOnly": True},
            {"name": "work", "mountPath": WORK_DIR},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    if port:
        container["ports"] = [{"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"}]
    return container


def task_volumes(
    *, secrets: Mapping[str, Sequence[str]] | None = None, task_annotations: Sequence[tuple[str, str]] = ()
) -> list[Manifest]:
    """The volumes that `worker_container` mounts. `secrets` map Secrets to the keys of them that the task reads;
    `task_annotations` are (annotation, file) pairs beside the task's own."""
    files = [(ANNOTATION_TASK, "task"), *task_annotations]
    sources: list[Manifest] = [
        {
            "downwardAPI": {
                "items": [
                    {"path": file, "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}}
                    for annotation, file in files
                ]
            }
        }
    ]
    sources += [
        {
            "secret": {
                "name": secret,
                "optional": True,
                "items": [{"key": key, "path": f"secrets/{secret}/{key}"} for key in keys],
            }
        }
        for secret, keys in sorted((secrets or {}).items())
    ]
    return [
        {"name": "tidemill", "projected": {"defaultMode": 0o440, "sources": sources}},
        {"name": "work", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]


def mount_claims(pod_spec: Manifest, claims: Iterable[str]) -> None:
    """Mount PersistentVolumeClaims, each once, into the pod's task container, which may only read them.

    The volume is read-only too, not just its mount: the kubelet then neither attaches it for writing nor changes its owner.
    """
    for number, claim in enumerate(sorted(set(claims))):
        name = f"claim-{number}"  # a claim's own name may be longer than a volume's
        source = {"claimName": claim, "readOnly": True}
        pod_spec["volumes"].append({"name": name, "persistentVolumeClaim": source})
        mount = {"name": name, "mountPath": f"{VOLUMES_DIR}/{claim}", "readOnly": True}
        pod_spec["containers"][0]["volumeMounts"].append(mount)


def place(pod_spec: Manifest, placement: NodePlacement) -> None:
    """Add node selector, tolerations and priority class to a pod's spec."""
    if placement.node_selector:
        pod_spec["nodeSelector"] = dict(placement.node_selector)
    if placement.tolerations:
        pod_spec["tolerations"] = [t.model_dump(by_alias=True, exclude_none=True) for t in placement.tolerations]
    if placement.priority_class_name:
        pod_spec["priorityClassName"] = placement.priority_class_name
