"""What must hold of a dataset's rows."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Column, Columns
from tidemill.contract.markers import bounds, check_exactly_one, exactly_one, list_set, rules


class Range(Document):
    """All present values lie between min and max, both included."""

    model_config = ConfigDict(json_schema_extra=rules(*bounds()))

    column: Column
    """The column that is checked."""
    min: float | None = None
    """The smallest value allowed."""
    max: float | None = None
    """The greatest value allowed."""


class OneOf(Document):
    """All present values are among these."""

    column: Column
    """The column that is checked, compared as text."""
    values: tuple[Annotated[str, Field(max_length=256)], ...] = Field(
        min_length=1, max_length=256, json_schema_extra=list_set()
    )
    """The values allowed."""


class Regex(Document):
    """All present values match a regular expression (RE2) as a whole."""

    column: Column
    """The column that is checked, as text."""
    pattern: str = Field(min_length=1, max_length=512)
    """A regular expression (RE2)."""


class RowCount(Document):
    """The number of rows lies between min and max, both included."""

    model_config = ConfigDict(json_schema_extra=rules(*bounds()))

    min: int | None = Field(default=None, ge=0)
    """The fewest rows allowed."""
    max: int | None = Field(default=None, ge=0)
    """The most rows allowed."""


class Expectation(Document):
    """What must hold of the transformed rows."""

    model_config = ConfigDict(
        json_schema_extra=rules(exactly_one("notNull", "unique", "range", "oneOf", "regex", "rowCount"))
    )

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Names the expectation in messages and in status."""
    severity: Literal["Fail", "Warn"] = "Fail"
    """Fail stops the Dataset; Warn is reported in a condition."""
    not_null: Columns | None = None
    """These columns have no missing value."""
    unique: Columns | None = None
    """These columns together are different in every row."""
    range: Range | None = None
    one_of: OneOf | None = None
    regex: Regex | None = None
    row_count: RowCount | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "not_null", "unique", "range", "one_of", "regex", "row_count")
        return self
