"""A kind of another project that is installed and removed while the operator runs: it is watched from then on, or no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.apiserver import eventually, kubectl, run
from tests.glue.objects import apply, condition, get
from tests.glue.process import Operator

NAME = "rayclusters.ray.io"
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": NAME},
    "spec": {
        "group": "ray.io",
        "scope": "Namespaced",
        "names": {"kind": "RayCluster", "plural": "rayclusters", "singular": "raycluster"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
SPEC = {
    "inputs": [{"name": "a", "s3": {"uri": "s3://raw/a/"}}],
    "engine": "Ray",
    "ray": {"cluster": {"workers": 1}, "secretName": "token"},
}


@pytest.fixture
def operator(namespace: str, tmp_path: Path) -> Iterator[Operator]:
    """The real operator; no RayClusters are served before and after."""
    place = ("--watch-namespaces", namespace, "--lease-namespace", namespace)
    images = ("--images-worker", "worker:1", "--images-ray", "ray:1")
    process = Operator(*place, *images, log=tmp_path / "operator.log", module="tidemill.runtime")
    try:
        yield process
    finally:
        process.kill()
        kubectl("delete", "crd", NAME, "--ignore-not-found", "--timeout=60s")


def dataset(name: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "tidemill.dev/v1alpha1",
        "kind": "Dataset",
        "metadata": {"name": name, "namespace": namespace},
        "spec": SPEC,
    }


def reason(namespace: str, name: str) -> str | None:
    """Why a Dataset is not ready."""
    return condition(get(namespace, "datasets", name), "Ready").get("reason")


@pytest.mark.slow
def test_the_operator_begins_anew_when_a_kind_comes_or_goes(operator: Operator, namespace: str) -> None:
    """In the same process, twice; each time it goes on with what there is."""
    operator.through_first_pass()
    apply(dataset("before", namespace))
    eventually("it waits", lambda: reason(namespace, "before") == "WaitingForKubeRay")
    kubectl("apply", "-f", "-", stdin=json.dumps(CRD))
    eventually("a cluster", lambda: operator.alive() and _clusters(namespace) == 1, seconds=90)
    eventually("it is watched", lambda: operator.metric("tidemill_objects", kind="RayCluster") == 1)

    kubectl("delete", "crd", NAME, "--timeout=60s")
    said = "rayclusters are not served now: beginning anew"
    eventually("it is noticed", lambda: operator.alive() and said in operator.log.read_text(), seconds=90)
    operator.through_first_pass()
    assert operator.metric("tidemill_objects", kind="RayCluster") == 0
    apply(dataset("after", namespace))
    eventually("it waits", lambda: reason(namespace, "after") == "WaitingForKubeRay")


def _clusters(namespace: str) -> int:
    """How many there are; none while the kind is about to be served."""
    answer = run("kubectl", "get", "--raw", f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters")
    return 0 if answer.returncode else len(json.loads(answer.stdout)["items"])
