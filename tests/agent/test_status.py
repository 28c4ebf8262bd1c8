"""The status document, and the exposition of what was counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tests.agent.models import baseline, signature

from tidemill.contract.model import Baseline, FeatureBaseline
from tidemill.contract.reasons import Reason
from tidemill_agent.counters import KEEP_SECONDS, Counters
from tidemill_agent.status import MESSAGE_LIMIT, NoSampling, Report, status_of

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def status(report: Report, previous: dict[str, Any] | None = None, *, now: str = EARLY) -> dict[str, Any]:
    """The status of generation 2."""
    return status_of(replace(report, generation=2), previous=previous or {}, pod_uid="uid", now=now)


def test_the_time_of_a_condition_moves_only_with_its_status() -> None:
    loading = status(Report(state="Loading", message="loading"))
    failed = status(Report(state="Failed", message="no", attempts=2), loading, now=LATE)
    assert failed["conditions"][0]["reason"] == "LoadFailed"
    assert failed["conditions"][0]["lastTransitionTime"] == EARLY
    loaded = status(Report(state="Loaded"), failed, now=LATE)
    assert loaded["conditions"][0]["lastTransitionTime"] == LATE
    assert loaded["observedGeneration"] == loaded["conditions"][0]["observedGeneration"] == 2


def test_a_long_message_is_cut() -> None:
    assert len(status(Report(state="Failed", message="x" * 5000))["conditions"][0]["message"]) == MESSAGE_LIMIT


def test_a_server_without_a_tap_is_not_passed_over_in_silence() -> None:
    condition = status(Report(state="Loaded", no_sampling=NoSampling(Reason.NOT_SUPPORTED, "no tap")))["conditions"][1]
    assert (condition["type"], condition["status"], condition["message"]) == ("Sampling", "False", "no tap")


def test_the_exposition_is_what_prometheus_reads() -> None:
    counters = Counters("team")
    nasty = FeatureBaseline(name='q"\\\n', kind="categorical", categories=('a"b', "c\\d"), counts=(3, 1, 0), missing=4)
    counters.track("delay", 1, ONE, signature(), Baseline(rows=8, features=(nasty,)))
    counters.track("delay", 2, TWO, signature(), baseline())
    families = {family.name: family for family in text_string_to_metric_families(counters.render())}
    bins = families["tidemill_feature_bin"].samples
    assert {s.labels["bin"] for s in bins if s.labels["version"] == "1"} == {'a"b', "c\\d", "_other_"}
    assert {s.value for s in bins} == {0.0}
    ratios = families["tidemill_baseline_bin_ratio"].samples
    for version, feature in {(s.labels["version"], s.labels["feature"]) for s in ratios}:
        chosen = [s.value for s in ratios if (s.labels["version"], s.labels["feature"]) == (version, feature)]
        assert abs(sum(chosen) - 1) < 1e-12
    missing = families["tidemill_baseline_missing_ratio"].samples
    assert next(s.value for s in missing if s.labels["version"] == "1") == 0.5
    assert set(bins[0].labels) == {"namespace", "deployment", "version", "digest", "feature", "bin"}
    assert {s.labels["digest"] for s in bins if s.labels["version"] == "1"} == {"1" * 12}


def test_series_of_an_unloaded_version_stay_for_a_while() -> None:
    counters = Counters("team")
    counters.track("delay", 1, ONE, signature(), baseline())
    counters.track("delay", 2, TWO, signature(), baseline())
    counters.untrack("delay", 2, now=100.0)
    counters.forget(100.0 + KEEP_SECONDS - 1)
    assert 'version="1"' in counters.render()
    counters.forget(100.0 + KEEP_SECONDS + 1)
    assert 'version="1"' not in counters.render()
    assert 'version="2"' in counters.render()
