"""When a challenger takes over."""

from __future__ import annotations

import math

import pytest

from tidemill.contract.results import CompareResult
from tidemill.contract.tasks import ArtifactRef
from tidemill.reconcile.policies.promotion import judge_challenger


@pytest.mark.parametrize(
    ("improvement", "least", "passed"),
    [(0.02, 0.01, True), (0.01, 0.01, True), (0.009, 0.01, False), (0.0, 0.0, True), (-0.1, -0.2, True),
     (math.nan, -1.0, False), (-math.inf, -1.0, False)],
)  # fmt: skip
def test_the_least_improvement_is_enough(improvement: float, least: float, passed: bool) -> None:
    artifact = ArtifactRef(uri="s3://b/x", digest="sha256:" + "a" * 64)
    result = CompareResult(
        artifact=artifact, metric="mae", champion=20.0, challenger=19.0, improvement=improvement, rows=500
    )
    verdict = judge_challenger(result, min_improvement=least, challenger="delay-v2", champion="delay-v1")
    assert verdict.passed is passed
    assert "mae 19 against 20 of delay-v1 on the newest 500 labelled rows" in verdict.message
    assert ("gate.minImprovement asks for" in verdict.message) is not passed


@pytest.mark.parametrize(
    ("confidence", "least", "passed", "words"),
    [
        (0.97, 0.95, True, ""),
        (0.95, 0.95, True, ""),
        (0.6, None, True, ""),
        (0.93, 0.95, False, "better in 95.0% of the resamples, it is better in 93.0% of them: it is kept"),
        (None, 0.95, False, "no share is known"),
    ],
)
def test_the_least_confidence_is_enough(
    confidence: float | None, least: float | None, passed: bool, words: str
) -> None:
    result = CompareResult(
        artifact=ArtifactRef(uri="s3://b/x", digest="sha256:" + "a" * 64),
        metric="mae",
        champion=20.0,
        challenger=19.0,
        improvement=0.031,
        interval=(0.012, 0.049),
        confidence=confidence,
        rows=500,
    )
    verdict = judge_challenger(
        result, min_improvement=0.01, min_confidence=least, challenger="delay-v2", champion="delay-v1"
    )
    assert verdict.passed is passed
    assert words in verdict.message
    assert "+3.10% [+1.20%, +4.90%]" in verdict.message
