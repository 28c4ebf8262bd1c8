"""The loads: what is created, by which controllers, what its child is, and which change reaches that.

Nothing of it ever runs: what could is suspended, or asks for a node that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.peers import tidemill
from tests.bench.peers.bed import Manifest, apply
from tests.bench.peers.manifests import NOWHERE, job_template, pod_template


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One contender's part."""

    controllers: tuple[str, ...]
    """By name; the last one is restarted."""
    plural: str
    """Of the objects' kind."""
    manifest: Callable[[str, str], Manifest]
    """An object, by name and namespace."""
    child: str
    """The resource made of each object, as the audit log has it."""
    status: str
    """The resource whose status is waited for."""
    change: Manifest
    """A merge patch of the object that makes its child change."""
    what: str
    """In words, for the table."""
    namespaces: tuple[str, ...] = ("load-0",)
    prepare: Callable[[Sequence[str]], None] = lambda _: None
    """What must be there before the first object, once the controllers are ready."""

    def namespace(self, index: int) -> str:
        """Where an object goes."""
        return self.namespaces[index % len(self.namespaces)]

    def path(self, index: int, name: str = "") -> str:
        """Of an object, or of where it is created."""
        namespace = self.namespace(index)
        version = self.manifest("x", namespace)["apiVersion"]
        prefix = "apis" if "/" in version else "api"
        path = f"/{prefix}/{version}/namespaces/{namespace}/{self.plural}"
        return f"{path}/{name}" if name else path


def _jobset(name: str, namespace: str) -> Manifest:
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": True, "replicatedJobs": [{"name": "w", "replicas": 1, "template": job_template()}]},
    }


def _trainjob(name: str, namespace: str) -> Manifest:
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": True, "runtimeRef": {"name": "torch-distributed"}, "trainer": {"numNodes": 1}},
    }


def _training_runtime(_: Sequence[str]) -> None:
    template = job_template("node")
    template["metadata"] = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    apply(
        [
            {
                "apiVersion": "trainer.kubeflow.org/v1alpha1",
                "kind": "ClusterTrainingRuntime",
                "metadata": {
                    "name": "torch-distributed",
                    "labels": {"trainer.kubeflow.org/framework": "torch"},
                },
                "spec": {
                    "mlPolicy": {"numNodes": 1, "torch": {"numProcPerNode": "auto"}},
                    "template": {"spec": {"replicatedJobs": [{"name": "node", "template": template}]}},
                },
            }
        ]
    )


def _queued_job(name: str, namespace: str) -> Manifest:
    labels = {"kueue.x-k8s.io/queue-name": "local"}
    spec = {"suspend": True, "parallelism": 1, "completions": 2, "template": pod_template()}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _queues(namespaces: Sequence[str]) -> None:
    """A queue without quota: every Workload stays pending."""
    version = "kueue.x-k8s.io/v1beta1"
    quota = {"name": "any", "resources": [{"name": "cpu", "nominalQuota": "0"}]}
    groups = [{"coveredResources": ["cpu"], "flavors": [quota]}]
    cluster_queue: dict[str, Any] = {"namespaceSelector": {}, "resourceGroups": groups}
    apply(
        [
            {"apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": "any"}},
            {"apiVersion": version, "kind": "ClusterQueue", "metadata": {"name": "all"}, "spec": cluster_queue},
            *(
                {
                    "apiVersion": version,
                    "kind": "LocalQueue",
                    "metadata": {"name": "local", "namespace": namespace},
                    "spec": {"clusterQueue": "all"},
                }
                for namespace in namespaces
            ),
        ]
    )


def _inference_service(name: str, namespace: str) -> Manifest:
    annotations = {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "none"}
    model = {
        "modelFormat": {"name": "sklearn"},
        "storageUri": "pvc://models/x",
        "resources": {"requests": {"cpu": "10m"}, "limits": {"cpu": "10m"}},
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"predictor": {"nodeSelector": NOWHERE, "model": model}},
    }


def _serving_runtime(_: Sequence[str]) -> None:
    container = {"name": "kserve-container", "image": "localhost/pause:1", "args": ["--model_name={{.Name}}"]}
    formats = [{"name": "sklearn", "version": "1", "autoSelect": True, "priority": 1}]
    apply(
        [
            {
                "apiVersion": "serving.kserve.io/v1alpha1",
                "kind": "ClusterServingRuntime",
                "metadata": {"name": "sklearn"},
                "spec": {
                    "supportedModelFormats": formats,
                    "protocolVersions": ["v1", "v2"],
                    "containers": [container],
                },
            }
        ]
    )


LOADS = {
    "jobset": Load(
        controllers=("jobset",),
        plural="jobsets",
        manifest=_jobset,
        child="jobs.batch",
        status="jobsets.jobset.x-k8s.io",
        change={"spec": {"suspend": False}},
        what="JobSet → Service + Job",
    ),
    "trainer": Load(
        controllers=("jobset", "trainer"),
        plural="trainjobs",
        manifest=_trainjob,
        child="jobs.batch",
        status="trainjobs.trainer.kubeflow.org",
        change={"spec": {"suspend": False}},
        what="TrainJob → JobSet → Job",
        prepare=_training_runtime,
    ),
    "kueue": Load(
        controllers=("kueue",),
        plural="jobs",
        manifest=_queued_job,
        child="workloads.kueue.x-k8s.io",
        status="workloads.kueue.x-k8s.io",
        change={"spec": {"parallelism": 2}},
        what="Job → pending Workload",
        prepare=_queues,
    ),
    "kserve": Load(
        controllers=("kserve",),
        plural="inferenceservices",
        manifest=_inference_service,
        child="deployments.apps",
        status="inferenceservices.serving.kserve.io",
        change={"spec": {"predictor": {"model": {"env": [{"name": "X", "value": "1"}]}}}},
        what="InferenceService → Deployment + Service",
        prepare=_serving_runtime,
    ),
    "tidemill-training": Load(
        controllers=("tidemill",),
        plural="trainingruns",
        manifest=tidemill.training_run,
        child="jobs.batch",
        status="trainingruns.tidemill.dev",
        change={"spec": {"suspend": False}},
        what="TrainingRun → Job",
        prepare=tidemill.prepare_dataset,
    ),
    "tidemill-serving": Load(
        controllers=("tidemill",),
        plural="deployments",
        manifest=tidemill.deployment,
        child="modelplacements.tidemill.dev",
        status="deployments.tidemill.dev",
        change={"spec": {"model": {"version": 2}}},
        what="Deployment → Service + ModelPlacement",
        namespaces=tuple(f"load-{n}" for n in range(4)),
        prepare=tidemill.prepare_serving,
    ),
}
