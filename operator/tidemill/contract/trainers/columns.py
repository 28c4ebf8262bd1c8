"""What every trainer on columns is told: what to predict, and from what."""

from __future__ import annotations

from pydantic import Field

from tidemill.contract.base import Document
from tidemill.contract.columns import Column
from tidemill.contract.markers import cel, list_set

COLUMN_RULES = (
    cel("!has(self.features) || !(self.target in self.features)", "the target cannot be a feature", field=".features"),
    cel("!has(self.features) || !has(self.exclude) || self.exclude.size() == 0", "exclude has no effect beside features",
        field=".exclude"),
)  # fmt: skip
"""For `rules` of a trainer's own: a class's rules replace those of its base."""


class ColumnTrainer(Document):
    """A trainer that learns one column from others."""

    target: Column
    """The column to predict."""
    features: tuple[Column, ...] | None = Field(
        default=None, min_length=1, max_length=512, json_schema_extra=list_set()
    )
    """Columns to learn from; by default all but the target and internal ones."""
    exclude: tuple[Column, ...] = Field(default=(), max_length=512, json_schema_extra=list_set())
    """Columns to leave out of the default features."""
