"""What is done to a dataset's rows before they are checked and split: SQL, or typed steps."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Column, Columns, Expression
from tidemill.contract.markers import check_exactly_one, exactly_one, list_atomic, list_map, rules


class Filter(Document):
    """Keep the rows for which a SQL predicate is true."""

    where: Expression
    """A SQL predicate over the columns, such as `dep_delay IS NOT NULL`."""


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


class Deduplicate(Document):
    """Keep one row of those equal in these columns: the first by `orderBy`, or else by all columns."""

    columns: Columns
    """Columns that together tell rows apart."""
    order_by: Expression | None = None
    """A SQL ORDER BY list: the first row of each group is kept."""


class Aggregation(Document):
    """One aggregated column."""

    column: Column
    """The column that is aggregated."""
    function: Literal["count", "sum", "mean", "min", "max", "median", "stddev", "countDistinct"]
    """How the values of a group become one."""
    output: Column
    """Name of the resulting column."""


class Aggregate(Document):
    """Group rows and aggregate columns."""

    group_by: Columns
    """Columns that make a group."""
    aggregations: tuple[Aggregation, ...] = Field(min_length=1, max_length=64, json_schema_extra=list_map("output"))
    """The columns that each group's row has beside those of `groupBy`."""


class Step(Document):
    """One typed step."""

    model_config = ConfigDict(
        json_schema_extra=rules(exactly_one("filter", "derive", "fillNull", "deduplicate", "aggregate"))
    )

    filter: Filter | None = None
    derive: Derive | None = None
    fill_null: FillNull | None = None
    deduplicate: Deduplicate | None = None
    aggregate: Aggregate | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "filter", "derive", "fill_null", "deduplicate", "aggregate")
        return self


class Transform(Document):
    """SQL over the inputs' names, or typed steps over the inputs' union by column name."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("sql", "steps")))

    sql: str | None = Field(default=None, min_length=1, max_length=6144)
    """One SELECT in DuckDB's dialect; it sees the inputs as tables and nothing else: no files, no network."""
    steps: tuple[Step, ...] | None = Field(default=None, min_length=1, max_length=32, json_schema_extra=list_atomic())
    """Applied in this order."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "sql", "steps")
        return self
