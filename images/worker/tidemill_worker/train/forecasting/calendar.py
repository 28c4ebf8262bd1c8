"""The calendar within an ONNX graph: what day and hour a time is, by whole numbers alone.

Days to dates by Howard Hinnant's algorithm (https://howardhinnant.github.io/date_algorithms.html, civil_from_days): years begin
in March, so that a leap day is a year's last. Right for every time since the year 0, UTC, proleptic Gregorian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from tidemill.contract.frequency import Step
from tidemill.contract.trainers.forecasting import CalendarFeature
from tidemill_worker.train.graph import Graph

_DAY = 86_400
_EPOCH = 719_468
"""Days from 1 March of the year 0, from which all days are counted here, to 1970."""


@dataclass(frozen=True)
class Whole:
    """A tensor of whole numbers in the making: arithmetic on it adds nodes. What is divided is not negative."""

    graph: Graph
    name: str
    prefix: str

    def __add__(self, other: Whole | int) -> Whole:
        return self._node("Add", other)

    def __sub__(self, other: Whole | int) -> Whole:
        return self._node("Sub", other)

    def __mul__(self, other: Whole | int) -> Whole:
        return self._node("Mul", other)

    def __floordiv__(self, other: Whole | int) -> Whole:
        return self._node("Div", other)

    def __mod__(self, other: Whole | int) -> Whole:
        return self._node("Mod", other)

    def unless(self) -> Whole:
        """1 for 0, and 0 for 1."""
        return self * -1 + 1

    def divisible(self, by: int) -> Whole:
        """1 where it is, else 0."""
        return ((self % by + (by - 1)) // by).unless()

    def number(self, output: str) -> str:
        """As a tensor of float32."""
        return self.graph.add("Cast", [self.name], output, to=TensorProto.FLOAT)

    def _node(self, kind: str, other: Whole | int) -> Whole:
        output = f"{self.prefix}/{len(self.graph.nodes)}"
        value = (
            other.name if isinstance(other, Whole) else self.graph.constant(f"{output}/c", np.array(other, np.int64))
        )
        return Whole(self.graph, self.graph.add(kind, [self.name, value], output), self.prefix)


@dataclass(frozen=True)
class Date:
    """Month (1 to 12), day of the month and of the year (from 1)."""

    month: Whole
    day: Whole
    year_day: Whole


def date(days: Whole) -> Date:
    """Of days since 1 March of the year 0."""
    era = days // 146_097
    of_era = days - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    from_march = of_era - (year * 365 + year // 4 - year // 100)
    months = (from_march * 5 + 2) // 153
    begun = (months + 2) // 12  # 1 in January and February, which belong to the year that follows
    after = year + era * 400 + begun
    leap = after.divisible(4) - after.divisible(100) + after.divisible(400)
    return Date(
        month=(months + 2) % 12 + 1,
        day=from_march - (months * 153 + 2) // 5 + 1,
        year_day=begun * (from_march - 305) + begun.unless() * (from_march + leap + 60),
    )


def features(
    graph: Graph, time: str, step: Step, horizon: int, wanted: Sequence[CalendarFeature], prefix: str
) -> list[str]:
    """Names of tensors float32 [batch, horizon]. `time` is int64 [batch, 1]: seconds since 1970 of the newest value."""
    if not wanted:
        return []
    ahead = graph.constant(f"{prefix}/ahead", np.arange(1, horizon + 1, dtype=np.int64)[None])
    steps = Whole(graph, ahead, prefix)
    since = Whole(graph, time, prefix) + _EPOCH * _DAY
    if step.months:
        month = (date(since // _DAY).month + steps * step.months - 1) % 12 + 1
        return [month.number(f"{prefix}/Month")]
    then = since + steps * step.seconds
    days = then // _DAY
    of = date(days)
    found: dict[CalendarFeature, Whole] = {
        "Hour": then % _DAY,  # the second of the day: minutes matter, too
        "Weekday": (days + 2) % 7,
        "MonthDay": of.day,
        "YearDay": of.year_day,
        "Month": of.month,
    }
    return [found[name].number(f"{prefix}/{name}") for name in wanted]


def default(step: Step) -> tuple[CalendarFeature, ...]:
    """What matters at a frequency."""
    if step.months:
        return ("Month",)
    if step.seconds < _DAY:
        return ("Hour", "Weekday", "Month")
    return ("YearDay",) if step.seconds >= 7 * _DAY else ("Weekday", "MonthDay", "Month")
