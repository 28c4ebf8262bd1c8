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


def judge_challenger(result: CompareResult, *, min_improvement: float, challenger: str, champion: str) -> Verdict:
    """The challenger passes when its improvement, relative to the champion, reaches the least that is asked for."""
    figures = (
        f"{result.metric} {result.challenger:.4g} against {result.champion:.4g} of {champion} on the newest "
        f"{result.rows} labelled rows: {result.improvement:+.2%}"
    )
    if not math.isnan(result.improvement) and result.improvement >= min_improvement:
        return Verdict(passed=True, message=f"{challenger} has {figures}")
    return Verdict(
        passed=False,
        message=f"{challenger} has {figures}; gate.minImprovement asks for {min_improvement:+.2%}: it is kept, not promoted",
    )


def awaits_approval(challenger: ModelVersion) -> bool:
    """Whether a person must still agree."""
    approval = challenger.spec.approval
    return approval.mode == "Manual" and not approval.approved_by
