"""Intervals by the bootstrap: the rows are drawn anew, with replacement, and every metric is computed on each draw.

Percentile bootstrap (Efron 1979; Efron & Tibshirani 1993, ch. 13). At most 5,000 rows are drawn from: of a greater number n a
random m are taken, and their deviations are scaled by √(m/n) (m out of n bootstrap; Bickel, Götze & van Zwet 1997). A
thousand resamples of 5,000 rows take a CPU 0.3 s for a regression, 0.6 s for two classes and 6 s for twenty, and 20 MB. Equal
rows give equal intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tidemill.contract.directions import HIGHER_IS_BETTER, LOWER_IS_BETTER
from tidemill.contract.evaluating import ConfidenceOptions
from tidemill.contract.evaluation import Improvement, Interval
from tidemill_worker.model.evaluation import Rows
from tidemill_worker.model.metrics import Judged, improvement, improvements, metrics
from tidemill_worker.report.numbers import short, spread

MOST_ROWS = 5_000
_CHUNK = 200_000
"""Weights that are held at a time."""
_SEED = 0


def distributions(rows: Judged, resamples: int, most: int = MOST_ROWS) -> dict[str, np.ndarray]:
    """The bootstrap distribution of every metric [resamples]; NaN where a resample has none. Needs a row."""
    sample = rows.take(spread(len(rows), most))
    drawn: dict[str, list[np.ndarray]] = {}
    for weights in _draws(len(sample), resamples):
        for name, values in sample.measure(weights).items():
            drawn.setdefault(name, []).append(values)
    found = {name: np.concatenate(values) for name, values in drawn.items()}
    if len(sample) == len(rows):
        return found
    scale = math.sqrt(len(sample) / len(rows))
    whole, part = (r.measure(np.ones((1, len(r)))) for r in (rows, sample))
    return {name: whole[name] + scale * (values - part[name]) for name, values in found.items() if name in whole}


def _draws(rows: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each row is drawn in each resample: [some resamples, rows], float64."""
    random = np.random.default_rng(_SEED)
    step = max(1, _CHUNK // rows)
    for start in range(0, resamples, step):
        number = min(step, resamples - start)
        places = random.integers(0, rows, (number, rows)) + np.arange(number)[:, None] * rows
        yield np.bincount(places.ravel(), minlength=number * rows).reshape(number, rows).astype(np.float64)


def interval(values: np.ndarray, level: float) -> Interval | None:
    """The middle share of a distribution; None when more than half of it does not exist."""
    exists = values[np.isfinite(values)]
    if len(exists) * 2 < max(1, len(values)):
        return None
    low, high = np.quantile(exists, ((1 - level) / 2, (1 + level) / 2))
    return short(low), short(high)


def intervals(rows: Rows, options: ConfidenceOptions) -> dict[str, Interval]:
    """Of every metric that exists. The accuracy is a share of the rows, and has Wilson's interval."""
    point = metrics(rows)
    if not point or not options.resamples:
        return {}
    found = {}
    for name, values in distributions(rows, options.resamples).items():
        if name == "accuracy":
            found[name] = wilson(point[name] * len(rows), len(rows), options.level)
        elif name in point and (ends := interval(values, options.level)) is not None:
            found[name] = ends
    return found


def wilson(hits: float, rows: int, level: float) -> Interval:
    """The score interval of a share (Wilson 1927): it holds near 0 and 1 and for few rows (Brown, Cai & DasGupta 2001)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = hits / rows, z * z / rows
    middle = (share + weight / 2) / (1 + weight)
    half = math.sqrt(max(0.0, share * (1 - share)) * weight + weight * weight / 4) / (1 + weight)
    return short(max(0.0, middle - half)), short(min(1.0, middle + half))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """Two models' answers for the same rows, measured by how much the challenger improves on the champion."""

    champion: Rows
    challenger: Rows

    def __len__(self) -> int:
        return len(self.champion)

    def take(self, rows: np.ndarray) -> _Pair:
        return _Pair(champion=self.champion.take(rows), challenger=self.challenger.take(rows))

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        champion, challenger = self.champion.measure(weights), self.challenger.measure(weights)
        both = (HIGHER_IS_BETTER | LOWER_IS_BETTER) & champion.keys() & challenger.keys()
        return {name: improvements(name, champion[name], challenger[name]) for name in sorted(both)}


def compare(champion: Rows, challenger: Rows, options: ConfidenceOptions) -> dict[str, Improvement]:
    """By every metric that both have and that has a better side, as a pair: both are judged on the same rows of each
    resample, so that rows which are hard for both do not blur the difference (Efron & Tibshirani 1993, ch. 8)."""
    was, now = metrics(champion), metrics(challenger)
    pair = _Pair(champion=champion, challenger=challenger)
    drawn = distributions(pair, options.resamples) if options.resamples and len(pair) else {}
    found = {}
    for name in sorted((HIGHER_IS_BETTER | LOWER_IS_BETTER) & was.keys() & now.keys()):
        values = drawn.get(name)
        exists = None if values is None else values[np.isfinite(values)]
        found[name] = Improvement(
            champion=was[name],
            challenger=now[name],
            improvement=improvement(name, was[name], now[name]),
            interval=None if values is None else interval(values, options.level),
            better=None if exists is None or not len(exists) else short(float(np.mean(exists > 0))),
        )
    return found
