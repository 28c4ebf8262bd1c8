"""Readings: matched to policies, aligned in time, announced when they matter."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import generate_latest
from tests.unit.runtime.objects import raw

from tidemill.api.v1alpha1.driftpolicy import Monitor
from tidemill.reconcile.plan import Key
from tidemill.reconcile.policies.drift import judge
from tidemill.runtime.drift_scores import DriftScores
from tidemill.runtime.indices import Indices
from tidemill.runtime.metrics import Metrics
from tidemill.runtime.prometheus import Prometheus, PrometheusError
from tidemill.runtime.settings import PrometheusSettings

NOW = 600_037.0
AT = 600_000
OTHERS = ({"version": "1"}, {"digest": "3" * 12})
"""Other artifacts that are still counted: the version before, and one that had the same number."""
KEY = Key(kind="DriftPolicy", namespace="ns", name="p")


class Scripted(Prometheus):
    """Answers by the expression; everything else is the real thing."""

    def __init__(self) -> None:
        super().__init__(PrometheusSettings(url="http://unused"))
        self.psi = {AT - 120: 0.1, AT - 60: math.nan, AT: 0.3}
        self.samples = 1000.0
        self.samples_before: dict[int, float] | None = None
        self.error = ""
        self.asked: list[tuple[str, int, int, int]] = []

    async def query_range(self, expression: str, *, start: int, end: int, step: int) -> Any:
        self.asked.append((expression, start, end, step))
        if self.error:
            raise PrometheusError(self.error)
        labels = {"namespace": "ns", "deployment": "d", "version": "2", "digest": "2" * 12}
        if "sampled_requests" in expression:
            steps = range(start, end + 1, step)
            before = dict.fromkeys(steps, self.samples) if self.samples_before is None else self.samples_before
            return [(labels, {**before, end: self.samples})]
        return [
            ({**labels, "feature": "f"}, self.psi),
            *(({**labels, **other, "feature": "f"}, {end: 9.0}) for other in OTHERS),
        ]


def placement(pod: str, digit: str, loaded_at: str, *, version: int = 2) -> dict[str, Any]:
    """What a pod's agent says that it answers with."""
    serving = {
        "modelVersion": f"m-v{version}",
        "version": version,
        "digest": f"sha256:{digit * 64}",
        "loadedAt": loaded_at,
    }
    owner = {"kind": "Deployment", "name": "d", "uid": "uid-Deployment-d"}
    return raw("ModelPlacement", f"d-{pod}", owner=owner, spec={"deployment": "d"}, status={"serving": serving})


def scores(prometheus: Scripted, *, serving: int | None = 2, **spec: Any) -> tuple[DriftScores, list[Key], Metrics]:
    indices, queued, metrics = Indices(), list[Key](), Metrics()
    indices.upsert(raw("DriftPolicy", "p", spec={"deployment": "d", "interval": "1m", "window": "10m", **spec}))
    status = {"serving": {"name": "m-v2", "version": serving}} if serving else {}
    indices.upsert(raw("Deployment", "d", spec={"model": {"name": "m"}}, status=status))
    indices.upsert(placement("a", "2", "1970-01-07T10:00:00Z"))
    indices.upsert(placement("b", "1", "1970-01-07T11:00:00Z", version=1))
    made = DriftScores(
        indices,
        prometheus,
        namespaces=(),
        enqueue=queued.append,
        active=lambda: True,
        metrics=metrics,
        clock=lambda: NOW,
    )
    return made, queued, metrics


def test_the_last_evaluations_of_the_served_version_are_read() -> None:
    prometheus = Scripted()
    drift, queued, metrics = scores(prometheus, forConsecutive=3)
    assert drift.reading("ns", "p") is None
    asyncio.run(drift.evaluate_due())
    reading = drift.reading("ns", "p")
    assert reading is not None
    assert reading.evaluated_at == datetime.fromtimestamp(AT, UTC)
    assert reading.samples == 1000
    assert [str(v) for v in reading.scores["PSI", "f"]] == ["0.1", "nan", "0.3"]
    assert [asked[1:] for asked in prometheus.asked] == [(AT - 120, AT, 60)] * 2
    assert queued == [KEY]
    exported = metrics.registry.get_sample_value(
        "tidemill_drift_score",
        {"namespace": "ns", "policy": "p", "deployment": "d", "feature": "f", "metric": "PSI"},
    )
    assert exported == 0.3


