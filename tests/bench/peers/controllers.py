"""The controllers: how each is started with its shipped flags, what it ships, and when its first pass is over.

Changed are only ports, certificates and what would need a pod: leader election is off, Kueue's visibility server (which
wants to be in the cluster) is off, KServe makes plain Deployments without an ingress.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from tests.bench.peers.bed import Bed, Manifest, apply
from tests.bench.peers.process import Ports, Process, free_ports
from tests.bench.peers.sources import MODULES, cache, program, source
from tests.bench.peers.webhooks import Endpoint, redirected, shipped
from tests.e2e.apiserver import ROOT, run
from tests.e2e.helm import render
from tests.glue.process import PYTHON

TIDEMILL_NAMESPACE = "tidemill-system"
Command = Callable[[Ports, Path], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """One controller."""

    name: str
    command: Command
    namespace: str
    secret: str = ""
    """Of the webhooks' certificate; a controller without one has no webhooks."""
    kustomizations: tuple[str, ...] = ()
    secure_metrics: bool = False
    health_is_metrics: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def user(self) -> str:
        """Its name for the API server."""
        return f"peer-{self.name}"

    @property
    def version(self) -> str:
        """Of its module, or of this project."""
        return MODULES[self.name].version if self.name in MODULES else _own_version()

    def passed(self, metrics: Mapping[str, float], objects: int) -> bool:
        """Whether each object was looked at, and nothing waits or is at work."""
        if self.name == "tidemill":
            return metrics.get("tidemill_first_pass_seconds", 0) > 0
        busy = metrics.get("workqueue_depth", 0) + metrics.get("controller_runtime_active_workers", 0)
        return metrics.get("controller_runtime_reconcile_total", 0) >= objects and busy == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A controller whose manifests are in the cluster."""

    controller: Controller
    bed: Bed
    ports: Ports
    kubeconfig: Path
    command: list[str]

    def start(self) -> Process:
        """Start it, once more or for the first time."""
        controller, ports = self.controller, self.ports
        scheme = "https" if controller.secure_metrics else "http"
        metrics = ports.health if controller.health_is_metrics else ports.metrics
        return Process(
            controller.name,
            self.command,
            environment={
                **controller.environment,
                "KUBECONFIG": str(self.kubeconfig),
                "POD_NAMESPACE": controller.namespace,
            },
            health=f"http://127.0.0.1:{ports.health}/readyz",
            metrics=f"{scheme}://127.0.0.1:{metrics}/metrics",
            log=self.bed.folder / f"{controller.name}.log",
            webhook=ports.webhook if controller.secret else None,
            certificates=self.bed.folder / f"{controller.name}-certificates" if controller.secret else None,
        )


def install(controller: Controller, bed: Bed, *groups: str) -> Installed:
    """Put into the cluster what a controller ships, and give it an identity."""
    ports = free_ports()
    kubeconfig = bed.identity(controller.user, *groups)
    if controller.secret:
        manifests = shipped(controller.name, controller.kustomizations, controller.namespace)
        if controller.name == "kserve":
            _without_ingress(manifests)
        endpoint = Endpoint(address=bed.cluster.host(), port=ports.webhook)
        secret = (controller.namespace, controller.secret)
        apply(redirected(manifests, endpoint, secret, bed.folder / f"{controller.name}-certificates"))
    elif controller.kustomizations:
        apply(shipped(controller.name, controller.kustomizations, controller.namespace))
    else:
        crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
        apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": controller.namespace}}, *crds])
    command = controller.command(ports, bed.folder)
    return Installed(controller=controller, bed=bed, ports=ports, kubeconfig=kubeconfig, command=command)


def _configured(peer: str, ports: Ports, folder: Path, more: Mapping[str, Any]) -> Path:
    """The configuration file that a peer ships, with our ports."""
    shipped_file = source(peer) / "config/components/manager/controller_manager_config.yaml"
    config = yaml.safe_load(shipped_file.read_text())
    own: Manifest = {
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": True},
        "webhook": {"port": ports.webhook},
        "health": {"healthProbeBindAddress": f":{ports.health}"},
        "metrics": {"bindAddress": f":{ports.metrics}"},
    }
    for section, values in own.items():
        config[section] = {**(config.get(section) or {}), **values}
    path = folder / f"{peer}-config.json"
    path.write_text(json.dumps({**config, **more}))
    return path


def _jobset(ports: Ports, folder: Path) -> list[str]:
    return [str(program("jobset")), f"--config={_configured('jobset', ports, folder, {})}", "--zap-log-level=2"]


def _kueue(ports: Ports, folder: Path) -> list[str]:
    config = _configured("kueue", ports, folder, {"namespace": "kueue-system"})
    flags = [f"--config={config}", "--zap-log-level=2", "--feature-gates=VisibilityOnDemand=false"]
    return [str(program("kueue")), *flags]


def _trainer(ports: Ports, _: Path) -> list[str]:
    return [
        str(program("trainer")),
        f"--webhook-server-port={ports.webhook}",
        f"--health-probe-bind-address=:{ports.health}",
        f"--metrics-bind-address=:{ports.metrics}",
        "--metrics-secure=false",
        "--zap-log-level=2",
    ]


def _kserve(ports: Ports, _: Path) -> list[str]:
    return [
        str(program("kserve")),
        f"--webhook-port={ports.webhook}",
        f"--health-probe-addr=:{ports.health}",
        f"--metrics-addr=:{ports.metrics}",
    ]


def _kuberay(ports: Ports, _: Path) -> list[str]:
    return [
        str(program("kuberay")),
        f"--metrics-addr=:{ports.metrics}",
        f"--health-probe-bind-address=:{ports.health}",
        "--enable-leader-election=false",
    ]


def _tidemill(ports: Ports, folder: Path) -> list[str]:
    """With the settings that the chart gives it."""
    run(str(ROOT / "hack/cluster"), "build", "helm", timeout=600)  # into the cluster's own programs, if it is not there
    settings = folder / "tidemill-settings.yaml"
    (found,) = (
        manifest["data"]["settings.yaml"]
        for manifest in render("tidemill", namespace=TIDEMILL_NAMESPACE)
        if manifest["kind"] == "ConfigMap" and "settings.yaml" in manifest["data"]
    )
    settings.write_text(found)
    flags = ["--config", str(settings), "--lease-enabled", "false"]
    flags += ["--http-port", str(ports.health), "--http-address", "127.0.0.1"]
    return [PYTHON, "-m", "tidemill.runtime", *flags]


def _without_ingress(manifests: list[Manifest]) -> None:
    """Settings of KServe that make a Deployment and a Service of an InferenceService, and need no Knative or Istio."""
    config = next(m for m in manifests if m["kind"] == "ConfigMap")
    ingress = json.loads(config["data"]["ingress"])
    ingress |= {"disableIstioVirtualHost": True, "disableIngressCreation": True}
    config["data"] |= {"ingress": json.dumps(ingress), "deploy": json.dumps({"defaultDeploymentMode": "Standard"})}


def _own_version() -> str:
    commit = run("git", "describe", "--always", "--dirty", "--exclude=*").stdout.strip()
    return f"{version('tidemill')} ({commit})" if commit else version("tidemill")


_peer = partial(Controller, kustomizations=("config/default",))
CONTROLLERS = {
    controller.name: controller
    for controller in (
        _peer(
            name="jobset",
            command=_jobset,
            namespace="jobset-system",
            secret="jobset-webhook-server-cert",
            secure_metrics=True,
        ),
        _peer(
            name="trainer",
            command=_trainer,
            namespace="kubeflow-system",
            secret="kubeflow-trainer-webhook-cert",
            kustomizations=("manifests/base/crds", "manifests/base/webhook"),
        ),
        _peer(
            name="kueue",
            command=_kueue,
            namespace="kueue-system",
            secret="kueue-webhook-server-cert",
            secure_metrics=True,
        ),
        _peer(
            name="kserve",
            command=_kserve,
            namespace="kserve",
            secret="kserve-webhook-server-cert",
            kustomizations=("config/crd/full", "config/configmap", "config/webhook"),
        ),
        # not compared: it makes the Ray clusters of Datasets (tests/e2e/test_ray.py)
        Controller(name="kuberay", command=_kuberay, namespace="kuberay", kustomizations=("config/crd",)),
        Controller(
            name="tidemill",
            command=_tidemill,
            namespace=TIDEMILL_NAMESPACE,
            health_is_metrics=True,
            environment={
                "PYTHONPATH": str(ROOT / "operator"),
                # the image's modules are compiled: without this a start would compile them anew wherever that is not kept
                "PYTHONDONTWRITEBYTECODE": "",
                "PYTHONPYCACHEPREFIX": str(cache() / "pyc"),
            },
        ),
    )
}
