"""How a dataset's rows are divided."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Column, Columns, Fraction
from tidemill.contract.markers import cel, check_exactly_one, exactly_one, rules


class RandomSplit(Document):
    """Rows are assigned by a hash of their content and the seed: the same row always lands in the same split. With `groupBy`
    by a hash of these columns alone: rows of one customer, patient or document are never on both sides."""

    model_config = ConfigDict(
        json_schema_extra=rules(cel("self.validation + self.test < 1.0", "validation + test must stay below 1"))
    )

    validation: Fraction = 0.1
    """Share of the rows in the validation split."""
    test: Fraction = 0.1
    """Share of the rows in the test split."""
    seed: int = 0
    """Another seed gives another assignment."""
    group_by: Columns | None = None
    """Rows that are equal in these columns stay together, also those where they are missing; shares are of the groups."""


class TimeSplit(Document):
    """The newest rows are the test split, others the validation split. Rows without a time count as oldest."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!has(self.testRows) || !has(self.test)", "set test or testRows, not both", field=".testRows"),
        )
    )

    column: Column
    """The column that holds each row's time."""
    validation: Fraction = 0.1
    """Share of the rows that are not in the test split."""
    validation_rows: Literal["Newest", "Random"] = "Newest"
    """Which of them: the newest, or any (by a hash of the row), so that the newest can be learnt from."""
    test: Fraction | None = None
    """Share of all rows (0.1 when neither test nor testRows is set)."""
    test_rows: int | None = Field(default=None, ge=1)
    """Number of rows."""


class Split(Document):
    """How rows are divided into train, validation and test."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("random", "byTime")))

    random: RandomSplit | None = None
    by_time: TimeSplit | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "random", "by_time")
        return self
