"""Categories by their place in an order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tidemill.contract.features import Ordinal
from tidemill_worker.errors import ColumnType, InvalidSpec
from tidemill_worker.model.tables import class_order
from tidemill_worker.train.features.lookup import Lookup
from tidemill_worker.train.features.source import Fitted, Source, TargetValues
from tidemill_worker.train.features.vocabulary import FIRST, Category, Vocabulary, frequencies

MOST_TEXTS = 10_000


def fit(spec: Ordinal, sources: Sequence[Source], table: pa.Table, target: TargetValues) -> tuple[Fitted, None]:
    """Take the given order, or learn one from the training split."""
    del target
    vocabularies = []
    for source in sources:
        order = _learnt(source, table) if spec.categories is None else given(spec.categories, source)
        vocabularies.append(Vocabulary.of(source, table, order))
    fitted = Lookup(
        vocabularies=tuple(vocabularies),
        tables=tuple(_places(len(v.values), spec.unknown) for v in vocabularies),
        features=("ordinal",),
    )
    return fitted, None


def given(categories: Sequence[str], source: Source) -> list[Category]:
    """The spec's categories as values of the column. Raises InvalidSpec when a number's category is no number."""
    if not source.numeric:
        return list(categories)
    field = f"{source.field}.ordinal.categories"
    numbers: list[Category] = []
    for category in categories:
        try:
            number = float(np.float32(category))
        except ValueError:
            number = float("nan")
        if not np.isfinite(number):
            raise InvalidSpec(f"{field}: column {source.name!r} holds numbers, and {category!r} is none", field=field)
        if number in numbers:
            raise InvalidSpec(
                f"{field}: {category!r} is listed twice: column {source.name!r} holds numbers", field=field
            )
        numbers.append(number)
    return numbers


def _learnt(source: Source, table: pa.Table) -> list[Category]:
    found = [value for value, _ in frequencies(source, table)]
    if len(found) > MOST_TEXTS:
        raise ColumnType(
            f"{source.field}.ordinal: column {source.name!r} has {len(found)} categories, more than {MOST_TEXTS}: use "
            "hash or targetEncode, or merge categories in the dataset",
            field=f"{source.field}.columns",
        )
    return sorted(found, key=lambda value: class_order(value) if isinstance(value, str) else (0, value, ""))


def _places(number: int, unknown: float) -> np.ndarray:
    """[codes, 1]: the place of each category between 0 and 1, after what missing and other ones give."""
    places = np.arange(number) / max(number - 1, 1)
    return np.concatenate([np.full(FIRST, unknown), places]).astype(np.float32)[:, None]
