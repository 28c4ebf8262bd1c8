"""How a dataset is made: inputs, transform, expectations, split. Part of Dataset's spec and of the prepare task alike."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Column as Column
from tidemill.contract.columns import Columns, Expression, Fraction, InputName
from tidemill.contract.expectations import Expectation as Expectation
from tidemill.contract.markers import cel, check_exactly_one, exactly_one, list_atomic, list_map, rules


class S3Source(Document):
    """Objects of an S3 bucket."""

    uri: str = Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$", max_length=1024)
    """`s3://bucket/key`, a glob (`*`, `?`) or a prefix ending in `/`."""
    format: Literal["parquet", "csv", "jsonl"] = "parquet"
    """File format; CSV and JSON lines may be gzip-compressed (.gz)."""
    secret_name: str | None = Field(default=None, max_length=253)
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, when not the namespace's store credentials."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://.+$", max_length=512)
    """S3 endpoint, when not the artifact store's."""


class DatasetSource(Document):
    """All splits of another Dataset's version, one after the other."""

    name: str = Field(min_length=1, max_length=253)
    """A Dataset of the same namespace."""
    digest: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$")
    """A fixed version; without it the newest one."""


class LabelSource(Document):
    """Labels that arrive late, joined to logged requests by request id."""

    s3: S3Source
    request_id_column: Column = "request_id"
    """Column of the label files that holds the request's id."""


class InferenceLogSource(Document):
    """Requests that a Deployment answered and logged; with `labels` only those whose label has arrived."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!has(self.since) || !has(self.until) || self.since < self.until", "since must lie before until",
                field=".since"),
        )
    )  # fmt: skip

    deployment: str = Field(min_length=1, max_length=253)
    """An online Deployment of the same namespace."""
    labels: LabelSource | None = None
    newest_rows: int | None = Field(default=None, ge=1)
    """Only so many of the newest rows."""
    since: str | None = Field(default=None, max_length=40, json_schema_extra={"format": "date-time"})
    """Only requests answered at or after this time (RFC 3339)."""
    until: str | None = Field(default=None, max_length=40, json_schema_extra={"format": "date-time"})
    """Only requests answered before this time (RFC 3339)."""


class Input(Document):
    """A named table that the transform sees."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("s3", "dataset", "inferenceLog")))

    name: InputName
    """The table's name in SQL."""
    s3: S3Source | None = None
    dataset: DatasetSource | None = None
    inference_log: InferenceLogSource | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "s3", "dataset", "inference_log")
        return self


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


class RandomSplit(Document):
    """Rows are assigned by a hash of their content and the seed: the same row always lands in the same split."""

    model_config = ConfigDict(
        json_schema_extra=rules(cel("self.validation + self.test < 1.0", "validation + test must stay below 1"))
    )

    validation: Fraction = 0.1
    """Share of the rows in the validation split."""
    test: Fraction = 0.1
    """Share of the rows in the test split."""
    seed: int = 0
    """Another seed gives another assignment."""


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


class ProfileOptions(Document):
    """The profile that is drawn of every version."""

    html: bool = True
    """Also as a self-contained HTML page."""
    target: Column | None = None
    """A column whose relation to the others is shown."""
