"""The built-in trainer of forecasts: the next values of time series, from their last ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tidemill.contract.columns import Column
from tidemill.contract.frequency import Frequency
from tidemill.contract.markers import JsonSchema, cel, list_set, rules
from tidemill.contract.trainers.trees import TreeGrowth

Lag = Annotated[int, Field(ge=1, le=4096)]
Window = Annotated[int, Field(ge=2, le=4096)]
CalendarFeature = Literal["Hour", "Weekday", "MonthDay", "YearDay", "Month"]
Gaps = Literal["Refuse", "Previous", "Zero"]

_OTHERS = ("time", "series", "known")


def _apart(field: str) -> JsonSchema:
    """The target is nothing else."""
    same = "self.target == self.time" if field == "time" else f"has(self.{field}) && self.target in self.{field}"
    return cel(f"!({same})", f"the target cannot be in {field}", field=f".{field}")


class ForecastingTrainer(TreeGrowth):
    """Boosted trees that forecast the next `horizon` values of each series, all at once, with intervals.

    One model for all series and steps (direct, global forecasting: Montero-Manso & Hyndman 2021): a tree sees the last values
    of a series, what they were at the same place of earlier seasons, their mean and spread, the calendar of the time that is
    forecast, and how many steps away it is. All of that is computed within the ONNX graph.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(_apart(field) for field in _OTHERS),
            cel("!has(self.series) || !(self.time in self.series)", "time cannot be in series", field=".series"),
            cel("!has(self.known) || !(self.time in self.known)", "the calendar knows the time: it cannot be in known",
                field=".known"),
            cel("!has(self.calendar) || !('Hour' in self.calendar) || self.frequency.matches('[smh]$')",
                "Hour has no effect on steps of days and more", field=".calendar"),
            cel("!has(self.calendar) || !self.frequency.endsWith('mo') || self.calendar.all(c, c == 'Month')",
                "steps of months have no feature of the calendar but Month", field=".calendar"),
            cel("self.intervals == 'Conformal' || (has(self.quantiles) && self.quantiles.size() > 0)",
                "intervals has no effect without quantiles", field=".intervals"),
            cel("!has(self.season) || self.season * self.seasonalLags <= 4096",
                "season times seasonalLags must not exceed 4096 steps", field=".season"),
        )
    )  # fmt: skip

    target: Column
    """The column to forecast."""
    time: Column
    """The column with each row's time: timestamps or dates, `frequency` apart."""
    series: tuple[Column, ...] = Field(default=(), max_length=8, json_schema_extra=list_set())
    """Columns that tell series apart; without them all rows are one series. They are features, too."""
    known: tuple[Column, ...] = Field(default=(), max_length=64, json_schema_extra=list_set())
    """Columns of numbers that are known in advance, such as holidays and prices: a forecast is asked with their values at the
    times that are forecast."""
    horizon: int = Field(ge=1, le=1000)
    """Steps that are forecast."""
    frequency: Frequency
    """How far apart rows of a series are: `15m`, `1h`, `1d`, `1w`, `1mo`."""
    season: int | None = Field(default=None, ge=1, le=4096)
    """Steps of a season: for lags, for the seasonal-naive forecast that the model is judged beside, and for mase. By default a
    day of hours or minutes, a week of days, a year of weeks or months; 1 is none."""
    lags: tuple[Lag, ...] = Field(default=(1, 2, 3), min_length=1, max_length=128, json_schema_extra=list_set())
    """Which of the last values are features: 1 is the newest."""
    seasonal_lags: int = Field(default=2, ge=1, le=32)
    """From how many earlier seasons the value at the same place is a feature."""
    windows: tuple[Window, ...] | None = Field(default=None, max_length=16, json_schema_extra=list_set())
    """Of how many of the last values mean, standard deviation, minimum and maximum are features; by default of one season."""
    calendar: tuple[CalendarFeature, ...] | None = Field(default=None, max_length=5, json_schema_extra=list_set())
    """What of the time that is forecast are features. By default Hour, Weekday and Month of steps below a day; Weekday,
    MonthDay and Month of days; YearDay of weeks; Month of months."""
    scaling: Literal["Mean", "Last", "None"] = "Mean"
    """What a forecast is learnt as. Mean: in standard deviations around the mean of the values before it (Kim et al. 2022), so
    that series of any size are alike and trends go on. Last: the same around the newest value, for series that wander, such as
    temperatures and prices. None: in those of all training rows, for series of one size."""
    gaps: Gaps = "Refuse"
    """Missing times and missing targets: an error, the value before them, or zero (where no row means that nothing was).
    A value that was filled with the one before is not learnt from and not counted in a metric."""
    stride: int = Field(default=1, ge=1, le=10_000)
    """Every so many steps a forecast begins, in training and in evaluation, counted from 1970: 24 of an hourly series are the
    forecasts at midnight UTC."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(), max_length=9, json_schema_extra=list_set()
    )
    """Also estimated, by trees of their own: [0.1, 0.9] is an interval that should hold eight of ten values."""
    intervals: Literal["Conformal", "Plain"] = "Conformal"
    """Conformal: each quantile is moved so that the validation split has the right share of values below it (Romano et al.
    2019), for what trees find on the training split is too narrow. Plain: as the trees give them."""
    loss: Literal["SquaredError", "AbsoluteError", "Huber"] = "SquaredError"
    """What the forecast minimises: SquaredError estimates means, AbsoluteError medians."""
