"""Two real trainings in a real store, and an API server: without a cluster one that answers as the real one does."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cli.api import Api, RealApi, double_api
from tests.e2e.apiserver import temporary_namespace
from tests.e2e.cluster import Cluster
from tests.glue.plane import control_plane
from tests.worker.lab import Lab, Seaweed, make_lab, start_seaweed
from tests.worker.samples import dataset, train

from tidemill.contract.results import TrainResult
from tidemill_cli.main import main


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with start_seaweed(tmp_path_factory.mktemp("weed")) as running:
        yield running


@dataclass(frozen=True)
class Training:
    """A run that has really been trained: its result, what it was asked for, and its folder in the store."""

    lab: Lab
    result: TrainResult
    trainer: dict[str, Any]
    folder: str
    data: dict[str, Any]

    def copy_to(self, namespace: str, name: str, uid: str) -> str:
        """What lies in the run's folder, in the folder of a run of this name: the layout goes by namespace, name and UID."""
        folder = f"s3://tidemill/{namespace}/runs/{name}/{uid}"
        for file in ("metrics.jsonl", "run.json"):
            body = self.lab.get(f"{self.folder}/{file}")
            self.lab.seaweed.client.put_object(Bucket="tidemill", Key=self.lab.key(f"{folder}/{file}"), Body=body)
        return folder


@pytest.fixture(scope="session")
def trainings(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, Training]:
    """Two regressions that differ in learning rate and layers."""
    lab = make_lab(seaweed, tmp_path_factory.mktemp("trainings"))
    data = dataset(lab, 600)
    made = []
    for name, trainer in (
        ("fast", {"learningRate": 0.02, "hiddenLayers": [16]}),
        ("slow", {"learningRate": 0.001, "hiddenLayers": [32, 16]}),
    ):
        document = train(lab, data, run=name, trainer=trainer)
        result = lab.run(document)
        made.append(Training(lab, result, document["trainer"], document["runRoot"], data))
    return made[0], made[1]


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[Cluster]:
    """A control plane with the CRDs; the one of the engine's tests when it runs already."""
    with control_plane("glue") as cluster:
        yield cluster


@pytest.fixture(params=["double", pytest.param("real", marks=pytest.mark.e2e)])
def api(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A namespace on an API server."""
    if request.param == "double":
        with double_api(tmp_path) as made:
            yield made
        return
    cluster: Cluster = request.getfixturevalue("real_cluster")
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    with temporary_namespace(f"cli-{secrets.token_hex(4)}") as namespace:
        yield RealApi(namespace, tmp_path, Path(cluster.environment["KUBECONFIG"]))


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


Tidemill = Callable[..., Said]


@pytest.fixture
def tidemill(api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tidemill:
    """`kubectl tidemill …` as whoever may do anything in the namespace, or by another kubeconfig."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # whatever this machine's own keys are
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)

    def run(*arguments: str, kubeconfig: Path | None = None) -> Said:
        path = kubeconfig or api.kubeconfig()
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:  # the tests themselves go on as who they are
            patch.setenv("KUBECONFIG", str(path))
            try:
                status = main(arguments)
            except SystemExit as end:  # argparse
                status = int(end.code or 0)
        said = capsys.readouterr()
        return Said(status, said.out, said.err)

    return run
