"""Steps of time series, and the season that a frequency suggests."""

from __future__ import annotations

import pytest

from tidemill.contract.frequency import Step


@pytest.mark.parametrize(
    ("frequency", "step", "season"),
    [
        ("1s", Step(seconds=1), 3600),
        ("5m", Step(seconds=300), 288),
        ("7m", Step(seconds=420), 1),
        ("1h", Step(seconds=3600), 24),
        ("5h", Step(seconds=18_000), 1),
        ("1d", Step(seconds=86_400), 7),
        ("2d", Step(seconds=172_800), 1),
        ("1w", Step(seconds=604_800), 52),
        ("2w", Step(seconds=1_209_600), 1),
        ("1mo", Step(months=1), 12),
        ("3mo", Step(months=3), 4),
        ("5mo", Step(months=5), 1),
    ],
)
def test_a_frequency_is_a_step_with_its_season(frequency: str, step: Step, season: int) -> None:
    assert Step.parse(frequency) == step
    assert step.season == season


@pytest.mark.parametrize("text", ["", "1", "0h", "1y", "1 h", "h", "10000s", "1.5h", "1M"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a frequency such as"):
        Step.parse(text)
