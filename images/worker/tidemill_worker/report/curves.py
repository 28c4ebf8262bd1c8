"""Pictures of a split in numbers: confusion, calibration, ROC and precision-recall curves, residuals."""

from __future__ import annotations

import numpy as np

from tidemill.contract.evaluation import (
    Calibration,
    CalibrationBin,
    ClassFigures,
    Confusion,
    Curves,
    Histogram,
    HorizonStep,
    PredictionBand,
    Residuals,
)
from tidemill_worker.model.classification import ClassificationRows
from tidemill_worker.model.forecasts import ForecastRows
from tidemill_worker.model.metrics import metrics
from tidemill_worker.model.regression import RegressionRows
from tidemill_worker.report.numbers import known, short
from tidemill_worker.report.slices import OTHER

MOST_CLASSES, CONFUSED_CLASSES = 50, 20
CALIBRATION_BINS, HISTOGRAM_BINS, BANDS, POINTS = 10, 30, 10, 51


def classes(rows: ClassificationRows) -> tuple[ClassFigures, ...]:
    """Precision, recall and F1 of the most frequent classes, in the model's order."""
    support, guessed, hits = (counts[0] for counts in rows.counts(np.ones((1, len(rows)))))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall, f1 = hits / guessed, hits / support, 2 * hits / (support + guessed)
    return tuple(
        ClassFigures(
            name=rows.names[k],
            rows=int(support[k]),
            precision=known(precision[k]),
            recall=known(recall[k]),
            f1=known(f1[k]),
        )
        for k in _frequent(support, MOST_CLASSES)
    )


def confusion(rows: ClassificationRows) -> Confusion:
    """Of the most frequent classes; the others are one."""
    support = np.bincount(rows.truth, minlength=len(rows.names))
    chosen = _frequent(support, CONFUSED_CLASSES)
    rest = len(rows.names) > len(chosen)
    names = [rows.names[k] for k in chosen] + [OTHER] * rest
    place = np.full(len(rows.names), len(chosen))
    place[chosen] = np.arange(len(chosen))
    cells = np.bincount(place[rows.truth] * len(names) + place[rows.guess], minlength=len(names) ** 2)
    return Confusion(classes=tuple(names), counts=tuple(map(tuple, cells.reshape(len(names), -1).tolist())))


def _frequent(support: np.ndarray, most: int) -> np.ndarray:
    return np.sort(np.argsort(-support, kind="stable")[:most])


def calibration(rows: ClassificationRows) -> Calibration | None:
    """Reliability by ten equal bins (DeGroot & Fienberg 1983): of the positive of two classes, or of the likeliest one."""
    if rows.probabilities is None:
        return None
    if rows.known == 2:
        of, score, right = rows.names[1], rows.probabilities[:, 1], rows.truth == 1
    else:
        of, score, right = None, rows.probabilities.max(axis=1), rows.probabilities.argmax(axis=1) == rows.truth
    code = np.clip(np.ceil(score * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    bins = [
        CalibrationBin(
            low=short(b / CALIBRATION_BINS),
            high=short((b + 1) / CALIBRATION_BINS),
            rows=int((code == b).sum()),
            predicted=short(float(score[code == b].mean())),
            observed=short(float(right[code == b].mean())),
        )
        for b in np.unique(code)
    ]
    return Calibration(of=of, bins=tuple(bins))


def curves(rows: ClassificationRows) -> Curves | None:
    """Of two classes that both occur: at most 51 of the points, evenly spread over the rows by score."""
    positive = rows.truth == 1
    if rows.probabilities is None or rows.known != 2 or not 0 < positive.sum() < len(positive):
        return None
    order = np.argsort(-rows.probabilities[:, 1], kind="stable")
    score = rows.probabilities[order, 1]
    last = np.flatnonzero(np.r_[score[1:] != score[:-1], True])
    last = last[np.unique(np.linspace(0, len(last) - 1, POINTS).round().astype(np.int64))]
    hits = np.cumsum(positive[order])[last]
    recall, precision = hits / positive.sum(), hits / (last + 1)
    false = (last + 1 - hits) / (~positive).sum()
    return Curves(
        positive=rows.names[1],
        roc=((0.0, 0.0), *_points(false, recall)),
        precision_recall=_points(recall, precision),
    )


def _points(x: np.ndarray, y: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple((short(a), short(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True))


def horizon(rows: ForecastRows) -> tuple[HorizonStep, ...]:
    """The metrics of every step ahead."""
    found = []
    for ahead in range(1, rows.target.shape[1] + 1):
        part = rows.step(ahead)
        values = int(np.isfinite(part.target).sum())
        figures = {name: short(value) for name, value in metrics(part).items()}
        found.append(HorizonStep(step=ahead, values=values, metrics=figures))
    return tuple(found)


def histogram_of(values: np.ndarray) -> Histogram:
    """Between the 0.5th and the 99.5th percentile."""
    low, high = np.quantile(values, (0.005, 0.995))
    if not low < high:
        low, high = low - 0.5, low + 0.5
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    code = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, HISTOGRAM_BINS - 1)
    return Histogram(
        edges=tuple(map(short, edges.tolist())), counts=tuple(np.bincount(code, minlength=HISTOGRAM_BINS).tolist())
    )


def residuals(rows: RegressionRows) -> Residuals:
    """Their histogram, and the means of ten bands by prediction."""
    histogram = histogram_of(rows.prediction - rows.target)
    order = np.argsort(rows.prediction, kind="stable")
    bands = []
    for band in np.array_split(order, min(BANDS, len(order))):
        prediction, target = rows.prediction[band], rows.target[band]
        bands.append(
            PredictionBand(
                low=short(float(prediction.min())),
                high=short(float(prediction.max())),
                rows=len(band),
                prediction=short(float(prediction.mean())),
                target=short(float(target.mean())),
                mae=short(float(np.abs(prediction - target).mean())),
            )
        )
    return Residuals(histogram=histogram, bands=tuple(bands))
