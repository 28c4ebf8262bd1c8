"""Metrics of a classification in plain numpy, for many weightings of the rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from tidemill_worker.model.metrics import mean

_SMALLEST = 1e-15
CALIBRATION_BINS = 15
"""Equal bins of the confidence, as in Guo et al. 2017."""
RANKED_CLASSES = 20
"""With more classes the one-vs-rest metrics, which sort the rows once for each class, are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationRows:
    """Classes that were asked for and classes that a model gave.

    `truth` and `guess` are indices [rows] into `names`: the model's `known` classes in their order, then those that it does
    not know, which count as wrong and as a probability of zero. `probabilities` is float64 [rows, known], or None. Of two
    classes the second is the positive one.
    """

    names: tuple[str, ...]
    known: int
    truth: np.ndarray
    guess: np.ndarray
    probabilities: np.ndarray | None
    block: ClassVar[int] = 1

    @classmethod
    def of(
        cls, target: np.ndarray, label: np.ndarray, probabilities: np.ndarray | None, classes: Sequence[str]
    ) -> ClassificationRows:
        """From texts [rows], and probabilities in the order of `classes`."""
        unknown = sorted({*target, *label} - set(classes))
        names = (*classes, *unknown)
        place = {name: index for index, name in enumerate(names)}
        return cls(
            names=names,
            known=len(classes),
            truth=np.array([place[name] for name in target], dtype=np.int64),
            guess=np.array([place[name] for name in label], dtype=np.int64),
            probabilities=None if probabilities is None else probabilities.astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: np.ndarray) -> ClassificationRows:
        """Some of the rows, by index or mask."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        return replace(self, truth=self.truth[rows], guess=self.guess[rows], probabilities=probabilities)

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """accuracy, balancedAccuracy, f1Macro, and with probabilities logLoss, brier, expectedCalibrationError and the ranks.

        The ranks are rocAuc and averagePrecision of two classes, or rocAucOvrMacro and averagePrecisionMacro of more, which
        are means over the classes that both occur and do not. f1Macro is over the classes that occur in target or answer,
        balancedAccuracy over those that occur in the target. brier of two classes is the squared error of the positive
        one's probability, of more the sum over all (Brier 1950), as scikit-learn has it.
        """
        support, guessed, hits = self.counts(weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "accuracy": hits.sum(axis=1) / weights.sum(axis=1),
                "balancedAccuracy": _mean_where(support > 0, hits / support),
                "f1Macro": _mean_where(support + guessed > 0, 2 * hits / (support + guessed)),
            }
        if self.probabilities is None:
            return found
        found["logLoss"] = mean(weights, self.losses(self.probabilities))
        found["brier"] = mean(weights, self._brier(self.probabilities))
        found["expectedCalibrationError"] = self._calibration_error(weights, self.probabilities)
        return found | self._ranks(weights, self.probabilities)

    def counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of each class, answers with each class, and right answers: each [weightings, names]."""
        hit = self.truth == self.guess
        return (
            _by_code(weights, self.truth, len(self.names)),
            _by_code(weights, self.guess, len(self.names)),
            _by_code(weights[:, hit], self.truth[hit], len(self.names)),
        )

    def losses(self, probabilities: np.ndarray) -> np.ndarray:
        """The logarithmic loss of each row."""
        likelihood = probabilities[np.arange(len(self)), np.minimum(self.truth, self.known - 1)]
        return np.asarray(-np.log(np.clip(np.where(self.truth < self.known, likelihood, 0.0), _SMALLEST, 1.0)))

    def _brier(self, probabilities: np.ndarray) -> np.ndarray:
        truth = self.truth[:, None] == np.arange(self.known)
        if self.known == 2:
            return np.asarray((probabilities[:, 1] - truth[:, 1]) ** 2)
        return np.asarray(((probabilities - truth) ** 2).sum(axis=1))

    def _calibration_error(self, weights: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """The mean distance of confidence and accuracy over bins of the confidence (Guo et al. 2017)."""
        confidence = probabilities.max(axis=1)
        surplus = confidence - (probabilities.argmax(axis=1) == self.truth)
        bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
        total = np.abs(_by_code(weights * surplus, bins, CALIBRATION_BINS)).sum(axis=1)
        return np.asarray(total / weights.sum(axis=1))

    def _ranks(self, weights: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
        if self.known == 2:
            area, precision = ranked(weights, self.truth == 1, probabilities[:, 1])
            return {"rocAuc": area, "averagePrecision": precision}
        if not 2 < self.known <= RANKED_CLASSES:
            return {}
        each = [ranked(weights, self.truth == k, probabilities[:, k]) for k in range(self.known)]
        areas, precisions = (np.stack(values, axis=1) for values in zip(*each, strict=True))
        return {
            "rocAucOvrMacro": _mean_where(np.isfinite(areas), areas),
            "averagePrecisionMacro": _mean_where(np.isfinite(precisions), precisions),
        }


def ranked(weights: np.ndarray, positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision, each [weightings]; NaN unless both kinds of rows are there.

    The area is the probability that a positive row scores above a negative one, ties counting half; the average precision is
    Σ (Rₙ − Rₙ₋₁) Pₙ over the distinct scores from the highest down.
    """
    order = np.argsort(-score, kind="stable")
    falling, ordered = score[order], weights[:, order]
    first = np.flatnonzero(np.r_[True, falling[1:] != falling[:-1]])
    positives = np.add.reduceat(ordered * positive[order], first, axis=1)
    negatives = np.add.reduceat(ordered, first, axis=1) - positives
    hits, misses = np.cumsum(positives, axis=1), np.cumsum(negatives, axis=1)
    all_hits, all_misses = hits[:, -1], misses[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        above = (positives * (all_misses[:, None] - misses + negatives / 2)).sum(axis=1)
        area = above / (all_hits * all_misses)
        precision = (positives * np.where(hits > 0, hits / (hits + misses), 0.0)).sum(axis=1) / all_hits
    exists = (all_hits > 0) & (all_misses > 0)
    return np.where(exists, area, np.nan), np.where(exists, precision, np.nan)


def _by_code(weights: np.ndarray, codes: np.ndarray, number: int) -> np.ndarray:
    """Sums of the weights [weightings, rows] by code: [weightings, number]."""
    places = np.arange(len(weights))[:, None] * number + codes
    return np.bincount(places.ravel(), weights=weights.ravel(), minlength=len(weights) * number).reshape(-1, number)


def _mean_where(exists: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means over the second axis of the values that exist; NaN where none does."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(exists, values, 0.0).sum(axis=1) / exists.sum(axis=1))
