"""How columns become a model's features: fitted on the training split, part of the ONNX graph."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from tidemill.contract.base import Document
from tidemill.contract.columns import Columns
from tidemill.contract.markers import at_most_one, cel, check_exactly_one, exactly_one, list_atomic, list_set, rules

Number = Annotated[float, Field(ge=-1e18, le=1e18)]
"""A number that single precision holds: the graph takes numbers as FP32. Wider bounds would not fit into the 64 bits that the
API server compares a whole default with, and it would refuse the CRD."""
Category = Annotated[str, Field(min_length=1, max_length=128)]
Edges = Annotated[tuple[Number, ...], Field(min_length=1, max_length=255, json_schema_extra=list_set())]


class Impute(Document):
    """What a missing value becomes, before any other transform of the column: null, NaN, infinity, empty text.

    A number that has no other transform is standardised afterwards, as without one. A text needs another transform that makes
    numbers of it.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            at_most_one("value", "text"),
            cel("(self.strategy == 'Constant') == (has(self.value) || has(self.text))",
                "the strategy Constant needs value or text, and they have no effect beside the others", field=".strategy"),
        )
    )  # fmt: skip

    strategy: Literal["Mean", "Median", "MostFrequent", "Constant"] = "Median"
    """A statistic of the present values, or a constant. Text has MostFrequent and Constant only."""
    value: Number | None = None
    """The constant for numbers."""
    text: Category | None = None
    """The constant for text."""
    indicator: bool = False
    """One more feature says whether the value was missing."""

    @model_validator(mode="after")
    def _constant(self) -> Self:
        given = (self.value is not None) + (self.text is not None)
        if given != (self.strategy == "Constant"):
            raise ValueError("the strategy Constant needs value or text, and they have no effect beside the others")
        return self


class Scale(Document):
    """A number, moved and scaled. Missing values become the median, unless `impute` says otherwise."""

    method: Literal["Standard", "MinMax", "Robust", "Quantile", "Log1p", "None"] = "Standard"
    """Standard: mean 0, deviation 1. MinMax: 0 to 1 over the training split. Robust: median 0, interquartile range 1.
    Quantile: the share of the training split below it, 0 to 1. Log1p: sign(x)·log(1 + |x|), standardised. None: as it is."""


class Bucketize(Document):
    """A number by the interval that it lies in. Missing values become the median, unless `impute` says otherwise."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("edges", "quantiles"),
            cel("!has(self.edges) || self.edges.isSorted()", "edges must ascend", field=".edges"),
        )
    )

    edges: Edges | None = None
    """Inner edges, ascending: n of them make n + 1 buckets, and a value on an edge belongs above it."""
    quantiles: Annotated[int, Field(ge=2, le=256)] | None = None
    """So many buckets, each with as many rows of the training split; fewer where values repeat."""
    output: Literal["Ordinal", "OneHot"] = "OneHot"
    """OneHot: one feature a bucket. Ordinal: one feature, 0 for the first bucket to 1 for the last."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        check_exactly_one(self, "edges", "quantiles")
        if any(b <= a for a, b in pairwise(self.edges or ())):
            raise ValueError("edges must ascend")
        return self


class OneHot(Document):
    """One feature a category, 1 for the row's own. A missing value gives zeros, unless `impute` says otherwise."""

    max_categories: int = Field(default=50, ge=1, le=1000)
    """The most frequent ones are kept."""
    min_frequency: int = Field(default=1, ge=1)
    """Rows of the training split that a category must have to be kept."""
    unknown: Literal["Zeros", "Other"] = "Zeros"
    """What a category that is not kept gives: zeros, or a feature of its own."""


class Ordinal(Document):
    """One feature: the place of the category in an order, 0 for the first to 1 for the last."""

    categories: tuple[Category, ...] | None = Field(
        default=None, min_length=1, max_length=256, json_schema_extra=list_set()
    )
    """The order; without it whole numbers by value, then text by alphabet, as the training split has them."""
    unknown: Number = -1.0
    """What missing and other categories give."""

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len(set(self.categories or ())) < len(self.categories or ()):
            raise ValueError("categories must differ")
        return self


