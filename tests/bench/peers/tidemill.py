"""Tidemill's two loads: TrainingRuns on a prepared Dataset, Deployments of a prepared ModelVersion onto a pool.

What a worker would have done (a Dataset's version, a ModelVersion's verification) and what a kubelet would (the pool's pods)
is written into the status subresources: everything else is made by the operator itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from tests.bench.peers.bed import Manifest, apply
from tests.bench.peers.manifests import NOWHERE
from tests.e2e.apiserver import eventually, kubectl

VERSION = "tidemill.dev/v1alpha1"
TIME = "2026-01-01T00:00:00Z"
DATASET = "flights"
MODEL = "delay"
POOL = "cpu"
SERVERS = 2


def training_run(name: str, namespace: str) -> Manifest:
    """A suspended run on the prepared version: a suspended Job is made of it."""
    spec = {
        "dataset": {"name": DATASET, "digest": _digest(1)},
        "model": {"name": f"model-{name}"},
        "trainer": {"tabularRegression": {"target": "delay"}},
        "placement": {"nodeSelector": NOWHERE},
        "suspend": True,
    }
    return _object("TrainingRun", name, namespace, spec)


def prepare_dataset(namespaces: Sequence[str]) -> None:
    """A Dataset with one version; suspended, so that no other one is prepared."""
    uri = f"s3://tidemill/datasets/{DATASET}/1"
    version = {"digest": _digest(1), "uri": uri, "generation": 1, "rows": 1000, "preparedAt": TIME}
    for namespace in namespaces:
        spec = {"suspend": True, "inputs": [{"name": "a", "s3": {"uri": "s3://bucket/a.parquet"}}]}
        apply([_object("Dataset", DATASET, namespace, spec)])
        _set_status(namespace, "datasets.tidemill.dev", DATASET, {"versions": [version]})


def deployment(name: str, namespace: str) -> Manifest:
    """An online Deployment of the first version: it is placed on one server of the pool."""
    spec = {"model": {"name": MODEL, "version": 1}, "mode": "Online", "online": {"pool": POOL}}
    return _object("Deployment", name, namespace, spec)


def prepare_serving(namespaces: Sequence[str]) -> None:
    """Two verified versions and a pool with servers that answer, in each namespace."""
    for namespace in namespaces:
        pool = {"replicas": SERVERS, "placement": {"nodeSelector": NOWHERE}}
        apply([_object("ServingPool", POOL, namespace, pool)])
        for number in (1, 2):
            artifact = {"uri": f"s3://tidemill/models/{MODEL}/{number}", "digest": _digest(number)}
            spec = {"model": MODEL, "version": number, "artifact": artifact}
            apply([_object("ModelVersion", f"{MODEL}-v{number}", namespace, spec)])
            status = {"verifiedDigest": _digest(number), "sizeBytes": 1000}
            _set_status(namespace, "modelversions.tidemill.dev", f"{MODEL}-v{number}", status)
    for index, namespace in enumerate(namespaces):
        for server in range(SERVERS):
            _answer(namespace, f"{POOL}-pool-{server}", f"10.244.{index}.{server + 10}")
    for namespace in namespaces:
        for what in (f"servingpools.tidemill.dev/{POOL}", f"modelversions.tidemill.dev/{MODEL}-v2"):
            kubectl("wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s", what)


def _answer(namespace: str, pod: str, address: str) -> None:
    """Make a pod look as it does when its server answers."""

    def there() -> str:
        return kubectl("get", "pod", pod, "-n", namespace, "--ignore-not-found", "-o", "json")

    containers = json.loads(eventually(f"pod {pod} in {namespace}", there))["spec"]["containers"]
    state = {"ready": True, "restartCount": 0, "image": "i", "imageID": "i", "state": {"running": {"startedAt": TIME}}}
    conditions = [
        {"type": type_, "status": "True", "lastTransitionTime": TIME}
        for type_ in ("Initialized", "ContainersReady", "Ready")
    ]
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": conditions,
        "containerStatuses": [{"name": container["name"], **state} for container in containers],
    }
    _set_status(namespace, "pods", pod, status)


def _set_status(namespace: str, resource: str, name: str, status: Manifest) -> None:
    patch = json.dumps({"status": status})
    kubectl("patch", resource, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def _object(kind: str, name: str, namespace: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _digest(number: int) -> str:
    return f"sha256:{number:064d}"
