"""What each of the project's images is made of, and how it runs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .debian import Packages
from .python import SITE, Files, Requirements
from .serving import PREFIX, Backend, Triton
from .store import REPO, BuildError

REPOSITORY = "localhost/tidemill"
USER = "65532:65532"


class Part(Protocol):
    """A layer's recipe."""

    def check(self) -> None: ...
    def key(self) -> str: ...
    def stage(self, root: Path) -> None: ...


@dataclass(frozen=True)
class Recipe:
    """An image's layers, lowest first, its command and its environment."""

    parts: tuple[Part, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """The configuration that a container starts with."""
        environment = {**ENVIRONMENT, **self.environment}
        config: dict[str, Any] = {
            "User": USER,
            "WorkingDir": "/tmp",
            "Env": [f"{k}={v}" for k, v in environment.items()],
        }
        if self.entrypoint:
            config["Entrypoint"] = list(self.entrypoint)
        if self.command:
            config["Cmd"] = list(self.command)
        return config


ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    # modules come from the image only, never from the working directory or the home, which containers of a pod may share
    "PYTHONSAFEPATH": "1",
    "PYTHONNOUSERSITE": "1",
}

SYSTEM = Packages(
    (
        "base-files",
        "netbase",
        "tzdata",
        "ca-certificates",
        "media-types",
        "busybox-static",
        "libc6",
        "libgcc-s1",
        "libstdc++6",
    ),
    base=True,
    drop=("usr/share/zoneinfo/right", "usr/share/zoneinfo/posix", "usr/lib/x86_64-linux-gnu/gconv"),
)
PYTHON_DEBS = Packages(
    (
        "zlib1g",
        "libssl3",
        "libexpat1",
        "libffi8",
        "libbz2-1.0",
        "liblzma5",
        "libsqlite3-0",
        "libuuid1",
        "libcrypt1",
        "libgomp1",
        "libpython3.11-minimal",
        "libpython3.11-stdlib",
        "python3.11-minimal",
        "python3.11",
        "python3-minimal",
    ),
    drop=tuple(f"usr/lib/python3.11/{name}" for name in ("lib2to3", "pydoc_data", "test", "turtledemo", "idlelib")),
    compiled=True,
)
LIBPYTHON = Packages(("libpython3.11",), paths=("usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0",))
PROMETHEUS = Packages(
    ("prometheus", "prometheus-alertmanager"),
    paths=(
        "usr/bin/prometheus",
        "usr/bin/promtool",
        "usr/bin/prometheus-alertmanager",
        "usr/bin/amtool",
        "usr/share/prometheus/alertmanager",
    ),
)
CONTRACT = tuple((f"operator/tidemill/{name}", f"{SITE}/tidemill/{name}") for name in ("__init__.py", "contract"))
# the client, and the layers below it
CLIENT = tuple(
    (f"operator/tidemill/{name}", f"{SITE}/tidemill/{name}") for name in ("api", "build", "reconcile", "kube")
)


def _without_cuda(site: Path) -> None:
    """Put stand-ins where torch links CUDA's libraries, which it does not need on a CPU."""
    command = [sys.executable, str(REPO / "hack/torch_cpu_stubs.py"), str(site / "torch/lib")]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise BuildError(f"torch's stand-ins for CUDA could not be made (they need gcc):\n{run.stderr.strip()}")


WORKER = (
    SYSTEM,
    PYTHON_DEBS,
    Requirements("requirements/worker.txt", trim="images/worker/trim.txt"),
)
TORCH = Requirements(
    "requirements/trainer.txt",
    without="requirements/worker.txt",
    trim="images/trainer/trim.txt",
    after=_without_cuda,
    after_sources=("hack/torch_cpu_stubs.py",),
)
RAY = Requirements("requirements/ray.txt", without="requirements/worker.txt", trim="images/ray/trim.txt")
# KubeRay starts the nodes by `/bin/bash -c "… ray start …"`
RAY_SHELL = Packages(("bash", "libtinfo6"), paths=("usr/bin/bash", "usr/lib/x86_64-linux-gnu/libtinfo.so.6*"))
RAY_COMMAND = Files((("images/ray/ray", "usr/local/bin/ray"),))
TRANSFORMERS = Requirements(
    "requirements/language.txt", without="requirements/trainer.txt", trim="images/language/trim.txt"
)
WORKER_CODE = Files(
    (*CONTRACT, ("images/worker/tidemill_worker", f"{SITE}/tidemill_worker")),
    hint="the worker image is made of it",
)
MATPLOTLIB = {"MPLBACKEND": "Agg", "MPLCONFIGDIR": "/tmp/matplotlib"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

RECIPES: dict[str, Recipe] = {
    "operator": Recipe(
        (
            SYSTEM,
            PYTHON_DEBS,
            Requirements("requirements/operator.txt", trim="images/operator/trim.txt"),
            Files((("operator/tidemill", f"{SITE}/tidemill"),), hint="the operator image is made of it"),
        ),
        entrypoint=("python3", "-m", "tidemill.runtime"),
    ),
    "worker": Recipe(
        (*WORKER, WORKER_CODE),
        entrypoint=("python3", "-m", "tidemill_worker"),
        environment=MATPLOTLIB,
    ),
    "trainer": Recipe(
        (*WORKER, TORCH, WORKER_CODE),
        entrypoint=("python3", "-m", "tidemill_worker"),
        environment=MATPLOTLIB,
    ),
    # the driver of Datasets with engine Ray, and the nodes of the Ray cluster that they use
    "ray": Recipe(
        (*WORKER, RAY_SHELL, RAY, RAY_COMMAND, WORKER_CODE),
        entrypoint=("python3", "-m", "tidemill_worker"),
        environment=MATPLOTLIB,
    ),
    "language": Recipe(
        (*WORKER, TORCH, TRANSFORMERS, WORKER_CODE),
        entrypoint=("python3", "-m", "tidemill_worker"),
        environment={**MATPLOTLIB, **OFFLINE},
    ),
    "serving": Recipe(
        (
            SYSTEM,
            PYTHON_DEBS,
            LIBPYTHON,
            Requirements("requirements/serving.txt", trim="images/serving/trim.txt"),
            Triton(),
            Backend(),
            Files(
                (*CONTRACT, *CLIENT, ("images/serving/tidemill_agent", f"{SITE}/tidemill_agent")),
                hint="the serving image is made of it",
            ),
        ),
        # one image, two commands: tritonserver …, or python3 -m tidemill_agent
        command=("tritonserver", "--help"),
        environment={
            "LD_LIBRARY_PATH": f"/{PREFIX}/triton/nvidia_pytriton.libs:/{PREFIX}/lib",
            "ORT_DYLIB_PATH": f"/{PREFIX}/lib/libonnxruntime.so",
            "TIDEMILL_BACKENDS": f"/{PREFIX}/backends",
        },
    ),
    "store": Recipe(
        (SYSTEM, Requirements("requirements/store.txt", program="weed")),
        entrypoint=("weed",),
    ),
    "flights-client": Recipe(
        (
            *WORKER,
            Requirements("requirements/demo.txt", without="requirements/worker.txt"),
            Files(
                (("examples/flights/flights_client", f"{SITE}/flights_client"),), hint="the demo's client is made of it"
            ),
        ),
        entrypoint=("sleep", "infinity"),
    ),
    "prometheus": Recipe((SYSTEM, PROMETHEUS), command=("prometheus", "--version")),
}
