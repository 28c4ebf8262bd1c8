"""A fresh cluster without a node for one measurement, with the CRDs and what the chart gives the operator: its role, its
settings, and a token of its ServiceAccount."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.bench.peers.audit import Log
from tests.bench.scale.operator_process import OperatorProcess, cpu_seconds, memory_mb
from tests.e2e.apiserver import ROOT, eventually, kubectl
from tests.e2e.cluster import Cluster, connect
from tests.e2e.helm import render

from tidemill.kube.config import Connection
from tidemill.kube.config import load as load_connection

SYSTEM = "tidemill-system"
ACCOUNT = "tidemill"
USER = f"system:serviceaccount:{SYSTEM}:{ACCOUNT}"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
_FRESH = {"TIDEMILL_NODE": "none", "APISERVER_ARGS": "--audit-log-maxsize=20000"}
"""No node: pods wait until the simulator says how they fared. One audit log, never rotated."""
_GIVEN = frozenset(
    {
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "FlowSchema",
        "PriorityLevelConfiguration",
    }
)


@dataclass(frozen=True, slots=True)
class BenchCluster:
    """The cluster as a measurement holds it."""

    cluster: Cluster
    folder: Path
    """Kubeconfig, settings and logs of the operator's processes."""

    @property
    def admin(self) -> Path:
        """The kubeconfig of the one who submits, watches and simulates."""
        return Path(self.cluster.environment["KUBECONFIG"])

    @property
    def connection(self) -> Connection:
        """The same, for a client."""
        return load_connection(str(self.admin))

    @property
    def kubeconfig(self) -> Path:
        """The operator's kubeconfig."""
        return self.folder / "operator.kubeconfig"

    def audit(self) -> Log:
        """The API server's audit log."""
        return Log(self.cluster.audit_log)

    def operator(self, name: str, *flags: str) -> OperatorProcess:
        """Start the real operator with the chart's settings; `name` is its log's."""
        return OperatorProcess(
            *flags, config=self.folder / "settings.yaml", kubeconfig=self.kubeconfig, log=self.folder / f"{name}.log"
        )

    def make_namespaces(self, *names: str) -> None:
        """Create namespaces and wait until pods can be made in them."""
        manifests = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
        kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
        for name in names:
            eventually(f"default ServiceAccount of {name}", lambda name=name: _account(name), seconds=60)

    def usage(self) -> dict[str, dict[str, float]]:
        """CPU seconds and RSS of the cluster's own programs until now."""
        return {name: {"cpu": cpu_seconds(pid), "rssMb": memory_mb(pid)} for name, pid in self._programs().items()}

    def version(self) -> str:
        """Kubernetes' version."""
        found: str = json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
        return found

    def _programs(self) -> dict[str, int]:
        outer = int((self.admin.parent / "pid").read_text().split()[0])
        (init,) = _children(outer)
        found = {}
        for pid in _children(init):
            command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:2]
            found |= {name: pid for name in PROGRAMS if name in command}
        return found


@contextmanager
def fresh(name: str, folder: Path) -> Iterator[BenchCluster]:
    """A new cluster of this name that ends with the context; `folder` receives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ.pop("TIDEMILL_KUBECONFIG", None)
    os.environ.update(_FRESH, TIDEMILL_CLUSTER=name)
    try:
        subprocess.run([ROOT / "hack/cluster", "down"], check=True, capture_output=True, timeout=120)
        cluster, _ = connect()
        os.environ.update(cluster.environment)
        try:
            made = BenchCluster(cluster, folder)
            _prepare(made)
            yield made
        finally:
            cluster.down()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _prepare(made: BenchCluster) -> None:
    crds = str(ROOT / "crds")
    kubectl("apply", "--server-side", "-f", crds)
    kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", crds)
    made.make_namespaces(SYSTEM)
    manifests = render("tidemill", namespace=SYSTEM)
    items = [m for m in manifests if m["kind"] in _GIVEN]
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    (settings,) = (
        m["data"]["settings.yaml"] for m in manifests if m["kind"] == "ConfigMap" and "settings.yaml" in m["data"]
    )
    (made.folder / "settings.yaml").write_text(settings)
    token = kubectl("create", "token", ACCOUNT, "-n", SYSTEM, "--duration=12h").strip()
    made.kubeconfig.touch(mode=0o600)
    made.kubeconfig.write_text(yaml.safe_dump(_with_token(yaml.safe_load(made.admin.read_text()), token)))


def _with_token(document: dict[str, Any], token: str) -> dict[str, Any]:
    """A kubeconfig of the same cluster with another user."""
    (context,) = document["contexts"]
    chosen = {**context["context"], "user": ACCOUNT, "namespace": SYSTEM}
    return {
        **document,
        "contexts": [{**context, "context": chosen}],
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
    }


def _account(namespace: str) -> str:
    return kubectl("get", "serviceaccount", "default", "-n", namespace, "--ignore-not-found", "-o", "name").strip()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
