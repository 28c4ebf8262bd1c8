"""Steps that choose rows."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Columns, Expression
from tidemill.contract.markers import check_exactly_one, exactly_one, rules


class Filter(Document):
    """Keep the rows for which a SQL predicate is true."""

    where: Expression
    """A SQL predicate over the columns, such as `dep_delay IS NOT NULL`."""


class Deduplicate(Document):
    """Keep one row of those equal in these columns: the first by `orderBy`, or else by all columns."""

    columns: Columns
    """Columns that together tell rows apart."""
    order_by: Expression | None = None
    """A SQL ORDER BY list: the first row of each group is kept."""


class Sample(Document):
    """Keep some of the rows: which ones depends on their content and the seed alone, so equal rows stay or go together."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("rows", "fraction")))

    rows: int | None = Field(default=None, ge=1)
    """Exactly so many rows, or all of them when there are fewer."""
    fraction: float | None = Field(default=None, gt=0, lt=1)
    """About this share of the rows."""
    seed: int = 0
    """Another seed chooses other rows."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "rows", "fraction")
        return self
