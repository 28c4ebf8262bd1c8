"""Steps that look at several rows at once: groups, windows, and the rows of another input."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Column, Columns, Expression, InputName
from tidemill.contract.markers import cel, list_map, list_set, rules

Statistic = Literal["count", "sum", "mean", "min", "max", "median", "stddev", "countDistinct"]

# in CEL `function` is a reserved word, and a field of that name is written __function__
_NEEDS_COLUMN = "column is needed by every function but rowNumber and count"
_COLUMN_IN_VAIN = "column has no effect on rowNumber"
_ROWS_IN_VAIN = "rows has no effect on rowNumber, lag and lead"
_OFFSET_IN_VAIN = "offset is for lag and lead"


class Aggregation(Document):
    """One aggregated column."""

    column: Column
    """The column that is aggregated."""
    function: Statistic
    """How the values of a group become one."""
    output: Column
    """Name of the resulting column."""


class Aggregate(Document):
    """Group rows and aggregate columns."""

    group_by: Columns
    """Columns that make a group."""
    aggregations: tuple[Aggregation, ...] = Field(min_length=1, max_length=64, json_schema_extra=list_map("output"))
    """The columns that each group's row has beside those of `groupBy`."""


class Pivot(Document):
    """Group rows, and make a column of each listed value of another column. Values that are not listed are left out."""

    group_by: Columns
    """Columns that make a group."""
    column: Column
    """The column whose values become columns."""
    values: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        min_length=1, max_length=128, json_schema_extra=list_set()
    )
    """These values, compared as text: they are listed so that the columns are the same whatever the data holds."""
    value: Column
    """The column that is aggregated in each of them."""
    function: Statistic = "sum"
    """How the values of a group become one; without any it is null, and counts are 0."""
    prefix: str = Field(default="", max_length=64)
    """Before each value in the name of its column."""


class Window(Document):
    """Add a column that is computed, for each row, from the rows around it. Rows that are equal in `orderBy` are told apart by
    all their columns, so that the result does not depend on the order in which rows arrive."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.__function__ in ['rowNumber', 'count'] || has(self.column)", _NEEDS_COLUMN, field=".function"),
            cel("self.__function__ != 'rowNumber' || !has(self.column)", _COLUMN_IN_VAIN, field=".column"),
            cel("!(self.__function__ in ['rowNumber', 'lag', 'lead']) || !has(self.rows)", _ROWS_IN_VAIN, field=".rows"),
            cel("self.__function__ in ['lag', 'lead'] || !has(self.offset)", _OFFSET_IN_VAIN, field=".offset"),
        )
    )  # fmt: skip

    function: Literal["rowNumber", "lag", "lead", "sum", "mean", "min", "max", "count"]
    """`rowNumber` counts from 1; `lag` and `lead` take another row's value; the others aggregate the rows of the frame."""
    column: Column | None = None
    """The column that is looked at; `count` without it counts rows."""
    partition_by: Annotated[tuple[Column, ...], Field(max_length=64, json_schema_extra=list_set())] = ()
    """Only rows that are equal in these columns see each other."""
    order_by: Expression
    """A SQL ORDER BY list, such as `departed` or `departed DESC`."""
    rows: int | None = Field(default=None, ge=0, le=1_000_000)
    """The frame: so many rows before the current one, and the current one. Without it all rows before: a cumulative value."""
    offset: int | None = Field(default=None, ge=1, le=1_000_000)
    """How many rows back `lag` looks, or `lead` ahead: 1 unless set."""
    output: Column
    """Name of the new column."""

    @model_validator(mode="after")
    def _effective(self) -> Self:
        if self.function not in ("rowNumber", "count") and self.column is None:
            raise ValueError(_NEEDS_COLUMN)
        if self.function == "rowNumber" and self.column is not None:
            raise ValueError(_COLUMN_IN_VAIN)
        if self.function in ("rowNumber", "lag", "lead") and self.rows is not None:
            raise ValueError(_ROWS_IN_VAIN)
        if self.function not in ("lag", "lead") and self.offset is not None:
            raise ValueError(_OFFSET_IN_VAIN)
        return self


class Join(Document):
    """Add the columns of another input's rows that are equal in some columns. That input is then no part of the rows that the
    steps begin with. Missing values are equal to nothing."""

    input: InputName
    """Name of the other input."""
    using: Columns
    """Columns of both sides that must be equal."""
    how: Literal["Inner", "Left"] = "Left"
    """`Left` keeps rows without a match, with null in the new columns; `Inner` leaves them out."""
    columns: Columns | None = None
    """The columns to take; without it all but those of `using`."""
    suffix: str | None = Field(default=None, min_length=1, max_length=64)
    """Put behind the name of a taken column that is there already."""
    many: bool = False
    """Whether a row may match several rows of the other input, and so become several rows. Otherwise that is an error."""
