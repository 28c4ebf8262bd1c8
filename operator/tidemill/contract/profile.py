"""The profile of a dataset version, as `profile.json` beside its rows holds it.

Numbers are rounded to six significant digits (more where values lie close together far from zero), so that the last bits
of a sum never change an artifact's digest. What is absent does not apply to the column, or cannot be computed of it.
"""

from __future__ import annotations

from typing import Literal

from tidemill.contract.base import Document

Number = int | float
Kind = Literal["Number", "Boolean", "Category", "Text", "Time", "Nested"]
"""What a column is taken for: text of at most 50 different values is a Category; lists, structs, maps and blobs are Nested."""
Measure = Literal["Pearson", "Spearman", "Cramér's V", "η"]


class Histogram(Document):
    """Rows by equal bins between the 0.5th and the 99.5th percentile; what lies outside is counted in the outer bins."""

    edges: tuple[Number, ...]
    """One more than there are bins. For a time column: seconds since 1970, UTC."""
    counts: tuple[int, ...]
    """Rows of each bin."""
    below: int = 0
    """How many of the first bin's rows lie below the first edge."""
    above: int = 0
    """How many of the last bin's rows lie above the last edge."""


class ValueCount(Document):
    """A value and how often it occurs."""

    value: str
    """At most 200 characters of it."""
    count: int


class NumberStatistics(Document):
    """Statistics of the finite values of a column of numbers."""

    min: Number
    max: Number
    mean: Number | None = None
    sd: Number | None = None
    """Standard deviation of the sample (n − 1)."""
    cv: Number | None = None
    """Coefficient of variation: sd / mean."""
    sum: Number | None = None
    quantiles: dict[str, Number]
    """p5, p25, p50, p75 and p95, interpolated linearly (type 7 of Hyndman and Fan 1996)."""
    iqr: Number
    """Interquartile range: p75 − p25."""
    mad: Number
    """Median of the absolute deviations from the median."""
    skewness: Number | None = None
    """Adjusted Fisher–Pearson coefficient G1 (Joanes and Gill 1998)."""
    kurtosis: Number | None = None
    """Adjusted excess kurtosis G2 (Joanes and Gill 1998): 0 for a normal distribution."""
    zeros: int
    negatives: int
    infinite: int = 0
    """Infinite values; every other statistic leaves them out."""
    outliers: Number
    """Share of the values more than 1.5 IQR outside the quartiles (Tukey 1977: beyond the inner fences)."""
    far_outliers: Number
    """Share of the values more than 3 IQR outside the quartiles (Tukey 1977: beyond the outer fences)."""
    smallest: tuple[Number, ...]
    """The five smallest different values."""
    largest: tuple[Number, ...]
    """The five greatest different values, the greatest first."""


class TextStatistics(Document):
    """Statistics of the present values of a column of text; lengths in characters."""

    min_length: int
    mean_length: Number
    max_length: int
    lengths: Histogram
    empty: int
    """Rows whose text is empty."""
    padded: int
    """Rows whose text begins or ends with white space."""
    looks_like: Literal["Number", "Time"] | None = None
    """Every text that is not empty can be read as this."""
    words: tuple[ValueCount, ...] = ()
    """The most frequent words of a Text column, in at most 50,000 evenly spread rows."""


class TimeStatistics(Document):
    """The span of a column of times."""

    min: str
    max: str


class Elements(Document):
    """How many elements lists and maps have, and how many bytes blobs."""

    min: int
    mean: Number
    max: int


class ColumnProfile(Document):
    """One column, over the rows of all splits."""

    name: str
    type: str
    """DuckDB's type name in lower case."""
    kind: Kind
    missing: int
    """Rows without a value; NaN counts as missing."""
    missing_ratio: Number
    distinct: int | None = None
    """How many different values are present; not counted of nested values."""
    unique: Number | None = None
    """Different values / present values, among the described rows."""
    histogram: Histogram | None = None
    """Of numbers and times."""
    top: tuple[ValueCount, ...] = ()
    """The ten most frequent values, when any value occurs twice."""
    numbers: NumberStatistics | None = None
    text: TextStatistics | None = None
    time: TimeStatistics | None = None
    elements: Elements | None = None


class Duplicates(Document):
    """Rows that stand there more than once, compared by a 64-bit hash of all columns but bookkeeping ones."""

    rows: int
    """How many rows repeat another: they would be gone if each row stood there once."""
    test_in_train: int
    """Rows of the test split that stand in the train split too, the time column left out."""


