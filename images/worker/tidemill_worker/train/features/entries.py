"""The spec's `preprocessing` as entries whose columns exist, suit the transform, and have one of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.contract.features import ColumnTransform
from tidemill_worker.errors import ColumnType, InvalidSpec
from tidemill_worker.model import tables
from tidemill_worker.train.features.source import Source

NUMBERS_ONLY, TEXT_ONLY = ("scale", "bucketize"), ("hash", "embedText")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of the spec whose columns are known to suit it."""

    prefix: str
    """Names of its nodes: `pre/<place in the spec>/<transform>/…`."""
    transform: ColumnTransform
    sources: tuple[Source, ...]


def resolve(
    preprocessing: Sequence[ColumnTransform] | None, kinds: Mapping[str, tables.Kind], target: str, field: str
) -> list[Entry]:
    """The entries with their columns. `kinds` are the features that the trainer learns from, `field` the trainer's path.

    Raises InvalidSpec or ColumnType for a column that is no feature, is named twice, or has the wrong kind.
    """
    spec = preprocessing or ()
    imputes: dict[str, int] = {}
    readers: dict[str, int] = {}
    for place, transform in enumerate(spec):
        at = f"{field}.preprocessing[{place}]"
        taken = imputes if transform.impute is not None else readers
        for column in transform.columns:
            _check(column, transform, kinds, target, at)
            if column in taken:
                raise InvalidSpec(
                    f"{at}: column {column!r} has {spec[taken[column]].name} already, in preprocessing[{taken[column]}]: a "
                    "column may have impute and one of the others; for more, copy it in the dataset",
                    field=f"{at}.columns",
                )
            taken[column] = place
    entries = []
    for place, transform in enumerate(spec):
        at = f"{field}.preprocessing[{place}]"
        columns = transform.columns
        if transform.impute is not None:
            _check_imputed(columns, {c: spec[readers[c]].name for c in columns if c in readers}, kinds, at)
            columns = tuple(c for c in columns if c not in readers)
        if columns:
            sources = tuple(
                Source(
                    name=column,
                    numeric=kinds[column] == "numeric",
                    field=at,
                    impute=spec[imputes[column]].impute if column in imputes else None,
                )
                for column in columns
            )
            entries.append(Entry(prefix=f"pre/{place}/{transform.name}", transform=transform, sources=sources))
    return entries


def _check_imputed(
    columns: Sequence[str], readers: Mapping[str, str], kinds: Mapping[str, tables.Kind], at: str
) -> None:
    """Whether filling missing texts changes anything."""
    for column in columns:
        reader = readers.get(column)
        if kinds[column] == "text" and reader in (None, "embedText"):
            raise InvalidSpec(
                f"{at}.impute has no effect on the text column {column!r} "
                + ("alone" if reader is None else "beside embedText, where a missing text has no terms")
                + ": give it oneHot, ordinal, hash or targetEncode",
                field=f"{at}.columns",
            )


def _check(column: str, transform: ColumnTransform, kinds: Mapping[str, tables.Kind], target: str, at: str) -> None:
    """Whether a transform can read a column."""
    if column == target:
        raise InvalidSpec(f"{at}.columns: the target {column!r} cannot be a feature", field=f"{at}.columns")
    if column not in kinds:
        raise InvalidSpec(
            f"{at}.columns: {column!r} is none of the features {', '.join(kinds)}: add it to features, take it out of "
            "exclude, or correct its name",
            field=f"{at}.columns",
        )
    text, name = kinds[column] == "text", transform.name
    if text and name in NUMBERS_ONLY:
        raise ColumnType(
            f"{at}.{name}: column {column!r} is text, not a number: use oneHot, ordinal, hash, targetEncode or embedText, or "
            "cast it in the dataset",
            field=f"{at}.{name}",
        )
    if not text and name in TEXT_ONLY:
        raise ColumnType(
            f"{at}.{name}: column {column!r} is a number, not text: use scale, bucketize, oneHot, ordinal or targetEncode, "
            "or cast it in the dataset",
            field=f"{at}.{name}",
        )
    impute = transform.impute
    if impute is None:
        return
    if text and (impute.strategy in ("Mean", "Median") or impute.value is not None):
        raise InvalidSpec(
            f"{at}.impute: column {column!r} is text, and {impute.strategy} {'with value ' if impute.value is not None else ''}"
            "is for numbers: use MostFrequent, or Constant with text",
            field=f"{at}.impute",
        )
    if not text and impute.text is not None:
        raise InvalidSpec(
            f"{at}.impute.text: column {column!r} is a number: give value instead", field=f"{at}.impute.text"
        )
