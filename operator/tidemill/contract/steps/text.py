"""Steps that clean texts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidemill.contract.base import Document
from tidemill.contract.columns import Column, Columns, Expression
from tidemill.contract.markers import list_set

TextOperation = Literal["stripHtml", "nfc", "nfkc", "lower", "stripAccents", "collapseSpaces"]


class NormalizeText(Document):
    """Bring texts into one form."""

    columns: Columns
    """Columns of text."""
    operations: tuple[TextOperation, ...] = Field(min_length=1, max_length=6, json_schema_extra=list_set())
    """Applied in this order: `stripHtml` leaves the text of an HTML fragment, `nfc` and `nfkc` are Unicode's normalisation
    forms (UAX 15), `stripAccents` takes marks off letters, `collapseSpaces` leaves single spaces, and none at the ends."""


class Shingles(Document):
    """The pieces by which texts are compared."""

    unit: Literal["Characters", "Words"] = "Characters"
    """What a piece is made of; words are what white space separates."""
    size: int = Field(default=5, ge=1, le=20)
    """How many of them in a row make a piece."""


class DeduplicateText(Document):
    """Of texts that are nearly equal keep the first. Two are when their sets of shingles have at least this Jaccard similarity.
    Candidates are found by MinHash (Broder 1997), so that of pairs just at the threshold one in a thousand may be missed;
    what is dropped has been compared exactly. Rows without a text stay."""

    column: Column
    """A column of text."""
    threshold: float = Field(default=0.8, ge=0.5, le=1)
    """Texts are nearly equal from this similarity on: the number of common shingles by the number of all."""
    shingle: Shingles = Shingles()
    order_by: Expression | None = None
    """A SQL ORDER BY list: of texts nearly equal the first row is kept. Without it the first by all columns."""
    seed: int = Field(default=0, ge=0, le=4294967295)
    """Of the hash functions that find candidates."""
