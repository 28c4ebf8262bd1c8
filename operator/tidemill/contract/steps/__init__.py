"""What is done to a dataset's rows before they are checked and split: SQL, or typed steps."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.markers import check_exactly_one, exactly_one, list_atomic, rules
from tidemill.contract.steps.columns import Cast, DateParts, Derive, Drop, FillNull, Rename, Select
from tidemill.contract.steps.groups import Aggregate, Join, Pivot, Window
from tidemill.contract.steps.rows import Deduplicate, Filter, Sample
from tidemill.contract.steps.text import DeduplicateText, NormalizeText


class Step(Document):
    """One typed step."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(
                "filter", "select", "drop", "rename", "cast", "derive", "fillNull", "dateParts", "normalizeText",
                "deduplicate", "deduplicateText", "sample", "aggregate", "pivot", "window", "join",
            )
        )
    )  # fmt: skip

    filter: Filter | None = None
    select: Select | None = None
    drop: Drop | None = None
    rename: Rename | None = None
    cast: Cast | None = None
    derive: Derive | None = None
    fill_null: FillNull | None = None
    date_parts: DateParts | None = None
    normalize_text: NormalizeText | None = None
    deduplicate: Deduplicate | None = None
    deduplicate_text: DeduplicateText | None = None
    sample: Sample | None = None
    aggregate: Aggregate | None = None
    pivot: Pivot | None = None
    window: Window | None = None
    join: Join | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, *type(self).model_fields)
        return self


class Transform(Document):
    """SQL over the inputs' names, or typed steps over the inputs' union by column name."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("sql", "steps")))

    sql: str | None = Field(default=None, min_length=1, max_length=6144)
    """One SELECT in DuckDB's dialect; it sees the inputs as tables and nothing else: no files, no network."""
    steps: tuple[Step, ...] | None = Field(default=None, min_length=1, max_length=32, json_schema_extra=list_atomic())
    """Applied in this order, to the union of the inputs that no `join` names."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "sql", "steps")
        return self
