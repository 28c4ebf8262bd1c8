"""Time series of a dataset: its rows as one array a series, on a grid of equal steps, each value with the split it is in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.contract.frequency import Step
from tidemill.contract.model import ForecastSignature
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import ColumnType, InvalidData, InvalidSpec
from tidemill_worker.model import tables

SPLITS = ("train", "validation", "test")
_BETWEEN = "\x1f"
"""Joins the columns of a series' name: no text has it."""
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Grid:
    """Times as whole steps since 1970, and back. `phase` is what times are beyond a whole step: seconds, or months."""

    step: Step
    phase: int
    within: int = 0
    """Seconds from the beginning of a month."""

    @classmethod
    def of(cls, seconds: np.ndarray, frequency: str, where: str) -> tuple[Grid, np.ndarray]:
        """The grid of these times (seconds since 1970, int64), and their steps. Raises InvalidData when they are on none."""
        step = Step.parse(frequency)
        if step.months:
            months = seconds.astype("datetime64[s]").astype("datetime64[M]")
            within = seconds - months.astype("datetime64[s]").astype(np.int64)
            place, size = months.astype(np.int64), step.months
            astray = np.flatnonzero(within != within[0])
            grid = cls(step, int(place[0] % size), int(within[0]))
        else:
            place, size = seconds, step.seconds
            astray = np.empty(0, dtype=np.int64)
            grid = cls(step, int(place[0] % size))
        astray = astray if len(astray) else np.flatnonzero((place - grid.phase) % size)
        if len(astray):
            raise InvalidData(
                f"{where}: {_told(seconds[astray[0]])} is not a whole number of steps of {frequency} from {_told(seconds[0])}: "
                "truncate the times in the dataset (date_trunc), or correct frequency",
                field=where,
            )
        return grid, (place - grid.phase) // size

    def seconds(self, steps: np.ndarray) -> np.ndarray:
        """When these steps are: seconds since 1970, int64."""
        if not self.step.months:
            return np.asarray(steps * self.step.seconds + self.phase)
        months = (steps * self.step.months + self.phase).astype("datetime64[M]")
        return np.asarray(months.astype("datetime64[s]").astype(np.int64) + self.within)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series without gaps: what was missing is filled, as `gaps` says."""

    names: tuple[str, ...]
    """Its value of each of the columns that tell series apart."""
    first: int
    """The step of the first value."""
    values: np.ndarray
    """float64 [steps], finite."""
    observed: np.ndarray
    """bool [steps]: what was there, or is zero because nothing was."""
    split: np.ndarray
    """int8 [steps]: place in SPLITS; ascending."""
    known: np.ndarray
    """float32 [steps, columns]: NaN where missing."""
    scale: float
    """Mean absolute difference of training values that are a season apart: what mase divides by. NaN where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSet:
    """All series of a dataset."""

    grid: Grid
    series: tuple[Series, ...]


def load(dataset: Artifact, target: str, spec: ForecastSignature, *, field: str = "the model") -> SeriesSet:
    """Read the three splits. `field` is where the columns are named: a path in a spec, or the model that wants them.

    Raises ColumnMissing, ColumnType; InvalidSpec when the splits are not one after the other in time; InvalidData for times
    that are missing, twice or on no grid, and for gaps that `gaps` refuses.
    """
    columns = list(dict.fromkeys((*spec.series, spec.time, *spec.known, target)))
    parts = [tables.read_split(dataset, split, columns, field=field) for split in SPLITS]
    split = np.repeat(np.arange(len(SPLITS), dtype=np.int8), [part.num_rows for part in parts])
    table = pa.concat_tables(parts)
    if not table.num_rows:
        raise InvalidData(f"{dataset.ref.uri} has no row")
    values = tables.numbers(table, target, field=f"{field}.target")
    known = np.empty((table.num_rows, len(spec.known)), dtype=np.float32)
    for place, name in enumerate(spec.known):
        with np.errstate(over="ignore"):
            known[:, place] = tables.numbers(table, name, field=f"{field}.known")
    grid, steps = Grid.of(_seconds(table, spec.time, f"{field}.time"), spec.frequency, f"{field}.time")
    _check_order(steps, split, dataset, spec, field)
    names, code = _names(table, spec.series)
    order = np.lexsort((steps, code))
    code, steps, split, values, known = (part[order] for part in (code, steps, split, values, known))
    twice = np.flatnonzero((code[1:] == code[:-1]) & (steps[1:] == steps[:-1]))
    if len(twice):
        raise InvalidData(
            f"{field}.series: {_called(names[code[twice[0]]], spec)} has more than one row at "
            f"{_told(grid.seconds(steps[twice[:1]])[0])} ({len(twice)} rows too many in all): name the columns that tell "
            "series apart, or aggregate the rows in the dataset (GROUP BY)",
            field=f"{field}.series",
        )
    bounds = np.searchsorted(code, np.arange(len(names) + 1))
    found = []
    for index, called in enumerate(names):
        rows = slice(bounds[index], bounds[index + 1])
        made = _filled(called, steps[rows], values[rows], split[rows], known[rows], spec, grid, field)
        found += [made] if made is not None else []
    return SeriesSet(grid=grid, series=tuple(found))


