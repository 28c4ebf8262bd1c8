"""The RayCluster of a prepare Job (KubeRay, ray.io/v1): one head that runs no tasks, and workers.

It belongs to the Job and goes with it; what the Job is told is the address of its head's Service. KubeRay's own probes ask
Ray's dashboard, which the image leaves out: these ask ports. A node's `ray start` ends when one of its parts does, so that a
probe only has to find a node that hangs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.api.v1alpha1.dataset import Dataset
from tidemill.build.metadata import metadata, owner_labels
from tidemill.build.pod import TOKEN_KEY, container_security, place, pod_security
from tidemill.build.settings import BuildSettings
from tidemill.contract.engine import RAY_ITSELF, Memory, RayCluster, in_bytes
from tidemill.contract.names import LABEL_PEERS, LABEL_TASK, RAY_CLIENT_PORT, child_name
from tidemill.contract.tasks import PrepareDataset

Manifest = dict[str, Any]
NAME_LIMIT = 50
"""KubeRay cuts longer names where it makes others of them."""
_GCS_PORT, _NODE_PORT = 6379, 6380
_HEAD_CPU = "500m"


def cluster_name(job: str) -> str:
    """The RayCluster of a prepare Job. Its name begins with a letter, a Job's may not."""
    return child_name("ray", job, limit=NAME_LIMIT)


def cluster_address(job: str, namespace: str, settings: BuildSettings) -> str:
    """Where a Ray Client finds it: KubeRay names the head's Service after the cluster."""
    return f"ray://{cluster_name(job)}-head-svc.{namespace}.svc.{settings.cluster_domain}:{RAY_CLIENT_PORT}"


def ray_cluster(dataset: Dataset, options: RayCluster, job: Mapping[str, Any], settings: BuildSettings) -> Manifest:
    """The cluster of a living Job."""
    owner = job["metadata"]
    name = cluster_name(owner["name"])
    meta = metadata(name=name, namespace=dataset.metadata.namespace, labels=owner_labels(dataset.ref))
    meta["ownerReferences"] = [{"apiVersion": "batch/v1", "kind": "Job", "name": owner["name"], "uid": owner["uid"]}]
    head, worker = _start_options(options.head_memory), _start_options(options.memory)
    head |= {"num-cpus": "0", "port": str(_GCS_PORT), "ray-client-server-port": str(RAY_CLIENT_PORT)}
    head |= {"include-dashboard": "false"}
    worker |= {"num-cpus": str(options.cpu), "node-manager-port": str(_NODE_PORT)}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": meta,
        "spec": {
            "headGroupSpec": {
                "rayStartParams": head,
                "template": _pod(dataset, name, _HEAD_CPU, options.head_memory, RAY_CLIENT_PORT, settings),
            },
            "workerGroupSpecs": [
                {
                    "groupName": "workers",
                    "replicas": options.workers,
                    "minReplicas": options.workers,
                    "maxReplicas": options.workers,
                    "rayStartParams": worker,
                    "template": _pod(dataset, name, str(options.cpu), options.memory, _NODE_PORT, settings),
                }
            ],
        },
    }


def join_peers(job: Manifest) -> None:
    """Let the Job's pod speak to the cluster where a NetworkPolicy lets peers alone speak to each other."""
    job["spec"]["template"]["metadata"]["labels"][LABEL_PEERS] = cluster_name(job["metadata"]["name"])


def _start_options(memory: Memory) -> dict[str, str]:
    """How a node's memory is shared out (see contract.engine.RAY_ITSELF): bytes, as `ray start` takes them."""
    left = in_bytes(memory) - in_bytes(RAY_ITSELF)
    return {"memory": str(left * 3 // 4), "object-store-memory": str(left // 4), "disable-usage-stats": "true"}


def _pod(dataset: Dataset, name: str, cpu: str, memory: Memory, port: int, settings: BuildSettings) -> Manifest:
    """The template of a node's pod. It has no credentials; it is not watched, KubeRay looks after it."""
    labels = {**settings.pod_labels, LABEL_TASK: PrepareDataset.__name__, LABEL_PEERS: name}
    env: list[Manifest] = [{"name": "HOME", "value": "/tmp"}]
    options = dataset.spec.ray
    if options is not None and options.secret_name:
        token = {"name": options.secret_name, "key": TOKEN_KEY}
        env += [
            {"name": "RAY_AUTH_MODE", "value": "token"},
            {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": token}},
        ]
    probe = {"tcpSocket": {"port": port}, "periodSeconds": 5, "timeoutSeconds": 5}
    spec: Manifest = {
        "serviceAccountName": settings.worker_service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [
            {
                "name": "ray",
                "image": settings.images.ray,
                "imagePullPolicy": settings.images.pull_policy,
                "env": env,
                "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}},
                "securityContext": container_security(),
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                "readinessProbe": {**probe, "failureThreshold": 2},
                "livenessProbe": {**probe, "failureThreshold": 60},
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if settings.images.pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in settings.images.pull_secrets]
    place(spec, dataset.spec.placement)
    return {"metadata": {"labels": labels}, "spec": spec}
