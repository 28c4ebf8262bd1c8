"""The rows along a time column: at most 60 equal spans of a length that people use. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tidemill.contract.profile import TimeAxis
from tidemill_worker.profile.reader import Flags, Floats, Values
from tidemill_worker.profile.rounding import rounded

SPANS = 60
MISSING_COLUMNS = 20
_SECOND, _DAY = 1_000_000, 86_400_000_000
_FIXED = {
    f"{number} {unit}{'s' if number > 1 else ''}": number * size
    for unit, size, numbers in (
        ("millisecond", 1_000, (1, 10, 100)),
        ("second", _SECOND, (1, 2, 5, 10, 15, 30)),
        ("minute", 60 * _SECOND, (1, 2, 5, 10, 15, 30)),
        ("hour", 3600 * _SECOND, (1, 2, 3, 6, 12)),
        ("day", _DAY, (1, 2)),
        ("week", 7 * _DAY, (1, 2)),
    )
    for number in numbers
}
"""Spans of one length, in microseconds."""
_MONTHS = {"1 month": 1, "2 months": 2, "3 months": 3, "6 months": 6} | {
    f"{n} year{'s' if n > 1 else ''}": 12 * n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
}
_MONDAY = 4 * _DAY
"""1970-01-05: weeks begin on a Monday, and so do all multiples of them counted from here."""


@dataclass
class Axis:
    """Which span each row lies in; −1 for rows without a time."""

    column: str
    step: str
    starts: tuple[str, ...]
    span: npt.NDArray[np.int64]
    _missing: dict[str, Floats] = field(default_factory=dict)

    @property
    def _placed(self) -> npt.NDArray[np.int64]:
        return self.span[self.span >= 0]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Rows of each span."""
        return np.bincount(self._placed, minlength=len(self.starts))

    def add(self, name: str, missing: Flags) -> None:
        """Note where a column is missing."""
        absent = np.bincount(self.span[missing & (self.span >= 0)], minlength=len(self.starts))
        self._missing[name] = absent / np.maximum(self.rows, 1)

    def result(self, target: Floats | None, *, step: int = 1) -> TimeAxis:
        """With the mean of a target (one value a row, NaN where there is none); every row stands for `step`."""
        changed = sorted(self._missing, key=lambda name: -float(np.ptp(self._missing[name])))[:MISSING_COLUMNS]
        means: tuple[int | float | None, ...] = ()
        if target is not None:
            known = np.isfinite(target) & (self.span >= 0)
            counts = np.bincount(self.span[known], minlength=len(self.starts))
            sums = np.bincount(self.span[known], weights=target[known], minlength=len(self.starts))
            means = tuple(
                rounded(total / count) if count else None
                for total, count in zip(sums.tolist(), counts.tolist(), strict=True)
            )
        return TimeAxis(
            column=self.column,
            step=self.step,
            starts=self.starts,
            rows=tuple((self.rows * step).tolist()),
            target=means,
            missing={name: tuple(rounded(share) or 0 for share in self._missing[name].tolist()) for name in changed},
        )


def axis(column: str, values: Values, *, is_time: bool) -> Axis | None:
    """The spans of a column; None when it has no finite value."""
    usable = ~values.missing
    if values.all.dtype.kind == "f":
        usable &= np.isfinite(values.all)
    if not usable.any():
        return None
    present = values.all[usable]
    step, starts, found = _times(present) if is_time else _numbers(present.astype(np.float64))
    span = np.full(len(values.all), -1, dtype=np.int64)
    span[usable] = found
    return Axis(column, step, tuple(starts), span)


def _times(present: npt.NDArray[np.int64]) -> tuple[str, list[str], npt.NDArray[np.int64]]:
    low, high = int(present.min()), int(present.max())
    for step, size in _FIXED.items():
        offset = _MONDAY % size
        first = (low - offset) // size
        if (high - offset) // size - first < SPANS:
            places = (present - offset) // size - first
            count = int((high - offset) // size - first) + 1
            return step, [moment((first + i) * size + offset) for i in range(count)], places
    months = present.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    for step, size in _MONTHS.items():
        first = int(months.min()) // size if size < 12 else (int(months.min()) + 1970 * 12) // size
        shift = 0 if size < 12 else 1970 * 12
        places = (months + shift) // size - first
        if int(places.max()) < SPANS:
            starts = np.arange(int(places.max()) + 1) + first
            return step, [str(np.datetime64(int(s) * size - shift, "M")) for s in starts], places
    raise AssertionError("no time lies outside ten thousand years")


def moment(microseconds: int) -> str:
    """`2013-04-01`, with the time of day only where there is one."""
    text = str(np.datetime64(microseconds, "us"))
    return text.removesuffix(".000000").removesuffix("T00:00:00")


def _numbers(present: Floats) -> tuple[str, list[str], npt.NDArray[np.int64]]:
    """Spans of 1, 2 or 5 times a power of ten."""
    low, high = float(present.min()), float(present.max())
    if low == high:
        return "0", [f"{rounded(low)}"], np.zeros(len(present), dtype=np.int64)
    rough = (high - low) / (SPANS - 1)
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(power * m for m in (1, 2, 5, 10) if power * m >= rough))
    first = np.floor(low / step)
    places = np.minimum(np.floor(present / step) - first, SPANS - 1).astype(np.int64)
    starts = [f"{rounded((first + i) * step, step)}" for i in range(int(places.max()) + 1)]
    return f"{rounded(step)}", starts, places
