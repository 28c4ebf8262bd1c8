"""Counts of artifacts that share a version's number: they never meet each other's baseline."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from tests.agent.models import baseline, signature

from tidemill.contract.model import Baseline, FeatureBaseline
from tidemill_agent.counters import KEEP_SECONDS, Counters
from tidemill_agent.tap import Batch

OLD, NEW = (f"sha256:{digit * 64}" for digit in "12")
OTHER = Baseline(rows=2, features=(FeatureBaseline(name="distance", kind="numeric", edges=(5.0,), counts=(1, 1)),))


def batch(*distances: float) -> Batch:
    """Requests to version 1 of `delay`, as the tap gives them."""
    values = np.array(distances, dtype=np.float32)
    return Batch(
        model="delay",
        version=1,
        batched=False,
        request_ids=np.array([b""] * len(values)),
        time_ns=np.full(len(values), int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9, dtype=np.uint64),
        inputs={"distance": values},
        outputs={},
    )


def counted(counters: Counters, digest: str) -> list[float]:
    """An artifact's counts of `distance` by bin."""
    families = {family.name: family for family in text_string_to_metric_families(counters.render())}
    return [
        sample.value
        for sample in families["tidemill_feature_bin"].samples
        if sample.labels["digest"] == digest.removeprefix("sha256:")[:12] and sample.labels["feature"] == "distance"
    ]


def test_another_artifact_under_the_same_number_has_counts_of_its_own() -> None:
    counters = Counters("team")
    counters.track("delay", 1, OLD, signature(), baseline())
    counters.answers("delay", 1, OLD)
    counters.add(batch(50.0, 150.0))
    counters.track("delay", 1, NEW, signature(), OTHER)
    counters.add(batch(50.0))
    assert counted(counters, NEW) == [0.0, 0.0], "until it answers, the old one does"
    counters.answers("delay", 1, NEW)
    counters.untrack("delay", 1, now=100.0)
    counters.add(batch(1.0, 7.0, 8.0))
    assert counted(counters, NEW) == [1.0, 2.0]
    assert counted(counters, OLD) == [2.0, 1.0, *[0.0] * 8]
    counters.forget(101.0 + KEEP_SECONDS)
    assert counted(counters, OLD) == []
    assert counted(counters, NEW) == [1.0, 2.0]


def test_an_artifact_that_could_not_be_loaded_leaves_the_old_one_counting() -> None:
    counters = Counters("team")
    counters.track("delay", 1, OLD, signature(), baseline())
    counters.answers("delay", 1, OLD)
    counters.track("delay", 1, NEW, signature(), OTHER)
    counters.untrack("delay", 1, now=100.0)
    counters.forget(101.0 + KEEP_SECONDS)
    counters.add(batch(50.0))
    assert counted(counters, OLD) == [1.0, *[0.0] * 9]
    assert counted(counters, NEW) == []


def test_what_is_loaded_again_goes_on_where_it_was() -> None:
    counters = Counters("team")
    for digest in (OLD, NEW, OLD):
        counters.track("delay", 1, digest, signature(), baseline())
        counters.answers("delay", 1, digest)
        counters.untrack("delay", 1, now=100.0)
        counters.add(batch(50.0))
    counters.forget(101.0 + KEEP_SECONDS)
    assert counted(counters, OLD) == [2.0, *[0.0] * 9]
    assert counted(counters, NEW) == []
