"""Windows of time series: a table with one row a forecast, which holds what a forecasting model is asked with and what came.

Its columns are the model's inputs (the target's holds the last values, a known column's those of the steps ahead), and two of
bookkeeping: FUTURE, the values that came, and SCALE, what mase divides by. A window is of a split when all that it forecasts
is: the values before come from any split, as in production, and no value is in the future of windows of two splits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tidemill.contract.model import ForecastSignature, Signature
from tidemill.contract.names import INTERNAL_COLUMN_PREFIX
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import InvalidData
from tidemill_worker.model.series import SPLITS, Series, SeriesSet, load

FUTURE, SCALE = f"{INTERNAL_COLUMN_PREFIX}future", f"{INTERNAL_COLUMN_PREFIX}scale"
MOST_NUMBERS = 400_000_000
"""Of all windows of a split: 1.6 GB."""


def read(dataset: Artifact, signature: Signature, split: str) -> pa.Table:
    """The windows of one split of a dataset, for a model that is there already."""
    target, spec = _of(signature)
    return cut(load(dataset, target, spec), target, spec, split)


def read_latest(dataset: Artifact, signature: Signature, split: str) -> pa.Table:
    """The windows whose last value is in the split, what came after it known or not: for forecasts of the future."""
    target, spec = _of(signature)
    return cut(load(dataset, target, spec), target, spec, split, ahead=False)


def _of(signature: Signature) -> tuple[str, ForecastSignature]:
    if signature.forecast is None or signature.target is None:
        raise InvalidData("the model's signature does not say how it forecasts")
    return signature.target, signature.forecast


def cut(everything: SeriesSet, target: str, spec: ForecastSignature, split: str, *, ahead: bool = True) -> pa.Table:
    """The windows of a split, by series and time. Without `ahead` those that end in it, and FUTURE is left out."""
    places = [(series, _ends(series, spec, SPLITS.index(split), ahead)) for series in everything.series]
    number = sum(len(ends) for _, ends in places)
    if number * (spec.history + spec.horizon * (1 + len(spec.known))) > MOST_NUMBERS:
        raise InvalidData(
            f"{number} windows of {spec.history} + {spec.horizon} values are too many: raise stride, so that fewer forecasts "
            "begin",
            field="spec.trainer.forecasting.stride",
        )
    parts = [_windows(series, ends, everything, target, spec, ahead) for series, ends in places if len(ends)]
    if not parts:
        return _windows(_NOTHING, np.empty(0, dtype=np.int64), everything, target, spec, ahead)
    return pa.concat_tables(parts)


def _ends(series: Series, spec: ForecastSignature, split: int, ahead: bool) -> np.ndarray:
    """Places of the last values of the windows."""
    length = len(series.values)
    ends = np.arange(spec.history - 1, length - (spec.horizon if ahead else 0))
    ends = ends[(series.first + ends) % spec.stride == 0]
    if not ahead:
        return np.asarray(ends[series.split[ends] == split])
    whole = (series.split[ends + 1] == split) & (series.split[ends + spec.horizon] == split)
    ends = ends[whole]
    counted = np.concatenate([[0], np.cumsum(series.observed)])
    return np.asarray(ends[counted[ends + 1 + spec.horizon] > counted[ends + 1]])


_NOTHING = Series(
    names=(),
    first=0,
    values=np.empty(0),
    observed=np.empty(0, dtype=bool),
    split=np.empty(0, dtype=np.int8),
    known=np.empty((0, 0), dtype=np.float32),
    scale=float("nan"),
)


def _windows(
    series: Series, ends: np.ndarray, everything: SeriesSet, target: str, spec: ForecastSignature, ahead: bool
) -> pa.Table:
    before = ends[:, None] + np.arange(1 - spec.history, 1)
    after = ends[:, None] + np.arange(1, spec.horizon + 1)
    names = series.names or ("",) * len(spec.series)
    with np.errstate(over="ignore"):
        history = series.values[before].astype(np.float32)
    columns: dict[str, pa.Array] = {
        **{column: pa.array([name] * len(ends), pa.string()) for column, name in zip(spec.series, names, strict=True)},
        spec.time: pa.array(everything.grid.seconds(series.first + ends), pa.int64()),
        target: _lists(history),
        **{name: _lists(values) for name, values in _known(series, after, spec)},
        SCALE: pa.array(np.full(len(ends), series.scale)),
    }
    if ahead:
        columns[FUTURE] = _lists(np.where(series.observed[after], series.values[after], np.nan))
    return pa.table(columns)


def _known(series: Series, after: np.ndarray, spec: ForecastSignature) -> Iterator[tuple[str, np.ndarray]]:
    """Values ahead; beyond the end of the series they are missing."""
    inside = after < len(series.values)
    for place, name in enumerate(spec.known):
        if not len(after):
            yield name, np.empty(after.shape, dtype=np.float32)
            continue
        values = series.known[:, place][np.minimum(after, len(series.values) - 1)]
        yield name, np.where(inside, values, np.float32(np.nan))


def _lists(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def common(ours: pa.Table, theirs: pa.Table, spec: ForecastSignature) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two tables of windows that are forecasts of the same: places in each."""
    place = {key: index for index, key in enumerate(_keys(theirs, spec))}
    pairs = [(index, place[key]) for index, key in enumerate(_keys(ours, spec)) if key in place]
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _keys(table: pa.Table, spec: ForecastSignature) -> list[tuple[object, ...]]:
    return list(zip(*(table.column(name).to_pylist() for name in (*spec.series, spec.time)), strict=True))
