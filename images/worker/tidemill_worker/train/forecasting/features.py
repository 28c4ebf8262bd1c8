"""What the trees see of a window, as nodes of the served graph. Training runs the very same nodes: there is no other code.

The graph takes the last values of a series, fills what is missing among them, and puts them into deviations around their
mean. For each step ahead it lays out one row: the last values, the values at the same place of earlier seasons, statistics of
the last ones, the calendar of that step, the columns that are known in advance, the series, and the number of the step. Sums
are in double precision and rounded to single, so that the last bits do not depend on the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto

from tidemill.contract.frequency import Step
from tidemill.contract.model import ForecastSignature
from tidemill.contract.trainers import ForecastingTrainer
from tidemill.contract.trainers.forecasting import CalendarFeature
from tidemill_worker.model import tables
from tidemill_worker.model.predictor import open_session
from tidemill_worker.train.features.vocabulary import FIRST, MISSING, OTHER, counted
from tidemill_worker.train.forecasting import calendar
from tidemill_worker.train.forecasting.data import WindowData, windows_of
from tidemill_worker.train.graph import Graph, column

_ROWS = 65_536
"""Rows of features that are computed at a time."""
_QUIET = 0.1
"""A window that varies less than this share of what windows vary as a rule is not blown up to that."""


class Emitted(NamedTuple):
    """Names of tensors: features [batch · horizon, columns], and what a forecast is measured in, [batch, 1] each."""

    matrix: str
    centre: str
    scale: str


class Encoded(NamedTuple):
    """The same as numbers: float32."""

    matrix: np.ndarray
    centre: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFeatures:
    """What was learnt of the training windows, and what is asked for."""

    target: str
    spec: ForecastSignature
    lags: tuple[int, ...]
    seasonal_lags: int
    windows: tuple[int, ...]
    calendar: tuple[CalendarFeature, ...]
    categories: tuple[tuple[str, ...], ...]
    """Of each column of `spec.series`, the most frequent first."""
    fill: tuple[float, ...]
    """What stands for a missing value of each known column: NaN, or the median where training shows none."""
    fixed: tuple[float, float] | None
    """Mean and deviation of all training values, for scaling None."""
    around_last: bool
    """Whether values are put around the newest one, and not around their mean."""
    least: float
    """For scaling Mean and Last: the least deviation that values are divided by."""

    @classmethod
    def fit(cls, data: WindowData, trainer: ForecastingTrainer) -> WindowFeatures:
        """Learn from the training windows."""
        spec, rows = data.spec, data.train.rows
        history = tables.vectors(rows, data.target).astype(np.float64)
        values = data.train.future[np.isfinite(data.train.future)]
        usual = float(np.median(history.std(axis=1)))
        deviation = float(values.std()) if np.ptp(values) > 0 else 1.0
        return cls(
            target=data.target,
            spec=spec,
            lags=trainer.lags,
            seasonal_lags=trainer.seasonal_lags,
            windows=windows_of(trainer, spec.season),
            calendar=calendar.default(Step.parse(spec.frequency)) if trainer.calendar is None else trainer.calendar,
            categories=tuple(
                tuple(value for value, _ in counted(rows, name)[: trainer.max_categories]) for name in spec.series
            ),
            fill=tuple(_fill(tables.vectors(rows, name)) for name in spec.known),
            fixed=(float(values.mean()), deviation) if trainer.scaling == "None" else None,
            around_last=trainer.scaling == "Last",
            least=_QUIET * usual if usual > 0 else 1.0,
        )

    @property
    def categorical(self) -> list[int]:
        """Places of the columns of the matrix that are codes: the first ones."""
        return list(range(len(self.spec.series)))

    def inputs(self) -> list[onnx.ValueInfoProto]:
        """Of the graph, as the signature has them."""
        spec = self.spec
        return [
            column(self.target, width=spec.history),
            column(spec.time, TensorProto.INT64),
            *(column(name, TensorProto.STRING) for name in spec.series),
            *(column(name, width=spec.horizon) for name in spec.known),
        ]

    def encode(self, rows: pa.Table) -> Encoded:
        """By ONNX Runtime, as in serving. `rows` are windows."""
        graph = Graph()
        emitted = self.emit(graph)
        width = len(self.names)
        outputs = [
            onnx.helper.make_tensor_value_info(emitted.matrix, TensorProto.FLOAT, ["rows", width]),
            *(column(name) for name in (emitted.centre, emitted.scale)),
        ]
        session = open_session(graph.model(self.inputs(), outputs).SerializeToString())
        size = max(1, _ROWS // self.spec.horizon)
        parts = [
            session.run(list(emitted), self._feed(rows.slice(start, size))) for start in range(0, rows.num_rows, size)
        ]
        if not parts:
            return Encoded(np.empty((0, width), np.float32), *(np.empty((0, 1), np.float32) for _ in range(2)))
        return Encoded(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _feed(self, rows: pa.Table) -> dict[str, np.ndarray]:
        return {
            self.target: tables.vectors(rows, self.target),
            self.spec.time: tables.numbers(rows, self.spec.time).astype(np.int64)[:, None],
            **{name: tables.texts(rows, name)[:, None] for name in self.spec.series},
            **{name: tables.vectors(rows, name) for name in self.spec.known},
        }

    @property
    def names(self) -> list[str]:
        """Of the matrix' columns."""
        return [
            *self.spec.series,
            *(f"lag {lag}" for lag in self.lags),
            *(f"{what} of {length}" for length in self.windows for what in ("mean", "deviation", "minimum", "maximum")),
            *(("level", "spread") if self.fixed is None else ()),
            "step",
            *(f"season {season + 1}" for season in range(self.seasonal_lags)),
            *self.calendar,
            *self.spec.known,
        ]

    def emit(self, graph: Graph) -> Emitted:
        """Add the nodes."""
        filled = self._filled(graph)
        centre, scale = self._measure(graph, filled)
        moved = graph.add("Sub", [filled, centre], "pre/moved")
        values = graph.add("Div", [moved, scale], "pre/values")
        once = [*self._codes(graph), self._last(graph, values, self.lags, "pre/lags")]
        for length in self.windows:
            once += self._statistics(graph, values, length)
        if self.fixed is None:
            once += [centre, scale]
        whole = graph.add("Unsqueeze", [graph.concat(once, "pre/once"), _ints(graph, "pre/axis-1", [1])], "pre/row")
        every = graph.add("Expand", [whole, _ints(graph, "pre/every", [1, self.spec.horizon, 1])], "pre/every-step")
        parts = [every, *self._ahead(graph, values)]
        laid = graph.add("Concat", parts, "pre/steps", axis=2)
        shape = _ints(graph, "pre/rows", [-1, len(self.names)])
        return Emitted(graph.add("Reshape", [laid, shape], "pre/features"), centre, scale)

    def _filled(self, graph: Graph) -> str:
        """The history without missing values: each is the one before it, or zero; the first ones are the first that is there.

        A missing value looks 1, 2, 4 … places back, so that a gap of any length is filled in as many nodes as it has digits.
        """
        raw, length = self.target, self.spec.history
        absent = graph.add(
            "IsNaN", [graph.add("Sub", [raw, raw], "pre/zero")], "pre/absent"
        )  # infinity counts as missing
        stand_in = 0.0 if self.spec.gaps == "Zero" else np.nan
        value = graph.add("Where", [absent, _number(graph, "pre/stand-in", stand_in), raw], "pre/seen")
        if self.spec.gaps == "Zero":
            return value
        places = np.arange(length)
        for way in (-1, 1):
            shift = 1
            while shift < length:
                name = f"pre/{'back' if way < 0 else 'ahead'}/{shift}"
                near = _ints(graph, f"{name}/place", np.clip(places + way * shift, 0, length - 1))
                other = graph.add("Gather", [value, near], f"{name}/other", axis=1)
                value = graph.add("Where", [graph.add("IsNaN", [value], f"{name}/absent"), other, value], name)
                shift *= 2
        nothing = graph.add("IsNaN", [value], "pre/nothing")
        return graph.add("Where", [nothing, _number(graph, "pre/none", 0.0), value], "pre/filled")

    def _measure(self, graph: Graph, filled: str) -> tuple[str, str]:
        """Mean and deviation that values are put into, float32 [batch, 1]."""
        wide = graph.add("Cast", [filled], "pre/wide", to=TensorProto.DOUBLE)
        mean = graph.add("ReduceMean", [wide], "pre/mean", axes=[1], keepdims=1)
        if self.fixed is not None:
            none = graph.add("Mul", [mean, graph.constant("pre/no", np.array(0.0))], "pre/of-none")
            both = [
                graph.add("Add", [none, graph.constant(f"pre/all/{name}", np.array(value))], f"pre/all-{name}")
                for name, value in zip(("mean", "deviation"), self.fixed, strict=True)
            ]
        else:
            deviation = self._deviation(graph, wide, mean, "pre/all")
            both = [
                self._last(graph, wide, [1], "pre/last") if self.around_last else mean,
                graph.add("Max", [deviation, graph.constant("pre/least", np.array(self.least))], "pre/bounded"),
            ]
        centre, scale = (
            graph.add("Cast", [value], name, to=TensorProto.FLOAT)
            for value, name in zip(both, ("pre/centre", "pre/scale"), strict=True)
        )
        return centre, scale

    @staticmethod
    def _deviation(graph: Graph, wide: str, mean: str, prefix: str) -> str:
        apart = graph.add("Sub", [wide, mean], f"{prefix}/apart")
        square = graph.add("Mul", [apart, apart], f"{prefix}/square")
        return graph.add(
            "Sqrt",
            [graph.add("ReduceMean", [square], f"{prefix}/variance", axes=[1], keepdims=1)],
            f"{prefix}/deviation",
        )

    def _last(self, graph: Graph, values: str, lags: Sequence[int], name: str) -> str:
        places = _ints(graph, f"{name}/places", [self.spec.history - lag for lag in lags])
        return graph.add("Gather", [values, places], name, axis=1)

    def _statistics(self, graph: Graph, values: str, length: int) -> list[str]:
        """Of the last values: mean, deviation, minimum, maximum, each [batch, 1]."""
        prefix = f"pre/window/{length}"
        last = self._last(graph, values, range(length, 0, -1), f"{prefix}/values")
        wide = graph.add("Cast", [last], f"{prefix}/wide", to=TensorProto.DOUBLE)
        mean = graph.add("ReduceMean", [wide], f"{prefix}/mean-wide", axes=[1], keepdims=1)
        deviation = self._deviation(graph, wide, mean, prefix)
        return [
            graph.add("Cast", [mean], f"{prefix}/mean", to=TensorProto.FLOAT),
            graph.add("Cast", [deviation], f"{prefix}/deviation-single", to=TensorProto.FLOAT),
            graph.add("ReduceMin", [last], f"{prefix}/minimum", axes=[1], keepdims=1),
            graph.add("ReduceMax", [last], f"{prefix}/maximum", axes=[1], keepdims=1),
        ]

    def _codes(self, graph: Graph) -> list[str]:
        """Which series it is, as the columns of boosted trees have it."""
        return [
            graph.add(
                "LabelEncoder",
                [name],
                f"pre/series/{index}",
                domain="ai.onnx.ml",
                keys_strings=["", *known],
                values_floats=[float(code) for code in (MISSING, *range(FIRST, FIRST + len(known)))],
                default_float=float(OTHER),
            )
            for index, (name, known) in enumerate(zip(self.spec.series, self.categories, strict=True))
        ]

    def _ahead(self, graph: Graph, values: str) -> list[str]:
        """What differs from step to step: [batch, horizon, columns] each."""
        spec = self.spec
        ahead = np.arange(1, spec.horizon + 1)
        batch = graph.add("Shape", [values], "pre/batch", start=0, end=1)
        shape = graph.add("Concat", [batch, _ints(graph, "pre/one-each", [spec.horizon, 1])], "pre/step-shape", axis=0)
        number = graph.constant("pre/step-number", ahead.astype(np.float32)[None, :, None])
        # the newest value that is whole seasons before the step, and those of the seasons before that
        newest = spec.history - 1 + ahead - spec.season * -(-ahead // spec.season)
        places = newest[:, None] - spec.season * np.arange(self.seasonal_lags)
        same = graph.add("Gather", [values, _ints(graph, "pre/season-places", places)], "pre/seasons", axis=1)
        last = _ints(graph, "pre/axis-2", [2])
        single = calendar.features(
            graph, spec.time, Step.parse(spec.frequency), spec.horizon, self.calendar, "pre/calendar"
        )
        for index, (name, fill) in enumerate(zip(spec.known, self.fill, strict=True)):
            prefix = f"pre/known/{index}"
            absent = graph.add("IsNaN", [graph.add("Sub", [name, name], f"{prefix}/zero")], f"{prefix}/absent")
            single.append(graph.add("Where", [absent, _number(graph, f"{prefix}/fill", fill), name], prefix))
        return [
            graph.add("Expand", [number, shape], "pre/step"),
            same,
            *(graph.add("Unsqueeze", [name, last], f"{name}/each") for name in single),
        ]


def _fill(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if len(there) == values.size else float("nan")


def _ints(graph: Graph, name: str, values: Sequence[int] | np.ndarray) -> str:
    return graph.constant(name, np.asarray(values, dtype=np.int64))


def _number(graph: Graph, name: str, value: float) -> str:
    return graph.constant(name, np.array(value, dtype=np.float32))