class Pair(Document):
    """How strongly two columns go together."""

    first: str
    second: str
    measure: Measure
    value: Number


class Correlations(Document):
    """Numbers and times by Pearson, categories and booleans by bias-corrected Cramér's V (Bergsma 2013), both by η.

    Of the first 60 columns that can have one, in at most 50,000 evenly spread rows, over the rows where both are present.
    """

    columns: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    """What each column was taken for: this decides the measure of a cell."""
    matrix: tuple[tuple[Number | None, ...], ...] = ()
    """Null when one side is constant. η is the root of the share of a number's variance that lies between categories."""
    spearman: tuple[tuple[Number | None, ...], ...] = ()
    """Rank correlation of the numbers and times, null elsewhere. Ranks are those among a column's present rows."""
    strongest: tuple[Pair, ...] = ()
    """The twenty strongest pairs."""


class Interaction(Document):
    """Two numbers seen together: rows by cell, as a scatter plot would show them."""

    x: str
    y: str
    x_edges: tuple[Number, ...]
    y_edges: tuple[Number, ...]
    counts: tuple[tuple[int, ...], ...]
    """One row a bin of y, one entry a bin of x."""


class MissingTogether(Document):
    """Two columns that are missing in the same rows."""

    first: str
    second: str
    rows: int
    """Rows in which both are missing."""
    phi: Number
    """Correlation of the two being missing: 1 when they always are together."""


class MissingPattern(Document):
    """Rows in which exactly these columns are missing."""

    columns: tuple[str, ...]
    rows: int


class Missing(Document):
    """Which columns are missing together, among the 60 that are missing most (those missing everywhere left out)."""

    columns: tuple[str, ...] = ()
    pairs: tuple[MissingTogether, ...] = ()
    """The twenty pairs that go together most."""
    patterns: tuple[MissingPattern, ...] = ()
    """The ten most frequent patterns, complete rows included."""


class TimeAxis(Document):
    """The rows in at most 60 equal spans of the time column."""

    column: str
    step: str
    """How long a span is: `6 hours`, `1 month`; of a numeric time column its width."""
    starts: tuple[str, ...]
    """Where each span begins."""
    rows: tuple[int, ...]
    target: tuple[Number | None, ...] = ()
    """The target's mean, or the share of its most frequent class; null where there is none."""
    missing: dict[str, tuple[Number, ...]] = {}
    """Share of missing values by column, for the 20 columns where it changes most."""


class TargetBin(Document):
    """The target among the rows of one decile or category of a column."""

    label: str
    mean: Number
    count: int


class Relation(Document):
    """How one column goes with the target, in at most 50,000 evenly spread rows."""

    column: str
    correlation: Number | None = None
    """Pearson, of numbers and times."""
    score: Number | None = None
    """How well this column alone predicts the target on every second row, learnt on the others (`measure` says by what)."""
    bins: tuple[TargetBin, ...] = ()


class Target(Document):
    """The relation of every column to the target."""

    column: str
    task: Literal["Regression", "Classification"]
    meaning: str
    """What `mean` stands for: `mean of delay`, or `share of late = yes`."""
    measure: Literal["R2", "AUC"]
    """Share of the variance explained; or area under the ROC curve, one class against the rest, weighted by frequency."""
    by_split: dict[str, Number | None]
    """The mean in each split."""
    relations: tuple[Relation, ...]
    """The best predictors first."""


class Alert(Document):
    """Something worth a look before this data is trained on."""

    kind: str
    """A constant of `tidemill_worker.profile.alerts`: Leakage, Constant, Missing …"""
    column: str | None = None
    message: str


class Sample(Document):
    """The first rows of the train split, as text of at most 80 characters; null where missing."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


class Profile(Document):
    """What a dataset version's rows look like."""

    rows: dict[str, int]
    """By split: train, validation, test."""
    described_rows: int
    """All rows, up to 4,000,000. A larger table is described by as many evenly spread rows, whose counts are multiplied;
    missing values, min and max are of all rows, and `distinct` is then an estimate (HyperLogLog, about 2 %)."""
    columns: tuple[ColumnProfile, ...]
    duplicates: Duplicates
    correlations: Correlations = Correlations()
    interactions: tuple[Interaction, ...] = ()
    """Of the six strongest correlations of numbers."""
    missing: Missing = Missing()
    time_axis: TimeAxis | None = None
    target: Target | None = None
    alerts: tuple[Alert, ...] = ()
    """The gravest first."""
    sample: Sample | None = None

    @property
    def total(self) -> int:
        """Rows of all splits."""
        return sum(self.rows.values())
