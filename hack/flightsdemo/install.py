"""The cluster, the images and the charts."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import yaml

from flightsdemo import kubectl
from flightsdemo.kubectl import NAMESPACE, DemoError
from flightsdemo.terminal import step

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples/flights"
SYSTEM = "tidemill-system"
BUCKET = "tidemill"
SECRET = "tidemill-store"
STORE = f"http://store.{SYSTEM}.svc:8333"
PROMETHEUS = f"http://prometheus.{SYSTEM}.svc:9090"


def _hack(*args: str) -> str:
    """One of the project's own tools; its progress goes to the terminal. Raises DemoError when it fails."""
    done = subprocess.run([str(ROOT / "hack" / args[0]), *args[1:]], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise DemoError(f"hack/{' '.join(args)} failed with exit status {done.returncode}; it says why above")
    return done.stdout


def cluster() -> None:
    """Bring up the cluster with the images loaded, and make it the one that kubectl and helm speak to.

    With TIDEMILL_IMAGES=FILE nothing is built or loaded: the cluster pulls the images of that file.
    """
    with step("Images"):
        _hack("images", "build")
    with step("Cluster"):
        _hack("cluster", "up")
        _hack("cluster", "load")
    for line in _hack("cluster", "env").splitlines():
        for assignment in line.removeprefix("export ").split():
            name, _, value = assignment.partition("=")
            os.environ[name] = os.path.expandvars(value.strip("\"'"))


def sigkill(container: str) -> None:
    """Kill a container's process. Raises DemoError on a cluster whose processes cannot be reached."""
    _hack("cluster", "sigkill", container)


def image(name: str) -> str:
    """The full name of a built image."""
    return _hack("images", "reference", name).strip()


def charts() -> None:
    """Install or upgrade the CRDs, the demo's store and Prometheus, and Tidemill."""
    with step("Charts"):
        if not kubectl.get("namespace", SYSTEM):
            kubectl.run("create", "namespace", SYSTEM)
            kubectl.run("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted")
        kubectl.run("apply", "-f", str(EXAMPLES / "namespace.yaml"))
        values = yaml.safe_load(_hack("images", "digests"))
        # the CRDs outlive their releases and may have come by kubectl: whoever brought them, the demo goes on with its own
        _helm("tidemill-crds", "charts/tidemill-crds", {}, "--take-ownership")
        stand = {
            "images": _only(values, "operator", "store", "prometheus"),
            "namespaces": [NAMESPACE],
            "store": {"bucket": BUCKET},
        }
        _helm("tidemill-demo", "charts/tidemill-demo", stand)
        settings = {
            "images": _only(values, "operator", "worker", "trainer", "language", "serving"),
            "store": {"bucket": BUCKET, "endpoint": STORE, "secretName": SECRET},
            "prometheus": {"url": PROMETHEUS},
            "progressSeconds": 3,
        }
        _helm("tidemill", "charts/tidemill", settings)


def _only(values: dict[str, dict[str, object]], *names: str) -> dict[str, object]:
    return {name: values["images"][name] for name in names}


def _helm(release: str, chart: str, values: dict[str, object], *more: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        args = [
            "upgrade",
            "--install",
            release,
            str(ROOT / chart),
            "-n",
            SYSTEM,
            "-f",
            file.name,
            "--wait",
            "--timeout",
            "3m",
            *more,
        ]
        done = subprocess.run(["helm", *args], capture_output=True, text=True)
    if done.returncode:
        raise DemoError(f"helm upgrade --install {release}: {done.stderr.strip()}\n{_why_not_ready()}")


def _why_not_ready() -> str:
    """The pods of the system namespace, for a failed installation's message."""
    return kubectl.run("get", "pods", "-n", SYSTEM, "-o", "wide")