class Hash(Document):
    """A text by the bucket of its MurmurHash3, one feature a bucket: no category is unknown, but some share a bucket.

    A missing text gives zeros, unless `impute` says otherwise. (Weinberger et al., Feature Hashing, ICML 2009.)
    """

    buckets: int = Field(default=64, ge=2, le=4096)
    """Features."""


class TargetEncode(Document):
    """The mean of the target over the training rows of the same category; for classes, the share of each.

    Rare categories are drawn to the mean of all rows. A training row's own feature comes from the other folds, so that it does
    not tell the row's target. (Micci-Barreca, SIGKDD Explorations 3(1), 2001.)
    """

    smoothing: float = Field(default=10.0, ge=0, le=1e9)
    """m: a category of n rows weighs n / (n + m), the mean of all rows m / (n + m)."""
    folds: int = Field(default=5, ge=2, le=20)
    """Parts of the training split, each encoded by what the others say."""
    max_categories: int = Field(default=1000, ge=1, le=10_000)
    """The most frequent ones are kept; others give the mean of all rows."""


class EmbedText(Document):
    """Free text as TF-IDF over its words or characters, optionally reduced by a truncated SVD (latent semantic analysis).

    All of it is computed in the graph, from a vocabulary of the training split. A text without known terms gives zeros.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!has(self.dimensions) || self.dimensions <= self.maxTerms", "dimensions must not exceed maxTerms",
                field=".dimensions"),
            cel("self.unit == 'Character' || self.maxNgram <= 3", "maxNgram of words must not exceed 3", field=".maxNgram"),
        )
    )  # fmt: skip

    unit: Literal["Word", "Character"] = "Word"
    """Word: letters and digits between everything else. Character: for codes, misspellings, languages without spaces."""
    max_ngram: int = Field(default=1, ge=1, le=5)
    """Terms are sequences of one to so many units; at most 3 words."""
    lowercase: bool = True
    """`Late` and `late` are one term."""
    max_terms: int = Field(default=1000, ge=1, le=4096)
    """The terms in most rows are kept."""
    min_frequency: int = Field(default=2, ge=1)
    """Rows of the training split that a term must be in to be kept."""
    dimensions: Annotated[int, Field(ge=1, le=512)] | None = None
    """Features after the SVD; without it one a term."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.dimensions is not None and self.dimensions > self.max_terms:
            raise ValueError("dimensions must not exceed maxTerms")
        if self.unit == "Word" and self.max_ngram > 3:
            raise ValueError("maxNgram of words must not exceed 3")
        return self


TRANSFORMS = ("impute", "scale", "bucketize", "one_hot", "ordinal", "hash", "target_encode", "embed_text")


class ColumnTransform(Document):
    """One transform of some columns. A column may have `impute` and one of the others."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one(*map(to_camel, TRANSFORMS))))

    columns: Columns
    """Each is transformed for itself."""
    impute: Impute | None = None
    scale: Scale | None = None
    bucketize: Bucketize | None = None
    one_hot: OneHot | None = None
    ordinal: Ordinal | None = None
    hash: Hash | None = None
    target_encode: TargetEncode | None = None
    embed_text: EmbedText | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, *TRANSFORMS)
        return self

    @property
    def name(self) -> str:
        """The transform as the spec spells it."""
        return next(to_camel(f) for f in TRANSFORMS if getattr(self, f) is not None)

    @property
    def options(self) -> Document:
        """The transform's own document."""
        found: Document = next(o for f in TRANSFORMS if (o := getattr(self, f)) is not None)
        return found


Preprocessing = Annotated[
    tuple[ColumnTransform, ...], Field(min_length=1, max_length=64, json_schema_extra=list_atomic())
]
TARGET_TRANSFORMED = cel(
    "!has(self.preprocessing) || self.preprocessing.all(p, !(self.target in p.columns))",
    "the target cannot be a feature: preprocessing must not name it", field=".preprocessing",
)  # fmt: skip
"""A rule for trainers that have `preprocessing` beside `target`."""
