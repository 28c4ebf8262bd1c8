"""Policy: whether a challenger takes over from the champion."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.contract.results import CompareResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says, with the figures."""

    passed: bool
    message: str


def judge_challenger(
    result: CompareResult,
    *,
    min_improvement: float,
    min_confidence: float | None = None,
    challenger: str,
    champion: str,
) -> Verdict:
    """The challenger passes when its improvement, relative to the champion, reaches the least that is asked for, and when it
    is better in the share of resamples that is asked for. A result without such a share does not pass."""
    spread = "" if result.interval is None else f" [{result.interval[0]:+.2%}, {result.interval[1]:+.2%}]"
    figures = (
        f"{result.metric} {result.challenger:.4g} against {result.champion:.4g} of {champion} on the newest "
        f"{result.rows} labelled rows: {result.improvement:+.2%}{spread}"
    )
    if math.isnan(result.improvement) or result.improvement < min_improvement:
        missed = f"gate.minImprovement asks for {min_improvement:+.2%}"
    elif min_confidence is not None and (result.confidence or 0.0) < min_confidence:
        found = "no share is known" if result.confidence is None else f"it is better in {result.confidence:.1%} of them"
        missed = f"gate.minConfidence asks that it is better in {min_confidence:.1%} of the resamples, {found}"
    else:
        return Verdict(passed=True, message=f"{challenger} has {figures}")
    return Verdict(passed=False, message=f"{challenger} has {figures}; {missed}: it is kept, not promoted")


def awaits_approval(challenger: ModelVersion) -> bool:
    """Whether a person must still agree."""
    approval = challenger.spec.approval
    return approval.mode == "Manual" and not approval.approved_by
