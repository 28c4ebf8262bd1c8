"""How strongly columns go together: Pearson, Spearman, Cramér's V and η. Pure numpy, on arrays of one entry a sampled row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tidemill.contract.profile import Correlations, Interaction, Kind, Measure, Number, Pair
from tidemill_worker.profile.numbers import quantile
from tidemill_worker.profile.reader import Codes, Floats
from tidemill_worker.profile.rounding import places, rounded

COLUMNS = 60
STRONGEST = 20
INTERACTIONS, CELLS = 6, 24


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of the sample: numbers with NaN where missing, or codes of categories with −1 where missing."""

    name: str
    kind: Kind
    values: Floats | Codes
    labels: tuple[str, ...] = ()
    """Of the first codes."""

    @property
    def is_number(self) -> bool:
        return self.values.dtype.kind == "f"


def ranks(values: Floats) -> Floats:
    """Average ranks from 1 among the present values; NaN stays."""
    found = np.full(len(values), np.nan)
    present = ~np.isnan(values)
    _, inverse, counts = np.unique(values[present], return_inverse=True, return_counts=True)
    found[present] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return found


def pearson(columns: Floats) -> Floats:
    """Pairwise complete correlation of the columns of a matrix with NaN; NaN where one side is constant.

    All pairs at once: sums over the rows where both are present are products of matrices.
    """
    present = ~np.isnan(columns)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        counts = present.sum(axis=0)
        zeroed = np.where(present, columns, 0.0)
        scale = np.abs(zeroed).max(axis=0, initial=0.0)
        zeroed /= np.where(scale > 0, scale, 1.0)  # squares of huge values would overflow
        zeroed = np.where(present, zeroed - zeroed.sum(axis=0) / np.maximum(counts, 1), 0.0)
        mask = present.astype(np.float64)
        n = mask.T @ mask
        sums = zeroed.T @ mask
        squares = (zeroed * zeroed).T @ mask
        spread = squares - sums * sums / n
        spread[spread <= np.maximum(1e-13 * squares, 1e-28 * n)] = np.nan  # rounding errors of a constant
        both = zeroed.T @ zeroed - sums * sums.T / n
        found = both / np.sqrt(spread * spread.T)
    return np.clip(found, -1.0, 1.0)


def cramers_v(first: Codes, second: Codes) -> float:
    """Bias-corrected Cramér's V (Bergsma 2013) over the rows where both are present; NaN when one is constant."""
    both = (first >= 0) & (second >= 0)
    a = np.unique(first[both], return_inverse=True)[1]
    b = np.unique(second[both], return_inverse=True)[1]
    n = len(a)
    if n < 2 or a.max() == 0 or b.max() == 0:
        return float("nan")
    r, k = int(a.max()) + 1, int(b.max()) + 1
    table = np.bincount(a * k + b, minlength=r * k).reshape(r, k).astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / n
    phi = float(((table - expected) ** 2 / expected).sum()) / n
    phi = max(0.0, phi - (r - 1) * (k - 1) / (n - 1))
    rows, columns = r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)
    least = min(rows, columns) - 1
    return min(1.0, float(np.sqrt(phi / least))) if least > 0 else float("nan")


def eta(codes: Codes, numbers: Floats) -> float:
    """Correlation ratio (Fisher 1925): the root of between-category variance / variance; NaN when either is constant."""
    both = (codes >= 0) & np.isfinite(numbers)
    groups = np.unique(codes[both], return_inverse=True)[1]
    values = numbers[both]
    if len(values) < 2 or groups.max() == 0 or values.min() == values.max():
        return float("nan")
    values = values / np.abs(values).max()
    values = values - values.mean()
    counts = np.bincount(groups)
    sums = np.bincount(groups, weights=values)
    whole = float((values * values).sum())
    return min(1.0, float(np.sqrt((sums * sums / counts).sum() / whole))) if whole > 0 else float("nan")


