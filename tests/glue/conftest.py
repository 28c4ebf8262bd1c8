"""Fixtures: a cluster that no other operator works on, a namespace, and operator processes that end with the test."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.apiserver import temporary_namespace
from tests.e2e.cluster import Cluster
from tests.glue.plane import control_plane
from tests.glue.process import Operator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def glue_cluster() -> Iterator[Cluster]:
    """A control plane of its own (or TIDEMILL_KUBECONFIG's), with the CRDs."""
    with control_plane("glue") as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _environment(glue_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """kubectl and the operators of the test go to this cluster."""
    for name, value in glue_cluster.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def namespace(_environment: None) -> Iterator[str]:
    """A namespace of the test's own."""
    with temporary_namespace(f"glue-{secrets.token_hex(4)}") as name:
        yield name


@pytest.fixture
def operator(namespace: str, tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """Starts operators on the namespace: `operator("--flag", "value")`. All end with the test."""
    started: list[Operator] = []

    def start(*flags: str, kubeconfig: str | None = None) -> Operator:
        log = tmp_path / f"operator-{len(started)}.log"
        own = ("--watch-namespaces", namespace, "--lease-namespace", namespace)
        started.append(Operator(*own, *flags, log=log, kubeconfig=kubeconfig))
        return started[-1]

    yield start
    for process in started:
        process.kill()
