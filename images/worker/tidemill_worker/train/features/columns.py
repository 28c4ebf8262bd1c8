"""Which columns a tabular training learns from, and whether they can serve."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from tidemill.contract.names import INTERNAL_COLUMN_PREFIX
from tidemill.contract.trainers import ColumnTrainer, TextTrainer
from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidSpec
from tidemill_worker.model import tables

RESERVED = ("prediction", "label", "probabilities")
"""Names of the model's outputs."""


def choose(schema: pa.Schema, trainer: ColumnTrainer, field: str) -> tuple[list[str], list[str]]:
    """Numeric and text features in the dataset's order (or the spec's). Raises when one does not exist or cannot serve."""
    present = list(schema.names)
    tables.need(present, [trainer.target], "the dataset", field=f"{field}.target")
    if trainer.features is not None:
        if trainer.exclude:
            raise InvalidSpec(f"{field}.exclude has no effect beside features: remove one", field=f"{field}.exclude")
        tables.need(present, trainer.features, "the dataset", field=f"{field}.features")
        if trainer.target in trainer.features:
            raise InvalidSpec(
                f"{field}.features: the target {trainer.target!r} cannot be a feature", field=f"{field}.features"
            )
        chosen = list(trainer.features)
    else:
        tables.need(present, trainer.exclude, "the dataset", field=f"{field}.exclude")
        left_out = {trainer.target, *trainer.exclude}
        chosen = [n for n in present if n not in left_out and not n.startswith(INTERNAL_COLUMN_PREFIX)]
    for name in chosen:
        if name in RESERVED:
            raise InvalidSpec(
                f"{field}: a feature cannot be called {name!r}, as the model's output is: rename the column in the dataset",
                field=f"{field}.features",
            )
    if not chosen:
        raise ColumnMissing(f"{field}: no feature is left beside the target", field=f"{field}.features")
    kinds = {name: tables.kind(schema.field(name).type) for name in chosen}
    for name, kind in kinds.items():
        if kind == "other":
            raise ColumnType(
                f"{field}: column {name!r} is {schema.field(name).type}, which the trainer cannot learn from: derive "
                "numbers from it in the dataset, or exclude it",
                field=f"{field}.features" if trainer.features is not None else f"{field}.exclude",
            )
    return [n for n, k in kinds.items() if k == "numeric"], [n for n, k in kinds.items() if k == "text"]


def choose_text(schema: pa.Schema, trainer: TextTrainer, field: str) -> str:
    """The text that is learnt from. Raises ColumnMissing or ColumnType when it or the target cannot serve."""
    present = list(schema.names)
    tables.need(present, [trainer.target], "the dataset", field=f"{field}.target")
    need_texts(schema, {"text": trainer.text}, field)
    return trainer.text


def need_texts(schema: pa.Schema, columns: Mapping[str, str], field: str) -> None:
    """Columns by the name of the field that names them: all of them must be there, and text."""
    for name, column in columns.items():
        tables.need(list(schema.names), [column], "the dataset", field=f"{field}.{name}")
        kind = schema.field(column).type
        if tables.kind(kind) != "text":
            raise ColumnType(
                f"{field}.{name}: column {column!r} is {kind}, not text: cast it in the dataset",
                field=f"{field}.{name}",
            )