def correlate(features: list[Feature]) -> Correlations:
    """The matrix of the first columns that can be related."""
    features = features[:COLUMNS]
    size = len(features)
    if size < 2:
        return Correlations()
    matrix, monotone = np.full((size, size), np.nan), np.full((size, size), np.nan)
    numeric = [i for i, f in enumerate(features) if f.is_number]
    if numeric:
        block = np.ix_(numeric, numeric)
        columns = np.stack([features[i].values for i in numeric], axis=1).astype(np.float64)
        columns[~np.isfinite(columns)] = np.nan
        matrix[block] = pearson(columns)
        monotone[block] = pearson(np.stack([ranks(column) for column in columns.T], axis=1))
    for i, feature in enumerate(features):
        for j, other in enumerate(features[:i]):
            if not (feature.is_number and other.is_number):
                matrix[i, j] = matrix[j, i] = _mixed(feature, other)
        matrix[i, i] = 1.0
    return Correlations(
        columns=tuple(f.name for f in features),
        kinds=tuple(f.kind for f in features),
        matrix=_rows(matrix),
        spearman=_rows(monotone),
        strongest=_strongest(features, matrix),
    )


def _mixed(feature: Feature, other: Feature) -> float:
    if feature.is_number:
        return eta(np.asarray(other.values, np.int64), np.asarray(feature.values, np.float64))
    if other.is_number:
        return eta(np.asarray(feature.values, np.int64), np.asarray(other.values, np.float64))
    return cramers_v(np.asarray(feature.values, np.int64), np.asarray(other.values, np.int64))


def measure(first: Feature, second: Feature) -> Measure:
    """What a cell of the matrix holds."""
    if first.is_number and second.is_number:
        return "Pearson"
    return "η" if first.is_number or second.is_number else "Cramér's V"


def _rows(matrix: Floats) -> tuple[tuple[Number | None, ...], ...]:
    return tuple(tuple(places(value) for value in row) for row in matrix.tolist())


def _strongest(features: list[Feature], matrix: Floats) -> tuple[Pair, ...]:
    pairs = [
        Pair(
            first=features[j].name,
            second=features[i].name,
            measure=measure(features[j], features[i]),
            value=places(float(matrix[i, j])) or 0,
        )
        for i in range(len(features))
        for j in range(i)
        if np.isfinite(matrix[i, j])
    ]
    return tuple(sorted(pairs, key=lambda p: -abs(p.value))[:STRONGEST])


def interactions(features: list[Feature], correlations: Correlations) -> tuple[Interaction, ...]:
    """Of the strongest correlations of numbers, the rows by cell; both ways between the 0.5th and the 99.5th percentile."""
    by_name = {f.name: f for f in features}
    found: list[Interaction] = []
    for pair in correlations.strongest:
        first, second = by_name[pair.first], by_name[pair.second]
        if first.kind == second.kind == "Number" and len(found) < INTERACTIONS:
            seen = _interaction(first, second)
            if seen is not None:
                found.append(seen)
    return tuple(found)


def _interaction(first: Feature, second: Feature) -> Interaction | None:
    x, y = (np.asarray(f.values, np.float64) for f in (first, second))
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    across, up = _edges(x), _edges(y)
    if across is None or up is None:
        return None
    counts = np.histogram2d(y, x, bins=(up, across))[0].astype(np.int64)
    return Interaction(
        x=first.name,
        y=second.name,
        x_edges=_shown(across),
        y_edges=_shown(up),
        counts=tuple(tuple(row) for row in counts.tolist()),
    )


def _shown(edges: Floats) -> tuple[Number, ...]:
    return tuple(rounded(edge, float(edges[1] - edges[0])) or 0 for edge in edges.tolist())


def _edges(values: Floats) -> Floats | None:
    ordered = np.sort(values)
    low, high = quantile(ordered, 0.005), quantile(ordered, 0.995)
    return np.linspace(low, high, CELLS + 1) if low < high and np.isfinite(high - low) else None
