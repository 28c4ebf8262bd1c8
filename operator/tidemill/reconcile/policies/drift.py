"""Policy: when a monitor drifts, and when its drift has lasted long enough to act upon.

A reading holds the newest evaluations, so the count of consecutive drifts needs no memory: it survives restarts, and two
operators would count alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tidemill.api.v1alpha1.driftpolicy import Monitor, MonitorStatus
from tidemill.reconcile.observed import DriftReading


def judge(monitor: Monitor, reading: DriftReading, *, for_consecutive: int) -> MonitorStatus:
    """The monitor's newest evaluation: its worst feature, and how many evaluations in a row have drifted."""
    series = _series(monitor, reading)
    newest = {feature: scores[-1] for feature, scores in series.items() if scores and not math.isnan(scores[-1])}
    if not newest:
        return unmeasured(monitor)
    worst = max(sorted(newest), key=lambda feature: newest[feature])
    consecutive = 0
    while consecutive < for_consecutive and _worst_at(series, consecutive + 1) >= monitor.threshold:
        consecutive += 1
    return MonitorStatus(
        name=monitor.name,
        metric=monitor.metric,
        worst_feature=worst,
        score=rounded(newest[worst]),
        threshold=monitor.threshold,
        drifted=consecutive > 0,
        consecutive=consecutive,
    )


def unmeasured(monitor: Monitor) -> MonitorStatus:
    """A monitor of which nothing is known."""
    return MonitorStatus(name=monitor.name, metric=monitor.metric, threshold=monitor.threshold)


def trigger(monitors: Sequence[MonitorStatus], *, for_consecutive: int) -> MonitorStatus | None:
    """The monitor that exceeds its threshold most among those that have drifted long enough."""
    lasting = [m for m in monitors if m.consecutive >= for_consecutive]
    return max(lasting, key=lambda m: (m.score or 0.0) / m.threshold, default=None)


def unknown_features(monitor: Monitor, reading: DriftReading) -> list[str]:
    """Features that the monitor names and that have no score in the reading."""
    scored = {feature for metric, feature in reading.scores if metric == monitor.metric}
    return sorted(set(monitor.features) - scored)


def rounded(score: float) -> float:
    """Two significant digits: what a status shows, so that noise alone is no write."""
    return float(f"{score:.2g}")


def _series(monitor: Monitor, reading: DriftReading) -> dict[str, tuple[float, ...]]:
    wanted = set(monitor.features)
    return {
        feature: scores
        for (metric, feature), scores in reading.scores.items()
        if metric == monitor.metric and (not wanted or feature in wanted)
    }


def _worst_at(series: dict[str, tuple[float, ...]], back: int) -> float:
    """The greatest score so many evaluations back (1: the newest); minus infinity when there is none."""
    found = [scores[-back] for scores in series.values() if len(scores) >= back and not math.isnan(scores[-back])]
    return max(found, default=-math.inf)