def _filled(
    names: tuple[str, ...],
    steps: np.ndarray,
    values: np.ndarray,
    split: np.ndarray,
    known: np.ndarray,
    spec: ForecastSignature,
    grid: Grid,
    field: str,
) -> Series | None:
    """One value a step; None for a series without any value."""
    there = np.isfinite(values)
    if not there.any():
        return None
    begin = 0 if spec.gaps == "Zero" else int(np.argmax(there))
    end = len(steps) - (0 if spec.gaps == "Zero" else int(np.argmax(there[::-1])))
    steps, values, split, known, there = (part[begin:end] for part in (steps, values, split, known, there))
    place = steps - steps[0]
    length = int(place[-1]) + 1
    observed = np.zeros(length, dtype=bool)
    observed[place] = there
    if spec.gaps == "Refuse" and not observed.all():
        when = _told(grid.seconds(steps[:1] + np.flatnonzero(~observed)[0])[0])
        raise InvalidData(
            f"{field}.gaps: {_called(names, spec)} has no value at {when} ({int((~observed).sum())} of {length} steps are "
            "missing): set gaps to Previous or Zero, or complete the series in the dataset",
            field=f"{field}.gaps",
        )
    row = np.zeros(length, dtype=np.int64)
    row[place] = np.arange(len(steps))
    last_row = np.maximum.accumulate(row)
    last_seen = np.maximum.accumulate(np.where(observed, np.arange(length), 0))
    dense = np.full(length, 0.0)
    dense[place[there]] = values[there]
    dense_known = np.full((length, known.shape[1]), np.nan, dtype=np.float32)
    dense_known[place] = np.where(np.isfinite(known), known, np.float32(np.nan))
    part = split[last_row]
    if spec.gaps == "Zero":
        observed[:] = True
    training = observed & (part == 0)
    return Series(
        names=names,
        first=int(steps[0]),
        values=dense if spec.gaps == "Zero" else dense[last_seen],
        observed=observed,
        split=part,
        known=dense_known,
        scale=_scale(dense, training, spec.season),
    )


def _scale(values: np.ndarray, there: np.ndarray, season: int) -> float:
    """Hyndman & Koehler 2006."""
    both = there[season:] & there[:-season]
    apart = np.abs(values[season:] - values[:-season])[both]
    mean = float(apart.mean()) if len(apart) else 0.0
    return mean if mean > 0 else float("nan")


def _check_order(steps: np.ndarray, split: np.ndarray, dataset: Artifact, spec: ForecastSignature, field: str) -> None:
    ends = [(SPLITS[k], steps[split == k]) for k in range(len(SPLITS)) if (split == k).any()]
    for (earlier, before), (later, after) in itertools.pairwise(ends):
        if before.max() > after.min():
            raise InvalidSpec(
                f"{field}: rows of the {later} split of {dataset.ref.uri} are older than rows of its {earlier} split, and a "
                "forecast is judged on what came after it: split the Dataset by time, spec.split.byTime: {column: "
                f"{spec.time}, validationRows: Newest}}",
                field="spec.dataset",
            )


def _names(table: pa.Table, columns: Sequence[str]) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """The series in the order of their names, and which one each row belongs to."""
    if not columns:
        return [()], np.zeros(table.num_rows, dtype=np.int64)
    texts = [pa.array(tables.texts(table, name), pa.string()) for name in columns]
    joined = pc.binary_join_element_wise(*texts, _BETWEEN)
    names, code = np.unique(joined.to_numpy(zero_copy_only=False).astype(object), return_inverse=True)
    return [tuple(name.split(_BETWEEN)) for name in names], code.reshape(-1).astype(np.int64)


def _seconds(table: pa.Table, name: str, field: str) -> np.ndarray:
    """A column of times as seconds since 1970, int64."""
    column = table.column(name)
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        raise ColumnType(
            f"{field}: column {name!r} is {column.type}, not a time: cast it in the dataset (make_timestamp, strptime)",
            field=field,
        )
    if column.null_count:
        raise InvalidData(
            f"{field}: column {name!r} is missing in {column.null_count} rows: filter them in the dataset", field=field
        )
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    exact = np.asarray(pc.cast(pc.cast(column, pa.timestamp("us", tz=zone)), pa.int64()).to_numpy(), dtype=np.int64)
    fractions = np.flatnonzero(exact % _MICROSECONDS)
    if len(fractions):
        raise InvalidData(
            f"{field}: column {name!r} has fractions of a second ({len(fractions)} rows): truncate it in the dataset",
            field=field,
        )
    return exact // _MICROSECONDS


def _called(names: Sequence[str], spec: ForecastSignature) -> str:
    told = ", ".join(f"{column}={name}" for column, name in zip(spec.series, names, strict=True))
    return f"the series {told}" if told else "the series"


def _told(seconds: np.int64) -> str:
    return str(np.datetime64(int(seconds), "s"))
