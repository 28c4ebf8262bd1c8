"""Steps that choose, name and make columns, row by row."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Column, Columns, Expression
from tidemill.contract.markers import check_exactly_one, exactly_one, list_set, rules

ColumnType = Literal["integer", "float", "boolean", "text", "date", "timestamp"]
DatePart = Literal[
    "year", "quarter", "month", "week", "day", "dayOfYear", "weekday", "hour", "minute", "isWeekend", "isMonthEnd"
]


class Select(Document):
    """Keep these columns, in this order."""

    columns: Columns
    """The columns that stay."""


class Drop(Document):
    """Leave columns out."""

    columns: Columns
    """The columns that go."""


class Rename(Document):
    """Give columns other names."""

    columns: dict[str, Column] = Field(min_length=1, max_length=256)
    """The old name of each column, and its new one."""


class Cast(Document):
    """Change the type of columns. Only values that lose nothing fit: 2.0 and `2` are integers, 2.5 is not."""

    columns: dict[str, ColumnType] = Field(min_length=1, max_length=256)
    """The type of each column: `integer` (64 bits), `float` (64 bits), `boolean`, `text`, `date` or `timestamp` (UTC)."""
    on_error: Literal["Fail", "SetNull"] = "Fail"
    """What becomes of a value that does not fit: `Fail` names the first and how many there are, `SetNull` makes it null."""


class Derive(Document):
    """Add or replace a column by a SQL expression."""

    column: Column
    """Name of the new or replaced column."""
    expression: Expression
    """A SQL expression over the columns."""


class FillNull(Document):
    """Replace missing values by a constant, or by a statistic of the column."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("value", "statistic")))

    columns: Columns
    """Columns whose missing values are filled."""
    value: str | None = Field(default=None, max_length=1024)
    """A SQL literal, cast to the column's type."""
    statistic: Literal["mean", "median", "mode", "min", "max"] | None = None
    """A statistic of each column's present values."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "value", "statistic")
        return self


class DateParts(Document):
    """Add columns with the parts of a date or timestamp (UTC)."""

    column: Column
    """A date or timestamp."""
    parts: tuple[DatePart, ...] = Field(min_length=1, max_length=11, json_schema_extra=list_set())
    """Each becomes a column. `week` and `weekday` are ISO 8601's: Monday is 1; `isWeekend` is Saturday or Sunday."""
    prefix: str | None = Field(default=None, max_length=64)
    """Before each part's name; by default the column's name and `_`, as in `departed_weekday`."""
