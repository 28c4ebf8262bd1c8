"""The step of a time series: so many seconds, or so many calendar months."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field

Frequency = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}(s|m|h|d|w|mo)$", max_length=6)]
"""`15m`, `1h`, `1d`, `1w` or `1mo`: seconds, minutes, hours, days, weeks, calendar months."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DAY, _HOUR, _YEAR_OF_WEEKS, _YEAR_OF_MONTHS = 86_400, 3600, 52, 12
_LONGEST_SEASON = 1440


@dataclass(frozen=True, slots=True)
class Step:
    """One of the two is zero."""

    seconds: int = 0
    months: int = 0

    @classmethod
    def parse(cls, frequency: str) -> Self:
        """`1h` → 3600 seconds. Raises ValueError on anything that is no Frequency."""
        match = re.fullmatch(r"([1-9][0-9]{0,3})(s|m|h|d|w|mo)", frequency)
        if match is None:
            raise ValueError(f"{frequency!r} is not a frequency such as 15m, 1h, 1d, 1w or 1mo")
        number, unit = int(match[1]), match[2]
        return cls(months=number) if unit == "mo" else cls(seconds=number * _SECONDS[unit])

    @property
    def season(self) -> int:
        """Steps of the season that series of this frequency have as a rule; 1 where there is none.

        A year of months or weeks, a week of days, a day of hours or minutes, an hour of seconds.
        """
        if self.months:
            return _whole(_YEAR_OF_MONTHS, self.months)
        if self.seconds >= 7 * _DAY:
            return _YEAR_OF_WEEKS if self.seconds == 7 * _DAY else 1
        if self.seconds >= _DAY:
            return 7 if self.seconds == _DAY else 1
        steps = _whole(_DAY, self.seconds)
        return steps if steps <= _LONGEST_SEASON else _whole(_HOUR, self.seconds)


def _whole(length: int, step: int) -> int:
    return length // step if length % step == 0 else 1
