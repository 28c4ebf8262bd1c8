"""Drift scores as PromQL: one expression gives the score of every feature of every deployment and artifact at once.

An artifact is a version's number and a digest: counts are only ever held against the baseline of the same artifact.

The counters of a window are summed over pods, so scores can be taken over replicas, restarts and any window.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from tidemill.api.v1alpha1.driftpolicy import DriftMetric
from tidemill.contract.metrics import (
    BASELINE_BIN_RATIO,
    BASELINE_MISSING_RATIO,
    FEATURE_BIN_TOTAL,
    FEATURE_MISSING_TOTAL,
    FEATURE_VALUES_TOTAL,
    LABEL_BIN,
    LABEL_DEPLOYMENT,
    LABEL_DIGEST,
    LABEL_FEATURE,
    LABEL_NAMESPACE,
    LABEL_VERSION,
    RATIO_FLOOR,
    SAMPLED_REQUESTS_TOTAL,
)

_VERSION = f"{LABEL_NAMESPACE}, {LABEL_DEPLOYMENT}, {LABEL_VERSION}, {LABEL_DIGEST}"
_FEATURE = f"{_VERSION}, {LABEL_FEATURE}"
_BIN = f"{_FEATURE}, {LABEL_BIN}"
_TINY = "1e-12"
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
MATCH_LIMIT = 50
"""Up to so many deployments are named in the query; beyond that, all are asked for."""


def matcher(*, namespaces: Collection[str], deployments: Collection[str]) -> str:
    """Label matchers that keep the query to these namespaces (none: all) and, when they are few, deployments."""
    parts = []
    for label, values in ((LABEL_NAMESPACE, namespaces), (LABEL_DEPLOYMENT, deployments)):
        if not values or (label == LABEL_DEPLOYMENT and len(values) > MATCH_LIMIT):
            continue
        if wrong := [v for v in values if not _DNS_LABEL.fullmatch(v)]:
            raise ValueError(f"not a DNS label: {wrong[0]!r}")
        parts.append(f'{label}=~"{"|".join(sorted(values))}"')
    return ", ".join(parts)


def score(metric: DriftMetric, *, window: int, match: str = "") -> str:
    """The score by namespace, deployment, version, digest and feature over the last `window` seconds."""
    match metric:
        case "PSI":
            return psi(window=window, match=match)
        case "JensenShannon":
            return jensen_shannon(window=window, match=match)
        case "MissingRate":
            return missing_rate(window=window, match=match)


def psi(*, window: int, match: str = "") -> str:
    """Population stability index: the sum over bins of (live - base) * ln(live / base), shares clipped from below."""
    live = f"clamp_min({_live(window, match)}, {RATIO_FLOOR})"
    base = f"clamp_min({_base(match)}, {RATIO_FLOOR})"
    return f"sum by ({_FEATURE}) (({live} - {base}) * ln({live} / {base}))"


def jensen_shannon(*, window: int, match: str = "") -> str:
    """Jensen-Shannon distance, base 2: 0 for equal shares, 1 for disjoint ones."""
    live, base = _live(window, match), _base(match)
    mean = f"clamp_min(({live} + {base}) / 2, {_TINY})"
    terms = " + ".join(f"{share} * log2(clamp_min({share}, {_TINY}) / {mean})" for share in (live, base))
    return f"sqrt(clamp_min(sum by ({_FEATURE}) ({terms}) / 2, 0))"


def missing_rate(*, window: int, match: str = "") -> str:
    """Growth of the share of missing values over the baseline's."""
    missing = f"sum by ({_FEATURE}) (increase({_selector(FEATURE_MISSING_TOTAL, match)}[{window}s]))"
    values = f"sum by ({_FEATURE}) (increase({_selector(FEATURE_VALUES_TOTAL, match)}[{window}s]))"
    base = f"max by ({_FEATURE}) ({_selector(BASELINE_MISSING_RATIO, match)})"
    return f"{missing} / ({values} > 0) - {base}"


def samples(*, window: int, match: str = "") -> str:
    """Sampled requests by namespace, deployment, version and digest over the window."""
    return f"sum by ({_VERSION}) (increase({_selector(SAMPLED_REQUESTS_TOTAL, match)}[{window}s]))"


def _live(window: int, match: str) -> str:
    """Each bin's share of the window's values; a bin that was never hit has the share 0. No values, no series."""
    counted = f"increase({_selector(FEATURE_BIN_TOTAL, match)}[{window}s])"
    count = f"sum by ({_BIN}) ({counted}) or {_base(match)} * 0"
    total = f"sum by ({_FEATURE}) ({counted}) > 0"
    return f"(({count}) / on ({_FEATURE}) group_left () ({total}))"


def _base(match: str) -> str:
    """Each bin's share in the training split. Every pod that has the model says the same: take it once."""
    return f"max by ({_BIN}) ({_selector(BASELINE_BIN_RATIO, match)})"


def _selector(name: str, match: str) -> str:
    return f"{name}{{{match}}}" if match else name
