"""Priority and fairness on the real API server: which flow the operator's requests are accounted to."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.apiserver import ROOT, eventually, kubectl
from tests.e2e.cluster import Cluster
from tests.e2e.helm import installed, one, render

from tidemill.kube import config

pytestmark = pytest.mark.e2e

SCHEMA, LEVEL = "X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID"
_DISPATCHED = re.compile(
    r'^apiserver_flowcontrol_dispatched_requests_total\{flow_schema="([^"]+)",priority_level="([^"]+)"\} (\S+)$',
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Release:
    """An installed chart without pods, and who its operator would be."""

    namespace: str
    name: str
    kubeconfig: Path

    @property
    def flow(self) -> str:
        """The name of its FlowSchema and its level."""
        return f"{self.namespace}-{self.name}"


@pytest.fixture
def release(namespace: str, tmp_path: Path) -> Iterator[Release]:
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds/")
    name = f"t{secrets.token_hex(3)}"
    with installed(name, "tidemill", namespace, "--set", "replicas=0", "--set", f"fullnameOverride={name}"):
        document = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        token = kubectl("create", "token", name, "-n", namespace, "--duration", "1h").strip()
        document["users"][0]["user"] = {"token": token}
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(document))
        yield Release(namespace, name, kubeconfig)


def uid(kind: str, name: str) -> str:
    """The UID of a cluster-wide object."""
    return kubectl("get", kind, name, "-o", "jsonpath={.metadata.uid}")


def accounted(release: Release, path: str) -> tuple[str, str]:
    """The flow schema and the level, as UIDs, that the API server put a request of the operator's account in."""
    connection = config.from_kubeconfig(release.kubeconfig)
    assert connection.token is not None
    headers = {"Authorization": f"Bearer {connection.token.get()}"}
    request = urllib.request.Request(f"{connection.server}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, context=connection.tls, timeout=30) as answer:
            return answer.headers[SCHEMA], answer.headers[LEVEL]
    except urllib.error.HTTPError as refusal:  # not found, or not allowed: it was accounted all the same
        return refusal.headers[SCHEMA], refusal.headers[LEVEL]


def test_each_request_is_in_its_flow(release: Release) -> None:
    own = (
        eventually("the level is there", lambda: uid("flowschema", release.flow)),
        uid("prioritylevelconfiguration", release.flow),
    )
    lease = uid("flowschema", f"{release.flow}-lease"), uid("prioritylevelconfiguration", "leader-election")
    jobs = "/apis/batch/v1/jobs"
    eventually("the API server knows the new level", lambda: accounted(release, jobs) == own)
    for path in (
        "/apis/tidemill.dev/v1alpha1/datasets",
        f"/apis/batch/v1/namespaces/{release.namespace}/jobs/x",
        "/api/v1/namespaces/default",
        "/apis/tidemill.dev/v1alpha1",
        "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x",
    ):
        assert accounted(release, path) == own, path
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{release.namespace}/leases"
    for path in (f"{leases}/{release.name}-operator", leases):
        assert accounted(release, path) == lease, path


def test_a_running_operator_is_accounted_to_its_level(release: Release, cluster: Cluster, tmp_path: Path) -> None:
    """The process itself, with the chart's settings and its account's rights, as the API server counts it."""
    del cluster

    def dispatched() -> dict[tuple[str, str], float]:
        found = _DISPATCHED.findall(kubectl("get", "--raw", "/metrics"))
        return {(schema, level): float(value) for schema, level, value in found}

    def enough(counts: dict[tuple[str, str], float]) -> bool:
        # One LIST and one watch of each of its kinds at least, and a renewed lease.
        own, lease = (counts.get(flow, 0.0) for flow in flows)
        return own >= 20 and lease >= 3

    chart = render("tidemill", "--set", f"fullnameOverride={release.name}", namespace=release.namespace)
    settings = tmp_path / "settings.yaml"
    settings.write_text(one(chart, "ConfigMap", release.name)["data"]["settings.yaml"])
    flows = (release.flow, release.flow), (f"{release.flow}-lease", "leader-election")
    before = dispatched()
    assert not any(before.get(flow) for flow in flows)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tidemill.runtime", "--config", str(settings), "--http-port", "0"],
            env={**os.environ, "KUBECONFIG": str(release.kubeconfig), "PYTHONPATH": str(ROOT / "operator")},
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        eventually(
            "its requests are counted",
            lambda: process.poll() is None and enough(dispatched()),
            seconds=60,
        )
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        process.terminate()
        process.wait(timeout=30)
