"""A real S3 store (SeaweedFS on free loopback ports), and models trained once for many tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tidemill_worker.data import engine

from .lab import Lab, Seaweed, make_lab, start_seaweed
from .samples import Studio, dataset, train


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with start_seaweed(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture(scope="session")
def studio(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    lab = make_lab(seaweed, tmp_path_factory.mktemp("studio"))
    data = dataset(lab, 2000)
    regression = lab.run(train(lab, data, run="regression", trainer={"hiddenLayers": [64, 64]}))
    classification = lab.run(
        train(lab, data, "Classification", run="classification", trainer={"target": "carrier", "exclude": []})
    )
    return Studio(lab, data, regression, classification)


@pytest.fixture
def lab(seaweed: Seaweed, tmp_path: Path) -> Lab:
    return make_lab(seaweed, tmp_path)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The engine as a user's SQL finds it."""
    opened = engine.connect(tmp_path_factory.mktemp("engine"), 1 << 30)
    engine.lock(opened)
    yield opened
    opened.close()
