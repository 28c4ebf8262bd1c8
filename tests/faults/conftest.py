"""Fixtures: a control plane whose programs can be stopped, a world that ends Jobs, a stage for each test.

TIDEMILL_FAULT_SIZE=10000 and TIDEMILL_FAULT_KILLS=20 set the objects of a test and the leaders that are killed;
`python -m tests.faults.report` prints the table of what was counted (TIDEMILL_FAULT_REPORT, or faults.json in the cache).
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.apiserver import ROOT, eventually, temporary_namespace
from tests.e2e.cluster import Cluster
from tests.faults.stage import Stage
from tests.glue.plane import control_plane

SIZE = int(os.environ.get("TIDEMILL_FAULT_SIZE", "100"))
"""Objects of a stage."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def plane() -> Iterator[Cluster]:
    """A control plane of its own."""
    if "TIDEMILL_KUBECONFIG" in os.environ:
        pytest.skip("faults are made in the embedded cluster alone, never in one of TIDEMILL_KUBECONFIG")
    with control_plane("faults") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def world(plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """Pods run and end, models are loaded; a SIGSTOP lets everything run on without an end."""
    paths = os.pathsep.join(str(ROOT / part) for part in ("operator", "images/serving", ".", "images/worker"))
    log = tmp_path_factory.mktemp("world") / "world.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.world"], cwd=ROOT, stdout=out, stderr=out,
            env={**os.environ, **plane.environment, "PYTHONPATH": paths},
        )  # fmt: skip
    try:
        eventually("the world", lambda: "ready" in log.read_text(), seconds=60)
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)


@pytest.fixture(autouse=True)
def _environment(plane: Cluster, world: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """kubectl and the operators of the test go to this cluster."""
    for name, value in plane.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def stage(_environment: None, plane: Cluster, world: subprocess.Popen[bytes], tmp_path: Path) -> Iterator[Stage]:
    """An empty namespace."""
    with temporary_namespace(f"fault-{secrets.token_hex(4)}") as namespace:
        found = Stage(plane, namespace, tmp_path, SIZE)
        yield found
        found.end()
        world.send_signal(signal.SIGCONT)