def test_an_evaluation_is_made_once_an_interval() -> None:
    prometheus = Scripted()
    drift, _, _ = scores(prometheus)
    asyncio.run(drift.evaluate_due())
    asyncio.run(drift.evaluate_due())
    assert len(prometheus.asked) == 2


@pytest.mark.parametrize(("samples", "score", "times"), [(1000.0, 0.3, 2), (1000.0, 0.1, 1), (10.0, 0.3, 1)])
def test_a_drifting_policy_is_queued_at_every_evaluation_others_when_the_outcome_changes(
    samples: float, score: float, times: int
) -> None:
    prometheus = Scripted()
    prometheus.samples, prometheus.psi = samples, {AT: score}
    drift, queued, _ = scores(prometheus)
    for _ in range(2):
        drift._evaluations.clear()
        asyncio.run(drift.evaluate_due())
    assert queued == [KEY] * times


def test_nothing_served_is_a_reading_without_scores() -> None:
    drift, _, _ = scores(Scripted(), serving=None)
    asyncio.run(drift.evaluate_due())
    reading = drift.reading("ns", "p")
    assert reading is not None
    assert (reading.samples, dict(reading.scores), reading.error) == (0.0, {}, None)


def test_an_error_is_a_reading_too() -> None:
    prometheus = Scripted()
    prometheus.error = "http://prometheus cannot be reached"
    drift, queued, _ = scores(prometheus)
    asyncio.run(drift.evaluate_due())
    reading = drift.reading("ns", "p")
    assert reading is not None
    assert reading.error == "http://prometheus cannot be reached"
    assert queued == [KEY]


def test_monitors_choose_metrics_and_features() -> None:
    drift, _, _ = scores(Scripted(), monitors=[{"name": "x", "metric": "PSI", "features": ["other"]}])
    asyncio.run(drift.evaluate_due())
    reading = drift.reading("ns", "p")
    assert reading is not None
    assert dict(reading.scores) == {}


@pytest.mark.parametrize(
    ("before", "expected", "consecutive"),
    [
        ({AT - 120: 20.0, AT - 60: 499.0}, ["nan", "nan", "3.0"], 1),
        ({AT - 60: 500.0}, ["nan", "3.0", "3.0"], 2),
        ({AT - 120: 500.0, AT - 60: 20.0}, ["3.0", "nan", "3.0"], 1),
    ],
)
def test_an_evaluation_of_too_few_samples_is_no_evidence(
    before: dict[int, float], expected: list[str], consecutive: int
) -> None:
    prometheus = Scripted()
    prometheus.psi = {AT - 120: 3.0, AT - 60: 3.0, AT: 3.0}
    prometheus.samples_before = before
    drift, _, _ = scores(prometheus, forConsecutive=3, minSamples=500)
    asyncio.run(drift.evaluate_due())
    reading = drift.reading("ns", "p")
    assert reading is not None
    assert [str(score) for score in reading.scores["PSI", "f"]] == expected
    assert judge(Monitor(name="psi"), reading, for_consecutive=3).consecutive == consecutive


def test_the_score_of_too_few_samples_is_not_exported() -> None:
    prometheus = Scripted()
    prometheus.samples = 10.0
    drift, _, metrics = scores(prometheus)
    asyncio.run(drift.evaluate_due())
    assert b"tidemill_drift_score{" not in generate_latest(metrics.registry)


def test_an_artifact_that_took_over_the_number_is_judged_by_its_own_counts_only() -> None:
    prometheus = Scripted()
    drift, _, _ = scores(prometheus)
    drift._indices.upsert(placement("c", "4", "1970-01-07T12:00:00Z"))
    asyncio.run(drift.evaluate_due())
    reading = drift.reading("ns", "p")
    assert reading is not None
    assert (reading.samples, dict(reading.scores)) == (0.0, {})


def test_an_evaluation_from_before_an_artifact_was_loaded_is_no_reading_of_it() -> None:
    drift, _, _ = scores(Scripted())
    asyncio.run(drift.evaluate_due())
    drift._indices.upsert(placement("late", "2", "1970-01-09T00:00:00Z"))
    assert drift.reading("ns", "p") is not None, "another pod has answered with it before"
    drift._indices.upsert(placement("later", "4", "1970-01-09T00:00:01Z"))
    assert drift.reading("ns", "p") is None
