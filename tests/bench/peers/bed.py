"""A fresh control plane for one contender: who may do what, certificates, the audit log, and the server's own processes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.peers import audit
from tests.bench.peers.say import fail, say
from tests.e2e.apiserver import ROOT, eventually, kubectl
from tests.e2e.cluster import Cluster, connect

Manifest = dict[str, Any]
GROUP = "peers"
SERVICE_ACCOUNTS = "system:serviceaccounts"
SYSTEM = ("etcd", "kube-apiserver", "kube-controller-manager")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """The cluster, while it lives."""

    cluster: Cluster
    folder: Path
    """Certificates, kubeconfigs and logs of the run."""
    log: audit.Log

    @property
    def state(self) -> Path:
        """Where the cluster keeps its own certificates."""
        return Path(self.cluster.environment["KUBECONFIG"]).parent / "state"

    def identity(self, name: str, *groups: str) -> Path:
        """The kubeconfig of a new user with a client certificate."""
        ca = self.state / "pki" / "ca"
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        subject = "".join(f"/O={group}" for group in (GROUP, *groups)) + f"/CN={name}"
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject,
                "-keyout", key, "-out", request)  # fmt: skip
        openssl("x509", "-req", "-in", request, "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial",
                "-days", "9", "-out", certificate)  # fmt: skip
        server = json.loads(kubectl("config", "view", "-o", "json"))["clusters"][0]["cluster"]["server"]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority": f"{ca}.crt"}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "users": [{"name": name, "user": {"client-certificate": str(certificate), "client-key": str(key)}}],
        }
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def system_pids(self) -> dict[str, int]:
        """The processes of the control plane."""
        outer = int((self.state.parent / "pid").read_text().split()[0])
        found: dict[str, int] = {}
        for pid in (child for init in _children(outer) for child in _children(init)):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            found |= {name: pid for name in SYSTEM if name in words[:2]}
        if missing := set(SYSTEM) - set(found):
            fail(f"cannot find the processes of {', '.join(sorted(missing))} below process {outer}")
        return found


@contextmanager
def bed(name: str, folder: Path) -> Iterator[Bed]:
    """A new control plane named `peer-<name>`; kubectl of this process goes to it. It ends with the context."""
    if "TIDEMILL_KUBECONFIG" in os.environ:
        fail("the peers are measured on clusters of their own: unset TIDEMILL_KUBECONFIG")
    folder.mkdir(parents=True, exist_ok=True)
    policy = folder / "audit-policy.json"
    policy.write_text(json.dumps(audit.POLICY))
    os.environ |= {
        "TIDEMILL_CLUSTER": f"peer-{name}",
        "TIDEMILL_NODE": "none",
        "APISERVER_ARGS": f"--audit-policy-file={policy} --audit-log-maxsize=100000",
    }
    _down()
    try:
        cluster, _ = connect()
        os.environ |= cluster.environment
        log = audit.Log(cluster.audit_log)
        kubectl("create", "clusterrolebinding", GROUP, "--clusterrole=cluster-admin", f"--group={GROUP}")
        say("the cluster is up")
        yield Bed(cluster=cluster, folder=folder, log=log)
        log.close()
    finally:
        _down()


def _down() -> None:
    """Of a cluster that is up, half up, or left by an earlier run."""
    subprocess.run([ROOT / "hack/cluster", "down"], capture_output=True, timeout=120, check=True)


def apply(manifests: Sequence[Manifest]) -> None:
    """Server-side: some CRDs are too big for the annotation of the other way. New CRDs are served when this returns."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=_list(manifests))
    if any(manifest["kind"] == "CustomResourceDefinition" for manifest in manifests):
        eventually("the CRDs are established", _established)


def _list(manifests: Sequence[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})


def _established() -> bool:
    """Asked like this because `kubectl wait` fails on a CRD that has no conditions yet."""
    crds = json.loads(kubectl("get", "crd", "-o", "json"))["items"]
    return all(
        any(c["type"] == "Established" and c["status"] == "True" for c in crd.get("status", {}).get("conditions") or ())
        for crd in crds
    )


def openssl(*arguments: str | Path, folder: Path | None = None) -> None:
    """Run openssl."""
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        fail(f"{' '.join(command)}: {done.stderr.strip()}")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
