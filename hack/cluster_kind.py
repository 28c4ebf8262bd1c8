"""The cluster on machines where a Docker daemon answers: kind, through the pytest-kind package. Called by hack/cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

KIND = os.environ.setdefault("KIND_VERSION", "v0.31.0")
KUBERNETES = os.environ.setdefault("KUBECTL_VERSION", "v1.35.0")

from pytest_kind import KindCluster  # noqa: E402 - it reads the versions when it is imported

IMAGES = Path(__file__).with_name("images")
DOWN = 3


def main(verb: str, name: str, folder: Path, arguments: list[str]) -> int:
    """Run a verb of hack/cluster."""
    programs = folder / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)  # pytest-kind writes a folder of its own into the working directory
    cluster = KindCluster(
        name,
        kubeconfig=folder / "kubeconfig",
        image=f"kindest/node:{KUBERNETES}",
        kind_path=programs / f"kind-{KIND}",
        kubectl_path=programs / "kubectl",
    )
    match verb:
        case "up":
            cluster.create()
            cluster.ensure_kubectl()
            helm = programs / "helm"
            helm.unlink(missing_ok=True)
            helm.symlink_to(os.environ["TIDEMILL_HELM"])
            subprocess.run(
                [cluster.kubectl_path, "wait", "--for=condition=Ready", "node", "--all", "--timeout=120s"],
                env={**os.environ, "KUBECONFIG": str(folder / "kubeconfig")},
                check=True,
                stdout=sys.stderr,
            )
        case "load":
            load(cluster, name, arguments)
        case "sigkill":
            container = arguments[0].removeprefix("containerd://")
            ctr = ["ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", container]
            subprocess.run(["docker", "exec", f"{name}-control-plane", *ctr], check=True)
        case "status":
            cluster.ensure_kind()
            clusters = subprocess.check_output([cluster.kind_path, "get", "clusters"], text=True).split()
            if name not in clusters:
                print(f"cluster {name}: down (kind)")
                return DOWN
            print(f"cluster {name}: up, kind {KIND}, Kubernetes {KUBERNETES}\nkubeconfig: {folder / 'kubeconfig'}")
        case "down":
            cluster.ensure_kind()
            subprocess.run([cluster.kind_path, "delete", "cluster", f"--name={name}"], check=True)
    return 0


def load(cluster: KindCluster, name: str, arguments: list[str]) -> None:
    """Load archives, and images by their names in hack/images (all that are built if there are no arguments)."""
    archives = [Path(argument) for argument in arguments if Path(argument).is_file()]
    names = [argument for argument in arguments if not Path(argument).is_file()]
    with tempfile.TemporaryDirectory() as scratch:
        if names or not arguments:
            archive = Path(scratch) / "images.tar"
            built = names or subprocess.check_output([IMAGES, "names"], text=True).split()
            with archive.open("wb") as out:
                subprocess.run([IMAGES, "archive", *built], stdout=out, check=True)
            archives.append(archive)
        for archive in archives:
            command = [str(cluster.kind_path), "load", "image-archive", "--name", name, str(archive)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
