"""What an evaluation found, beside the metrics: the parts of `evaluation.json`, and `explanation.json`.

Numbers have six significant digits, so that the last bits of a sum never change an artifact's digest.
"""

from __future__ import annotations

from tidemill.contract.base import Document
from tidemill.contract.writing import Continuation, HardRow, Truncated

Interval = tuple[float, float]
"""Lower and upper end."""


class ClassFigures(Document):
    """One class of a classification. What does not exist is absent: precision of a class that is never predicted."""

    name: str
    rows: int
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


class Confusion(Document):
    """`counts[i][j]` rows of class i were predicted as class j. Rare classes are gathered in a last one, `(other)`."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class CalibrationBin(Document):
    """Rows whose probability is in (low, high]: its mean, and how often the class really was there."""

    low: float
    high: float
    rows: int
    predicted: float
    observed: float


class Calibration(Document):
    """Whether probabilities come true: of one class, or with more than two of whichever the model predicts."""

    of: str | None = None
    bins: tuple[CalibrationBin, ...]


class Curves(Document):
    """Points of the ROC curve (false, true positive rate) and of the precision over the recall, of two classes."""

    positive: str
    roc: tuple[tuple[float, float], ...]
    precision_recall: tuple[tuple[float, float], ...]


class Histogram(Document):
    """`counts[i]` values lie in [edges[i], edges[i+1]); those outside count in the outer bins."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class PredictionBand(Document):
    """A tenth of the rows by prediction: means of prediction and target, and the mean absolute error."""

    low: float
    high: float
    rows: int
    prediction: float
    target: float
    mae: float


class Residuals(Document):
    """Prediction minus target."""

    histogram: Histogram
    bands: tuple[PredictionBand, ...]


class Slice(Document):
    """The rows with one value of a column, or of one quarter of its range: [low, high), open where it is absent."""

    column: str
    value: str
    low: float | None = None
    high: float | None = None
    rows: int
    metrics: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    """Of mae or accuracy; of a language model, of its loss."""


class Group(Document):
    """One group's share in what is decided. Rates whose rows do not exist are absent."""

    value: str
    rows: int
    selection_rate: float | None = None
    """How often it gets the favorable class."""
    selection_interval: Interval | None = None
    true_positive_rate: float | None = None
    """How often it gets the favorable class where that is right."""
    true_positive_interval: Interval | None = None
    false_positive_rate: float | None = None
    """How often it gets the favorable class where that is wrong."""
    metrics: dict[str, float] = {}
    """accuracy; of a regression meanPrediction, mae and bias."""


class Fairness(Document):
    """The groups of one column. `measures` compare those with enough rows; see `Gate` for what they are."""

    column: str
    favorable: str | None = None
    groups: tuple[Group, ...]
    measures: dict[str, float] = {}


class HorizonStep(Document):
    """The forecasts of one step: `values` are those that could be compared."""

    step: int
    values: int
    metrics: dict[str, float] = {}


class CoursePoint(Document):
    """Where a training was after an epoch."""

    step: int
    loss: float
    validation_loss: float | None = None


class SplitDetails(Document):
    """One split, beyond its metrics."""

    intervals: dict[str, Interval] = {}
    """By metric."""
    classes: tuple[ClassFigures, ...] = ()
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    curves: Curves | None = None
    residuals: Residuals | None = None
    horizon: tuple[HorizonStep, ...] = ()
    """Of a forecast."""
    losses: Histogram | None = None
    """Of a language model: the rows' own losses."""
    hardest: tuple[HardRow, ...] = ()
    """Those with the greatest loss, the hardest first."""
    continuations: tuple[Continuation, ...] = ()
    truncated: Truncated | None = None
    slices: tuple[Slice, ...] = ()
    fairness: tuple[Fairness, ...] = ()


class ThresholdFigures(Document):
    """What a threshold gives on one split; precision is absent when no row reaches it."""

    selected: float
    """Share of the rows that reach it."""
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    accuracy: float


class Threshold(Document):
    """The threshold that was asked for, chosen on the validation split, and 0.5 beside it; the model is not changed."""

    positive: str
    choose: str
    at_least: float | None = None
    threshold: float | None = None
    """Rows whose probability is at least this count as positive; absent when no threshold keeps what is asked for."""
    chosen: dict[str, ThresholdFigures] = {}
    """By split, at the threshold."""
    default: dict[str, ThresholdFigures] = {}
    """By split, at 0.5."""


class Improvement(Document):
    """Two models on the same rows by one metric."""

    champion: float
    challenger: float
    improvement: float
    """Relative to the champion; positive when the challenger is better."""
    interval: Interval | None = None
    better: float | None = None
    """Share of the resamples in which the challenger is better."""


class Comparison(Document):
    """The new model beside the version in Production, on the rows of one split."""

    champion: str
    """Name of the ModelVersion."""
    digest: str
    """Digest of its artifact."""
    split: str
    rows: int
    improvements: dict[str, Improvement]
    """By metric."""


class GateOutcome(Document):
    """How one gate of a model in use came out."""

    field: str
    """Where it stands in the spec."""
    metric: str
    """The metric with its split and rows, in words."""
    value: float | None = None
    """Absent when there is none, such as on a slice without rows."""
    missed: str | None = None
    """Why it is not passed; absent when it is."""


class GateOutcomes(Document):
    """`gates.json`."""

    gates: tuple[GateOutcome, ...] = ()


class Importance(Document):
    """By how much the error grows when a column is shuffled: mean and standard deviation of the repetitions."""

    column: str
    mean: float
    deviation: float


class ShapleyRow(Document):
    """One prediction: `output` = `base` + the sum of all shares. Only those of `Shapley.columns` are listed."""

    output: float
    base: float
    """The mean output over the background."""
    values: tuple[float | str | None, ...]
    """The row's own values."""
    shares: tuple[float, ...]
    """What each of them adds to the output."""


class Shapley(Document):
    """Shapley values of some rows: the columns with the greatest shares, in this order."""

    of: str
    """What is explained: the prediction, or the probability of a class."""
    background: int
    """Training rows whose values stand in for those that are left out."""
    columns: tuple[str, ...]
    mean_share: tuple[float, ...]
    """Mean absolute share of each column."""
    rows: tuple[ShapleyRow, ...]


class Explanation(Document):
    """`explanation.json`: which columns matter."""

    split: str
    rows: int
    metric: str
    """The error that grows."""
    error: float
    """Its value with nothing shuffled."""
    repeats: int
    importances: tuple[Importance, ...]
    """The most important first."""
    shapley: Shapley | None = None
