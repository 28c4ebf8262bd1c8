"""Training on several pods: an Indexed Job whose pods have names in DNS, and the Service that gives them these.

They meet at pod 0 (`$TIDEMILL_RENDEZVOUS`); everything else that torchrun must know is in their environment, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.api.v1alpha1.trainingrun import TrainingRun
from tidemill.build.indexed import index_job
from tidemill.build.metadata import metadata, owner_labels
from tidemill.build.settings import BuildSettings
from tidemill.contract.distribution import Distribution
from tidemill.contract.names import (
    ENV_JOIN_TIMEOUT,
    ENV_MAX_RESTARTS,
    ENV_NODES,
    ENV_POD_IP,
    ENV_PROCESSES,
    ENV_RENDEZVOUS,
    ENV_STRATEGY,
    LABEL_PEERS,
    RENDEZVOUS_PORT,
    child_name,
)

Manifest = dict[str, Any]


def peers_name(job: Mapping[str, Any]) -> str:
    """The Service of a distributed Job. A Service's name begins with a letter, a Job's may not."""
    return child_name("peers", job["metadata"]["name"])


def peers_service(run: TrainingRun, job: Mapping[str, Any]) -> Manifest:
    """The headless Service that names a distributed Job's pods, from their start on. It belongs to the Job, and goes with it.

    `job` is the living one.
    """
    name, owner = peers_name(job), job["metadata"]
    meta = metadata(name=name, namespace=run.metadata.namespace, labels=owner_labels(run.ref))
    meta["ownerReferences"] = [{"apiVersion": "batch/v1", "kind": "Job", "name": owner["name"], "uid": owner["uid"]}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {LABEL_PEERS: name},
            "ports": [
                {"name": "rendezvous", "port": RENDEZVOUS_PORT, "protocol": "TCP", "targetPort": RENDEZVOUS_PORT}
            ],
        },
    }


def distribute(job: Manifest, distribution: Distribution, settings: BuildSettings) -> None:
    """Make a run's Job one of several pods that train together.

    Retries are counted for each pod (KEP-3850): what befalls one ends all, and would use up the retries of the Job at once.
    """
    index_job(job, pods=distribution.nodes)
    meta, spec = job["metadata"], job["spec"]
    template, needed = spec["template"], distribution.min_nodes or distribution.nodes
    spec |= {"backoffLimitPerIndex": spec.pop("backoffLimit"), "maxFailedIndexes": distribution.nodes - needed}
    service, pod = peers_name(job), template["spec"]
    template["metadata"]["labels"][LABEL_PEERS] = service
    pod["subdomain"] = service
    told = distribution_env(
        distribution, f"{meta['name']}-0.{service}.{meta['namespace']}.svc.{settings.cluster_domain}"
    )
    names = {entry["name"] for entry in told}
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        container["env"] = [*(entry for entry in container["env"] if entry["name"] not in names), *told]


def distribution_env(distribution: Distribution, host: str) -> list[Manifest]:
    """What a pod must know to train with the others that meet at `host`; Kubernetes adds JOB_COMPLETION_INDEX."""
    few, nodes = distribution.min_nodes, str(distribution.nodes)
    plain = {
        ENV_NODES: nodes if few is None else f"{few}:{nodes}",
        ENV_PROCESSES: str(distribution.processes_per_node),
        ENV_STRATEGY: distribution.strategy,
        ENV_JOIN_TIMEOUT: str(distribution.join_timeout_seconds),
        ENV_MAX_RESTARTS: str(distribution.max_restarts),
        ENV_RENDEZVOUS: f"{host}:{RENDEZVOUS_PORT}",
    }
    address = {"name": ENV_POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    return [*({"name": name, "value": value} for name, value in plain.items()), address]
