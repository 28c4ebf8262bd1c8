"""What Prometheus is told of the newest evaluation of what each Deployment uses."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.runtime.objects import raw
from tests.unit.runtime.test_gauges import NOWHERE

from tidemill.runtime.app import App
from tidemill.runtime.lease import Elector
from tidemill.runtime.settings import Settings

SPEC = {"model": {"name": "delay", "stage": "Production"}, "mode": "Batch", "batch": {"dataset": "flights"}}
ABOUT = {"namespace": "ns", "deployment": "used", "model": "delay", "version": "3", "dataset": "fresh"}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    """An operator that was not started, and leads."""
    monkeypatch.setattr(Elector, "is_leader", True)
    return App(Settings(), reconcilers={}, connection=NOWHERE)


def result(version: int, outcome: str, **parts: Any) -> dict[str, Any]:
    about = {"modelVersion": {"name": f"delay-v{version}", "version": version}, "datasetDigest": f"sha256:{'a' * 64}"}
    return {**about, "outcome": outcome, "at": "2026-01-01T00:00:10Z", "request": "r", **parts}


def deployed(app: App, *results: dict[str, Any], evaluated: bool = True) -> None:
    spec = {**SPEC, "evaluation": {"dataset": "fresh"}} if evaluated else SPEC
    app.indices.upsert(raw("Deployment", "used", spec=spec, status={"evaluation": {"results": list(results)}}))


def value(app: App, name: str, **labels: str) -> float | None:
    return app.metrics.registry.get_sample_value(f"tidemill_evaluation_{name}", {**ABOUT, **labels})


def test_the_newest_evaluation_is_told(app: App) -> None:
    deployed(app, result(3, "GateNotPassed", metrics={"mae": 12.5, "r2": 0.5}), result(2, "Passed", metrics={"mae": 9}))
    assert value(app, "metric", metric="mae") == 12.5
    assert value(app, "metric", metric="r2") == 0.5
    assert value(app, "outcome", outcome="GateNotPassed") == 1
    assert value(app, "timestamp_seconds") == 1767225610
    assert value(app, "metric", metric="mae", version="2") is None, "an older one would never go again"


def test_a_failed_one_has_an_outcome_only(app: App) -> None:
    deployed(app, result(3, "Failed"))
    assert value(app, "outcome", outcome="Failed") == 1
    assert value(app, "metric", metric="mae") is None


@pytest.mark.parametrize("case", ["follower", "not asked for", "none yet"])
def test_nothing_is_told(app: App, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Elector, "is_leader", case != "follower")
    found = () if case == "none yet" else (result(3, "Passed", metrics={"mae": 1.0}),)
    deployed(app, *found, evaluated=case != "not asked for")
    assert value(app, "outcome", outcome="Passed") is None
    assert value(app, "metric", metric="mae") is None
