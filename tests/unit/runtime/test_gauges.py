"""What a scrape says of the queue, the objects and the process, and what it costs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from tests.unit.runtime.objects import job, raw

from tidemill.kube.config import Connection
from tidemill.reconcile.plan import Key
from tidemill.runtime.app import App
from tidemill.runtime.gauges import memory_limit
from tidemill.runtime.settings import Settings

NOWHERE = Connection(server="http://127.0.0.1:1", tls=None, token=None, namespace="default")


@pytest.fixture
def app() -> App:
    """An operator that was not started."""
    return App(Settings(), reconcilers={}, connection=NOWHERE)


def value(app: App, name: str, **labels: str) -> float | None:
    return app.metrics.registry.get_sample_value(f"tidemill_{name}", labels or None)


def ready(status: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Verified", "status": "True"}, {"type": "Ready", "status": status}]}


def key(kind: str, name: str) -> Key:
    return Key(kind=kind, namespace="ns", name=name)


def test_the_queue_by_kind(app: App) -> None:
    queue = app.queue
    for name in ("a", "b"):
        queue.add(key("Dataset", name), bulk=True)
    queue.add(key("TrainingRun", "c"))
    names = ("queue_depth", "queue_delayed", "queue_failing", "queue_running")

    def of(kind: str) -> list[float | None]:
        return [value(app, name, kind=kind) for name in names]

    assert of("Dataset") == [2, 0, 0, 0]
    assert of("TrainingRun") == [1, 0, 0, 0]
    assert of("ServingPool") == [0, 0, 0, 0], "a kind without work is there all the same"
    oldest = value(app, "queue_oldest_seconds", kind="Dataset")
    assert oldest is not None
    assert 0 < oldest < 60
    assert value(app, "queue_oldest_seconds", kind="ServingPool") == 0


def test_objects_by_kind_and_readiness(app: App) -> None:
    app.indices.upsert(raw("ModelVersion", "a", version=1, status=ready("True")))
    app.indices.upsert(raw("ModelVersion", "b", version=2, status=ready("False")))
    app.indices.upsert(raw("ModelVersion", "c", version=3))
    app.indices.upsert(job("j", version=4))
    found = {state: value(app, "objects", kind="ModelVersion", ready=state) for state in ("True", "False", "")}
    assert found == {"True": 1, "False": 1, "": 1}
    assert value(app, "objects", kind="Job", ready="") == 1


def test_the_lease_is_not_said_to_have_moved_before_it_was_held(app: App) -> None:
    assert value(app, "lease_transitions", lease="tidemill-operator") is None
    app.elector.transitions = 7
    assert value(app, "lease_transitions", lease="tidemill-operator") == 7


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "536870912\n", 536870912),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "536870912\n", 536870912),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("other", "1", None),
    ],
)
def test_the_memory_limit_is_the_control_groups(tmp_path: Path, file: str, text: str, limit: int | None) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert memory_limit(tmp_path) == limit


def test_a_scrape_of_ten_thousand_resources_is_cheap(app: App) -> None:
    """Below 50 ms of CPU with 20,000 children and every resource in the queue; the best of several, for others compute, too."""
    for number in range(10_000):
        kind = ("Dataset", "TrainingRun", "ModelVersion", "Deployment")[number % 4]
        app.indices.upsert(raw(kind, f"r{number}", version=number + 1, status=ready("True")))
        app.queue.add(key(kind, f"r{number}"), bulk=True)
    for number in range(20_000):
        app.indices.upsert(job(f"j{number}", owner=f"r{number % 10_000}", version=number + 1))
    times = []
    for _ in range(5):
        started = time.process_time()
        text = generate_latest(app.metrics.registry).decode()
        times.append(time.process_time() - started)
    assert 'tidemill_objects{kind="Job",ready=""} 20000.0' in text
    assert min(times) < 0.05, times
