"""Fixtures of the end-to-end tests: the cluster, and namespaces on it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest
from tests.e2e import stand
from tests.e2e.apiserver import kubectl, temporary_namespace
from tests.e2e.cluster import Cluster, connect


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster that hack/cluster knows: the running one, or one that lives as long as the tests do."""
    connected, started_here = connect()
    before = {name: os.environ.get(name) for name in connected.environment}
    os.environ.update(connected.environment)  # kubectl and helm of every test go to this cluster
    try:
        yield connected
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if started_here:
            connected.down()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:  # noqa: ARG001 - fixtures of fixtures are arguments
    """A namespace of its own for a test, under Pod Security `restricted`."""
    with temporary_namespace(f"test-{secrets.token_hex(4)}") as name:
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield name


@pytest.fixture(scope="session")
def installation(cluster: Cluster) -> Iterator[stand.Stand]:
    """Tidemill, installed once by its charts; one that was there before is upgraded, and stays."""
    was_there = stand.is_installed()
    yield stand.install(cluster)
    if not was_there:
        stand.uninstall()


@pytest.fixture(scope="module")
def tidemill(installation: stand.Stand) -> Iterator[stand.Stand]:
    """The installed Tidemill; what a module makes in its namespace is gone when the module ends."""
    stand.clear()
    yield installation
    stand.clear()
