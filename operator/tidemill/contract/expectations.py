"""What must hold of a dataset's rows."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from tidemill.contract.base import Document
from tidemill.contract.columns import Column, Columns, InputName
from tidemill.contract.durations import Duration
from tidemill.contract.markers import bounds, cel, check_exactly_one, exactly_one, list_atomic, list_set, rules

Severity = Literal["Fail", "Quarantine", "Warn"]
ROW_WISE = ("notNull", "unique", "range", "oneOf", "regex", "referential")
"""Kinds that tell of each row whether it breaks them."""
WHOLE = ("rowCount", "freshness", "distribution")
"""Kinds that speak of all rows together."""
PREVIOUS = "Previous"

Key = Annotated[tuple[Column, ...], Field(min_length=1, max_length=16, json_schema_extra=list_atomic())]


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


class Referential(Document):
    """Every row has its match in another input, as by a foreign key. A row that lacks one of the values passes."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!has(self.references) || self.references.size() == self.columns.size()",
                "references must name as many columns as columns does", field=".references"),
        )
    )  # fmt: skip

    input: InputName
    """The input that must have the match. With SQL it may serve for this alone; without, its rows are appended as all inputs'
    are, unless a join names it."""
    columns: Key
    """Columns of the transformed rows."""
    references: Key | None = None
    """The input's columns that they are compared with, in this order; without it those of the same names."""

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if self.references is not None and len(self.references) != len(self.columns):
            raise ValueError("references must name as many columns as columns does")
        return self

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(column of the rows, column of the input)."""
        return tuple(zip(self.columns, self.references or self.columns, strict=True))


class RowCount(Document):
    """The number of rows lies between min and max, both included."""

    model_config = ConfigDict(json_schema_extra=rules(*bounds()))

    min: int | None = Field(default=None, ge=0)
    """The fewest rows allowed."""
    max: int | None = Field(default=None, ge=0)
    """The most rows allowed."""


class Freshness(Document):
    """The newest row is not older than this. Looked at again whenever a refresh finds the sources unchanged."""

    column: Column
    """A time or date; one without a time zone counts as UTC."""
    max_age: Duration
    """The greatest age of the newest row when it is checked."""


class Distribution(Document):
    """A column is distributed as in an earlier version of this Dataset. Passes while there is no earlier version."""

    model_config = ConfigDict(
        json_schema_extra=rules(cel("has(self.maxPsi) || has(self.maxShift)", "set maxPsi, maxShift or both"))
    )

    column: Column
    """The column that is compared."""
    max_psi: float | None = Field(default=None, ge=0)
    """The greatest population stability index over the earlier version's deciles or most frequent values, and over missing.
    Below 0.1 is commonly taken for no change, above 0.25 for a great one."""
    max_shift: float | None = Field(default=None, ge=0)
    """The greatest distance between the two means, in standard deviations of the earlier version. For numbers and times."""
    against: str = Field(default=PREVIOUS, pattern=r"^(Previous|sha256:[0-9a-f]{64})$", max_length=71)
    """Previous: the version that is newest when this one is prepared; or the digest of one that is in the store."""


class Expectation(Document):
    """What must hold of the transformed rows.

    Expectations of severity Quarantine come first; the others are checked on the rows that are left, so that they hold of
    what the version contains.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(*ROW_WISE, *WHOLE),
            cel(f"self.severity != 'Quarantine' || !({' || '.join(f'has(self.{kind})' for kind in WHOLE)})",
                f"only {', '.join(ROW_WISE)} tell which rows are bad: take severity Fail or Warn", field=".severity"),
        )
    )  # fmt: skip

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Names the expectation in messages and in status."""
    severity: Severity = "Fail"
    """Fail stops the Dataset. Quarantine takes the rows that break it out before the split, into `quarantine.parquet` beside
    the version's files. Warn is reported in a condition."""
    not_null: Columns | None = None
    """These columns have no missing value."""
    unique: Columns | None = None
    """These columns together are different in every row; missing counts as a value. Quarantine keeps the first row of
    equals (by all columns) among those that break nothing else."""
    range: Range | None = None
    one_of: OneOf | None = None
    regex: Regex | None = None
    referential: Referential | None = None
    row_count: RowCount | None = None
    freshness: Freshness | None = None
    distribution: Distribution | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_exactly_one(self, "not_null", "unique", "range", "one_of", "regex", "referential", "row_count", "freshness",
                          "distribution")  # fmt: skip
        if self.severity == "Quarantine" and self.kind in WHOLE:
            raise ValueError(f"only {', '.join(ROW_WISE)} tell which rows are bad: take severity Fail or Warn")
        return self

    @property
    def kind(self) -> str:
        """The one kind that is set, as documents spell it: `notNull`, `rowCount`, …"""
        kinds = (name for name in type(self).model_fields if name not in ("name", "severity"))
        return next(to_camel(name) for name in kinds if getattr(self, name) is not None)
