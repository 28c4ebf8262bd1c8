"""Fixtures: the store, an API server (a real one, or the double for what that does too rarely), and serving pods."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.agent.double import ApiDouble
from tests.agent.gate import Gate
from tests.agent.placing import Placing
from tests.agent.pod import Pod
from tests.serving.triton import ROOT, build_backend
from tests.worker.conftest import Seaweed
from tests.worker.conftest import seaweed as seaweed

from tidemill.kube.config import from_kubeconfig


@dataclass
class Api:
    """An API server: its kubeconfig, and the double when it is one."""

    kubeconfig: Path
    double: ApiDouble | None = None


@pytest.fixture(scope="session")
def library() -> Path:
    """The serving backend, built from the tree."""
    return build_backend()


@pytest.fixture(scope="module", params=[pytest.param("cluster", marks=pytest.mark.e2e)])
def api(request: pytest.FixtureRequest) -> Api:
    """A real API server, which also holds the agent's writes against the schema."""
    return Api(request.getfixturevalue("cluster_kubeconfig"))


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Api]:
    """The double alone, for what a real server does too rarely."""
    server = ApiDouble()
    yield Api(_kubeconfig(tmp_path / "kubeconfig", server.port), server)
    server.stop()


def _kubeconfig(path: Path, port: int) -> Path:
    named = {"cluster": "double", "user": "double"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "double",
        "contexts": [{"name": "double", "context": named}],
        "clusters": [{"name": "double", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "double", "user": {}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="session")
def cluster_kubeconfig() -> Iterator[Path]:
    """$KUBECONFIG's cluster, or the one that hack/cluster knows, with the CRD of the one kind that the agent knows."""
    from tests.e2e.cluster import connect

    named = os.environ.get("KUBECONFIG")
    connected, started = (None, False) if named else connect()
    environment = {**os.environ, **(connected.environment if connected else {})}
    crd = ROOT / "crds" / "modelplacements.yaml"
    subprocess.run(["kubectl", "apply", "--server-side", "-f", crd], env=environment, check=True, timeout=60)
    wait = ["kubectl", "wait", "--for=condition=Established", "crd/modelplacements.tidemill.dev", "--timeout=30s"]
    subprocess.run(wait, env=environment, check=True, timeout=60)
    yield Path(environment["KUBECONFIG"])
    if connected and started:
        connected.down()


@pytest.fixture(scope="module")
def store(seaweed: Seaweed) -> Iterator[Gate]:
    """The store behind a door."""
    with Gate(int(seaweed.endpoint.rsplit(":", 1)[1])) as gate:
        yield gate


@pytest.fixture(scope="module")
def make_pod(
    library: Path, seaweed: Seaweed, store: Gate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Pod]]:
    """Makes a pod on an API server: `make_pod(api, TIDEMILL_FLUSH_ROWS="10")`."""
    credentials = {k: v for k, v in seaweed.environment().items() if k.startswith("AWS_")}
    with ExitStack() as stack:

        def make(api: Api, *, tap: bool = True, trace: bool = False, **settings: str) -> Pod:
            suffix = secrets.token_hex(4)
            connection = from_kubeconfig(api.kubeconfig)
            if api.double is None:
                made = ["kubectl", "--kubeconfig", str(api.kubeconfig)]
                subprocess.run([*made, "create", "namespace", f"agent-{suffix}"], check=True, timeout=30)
                stack.callback(
                    subprocess.run, [*made, "delete", "namespace", f"agent-{suffix}", "--wait=false"], check=True
                )
            placing = Placing(connection, f"agent-{suffix}", f"pool-{suffix}-0")
            pod = Pod(
                library=library,
                folder=tmp_path_factory.mktemp("pod"),
                store=store,
                placing=placing,
                kubeconfig=api.kubeconfig,
                settings={**credentials, **settings},
                tap=tap,
                trace=trace,
            )
            return stack.enter_context(pod)

        yield make


@pytest.fixture(scope="module")
def pod(make_pod: Callable[..., Pod], api: Api) -> Pod:
    """A pod with the usual settings, which the tests of a module share: each has a deployment of its own name."""
    return make_pod(api)


@pytest.fixture
def artifacts(seaweed: Seaweed) -> Callable[..., Any]:
    """Publishes models: `artifacts(onnx_model(2.0))`."""
    from tests.agent.models import publish

    def put(model: bytes, **extra: Any) -> Any:
        return publish(seaweed.client, "tidemill", f"agent/{secrets.token_hex(6)}", model, **extra)

    return put
