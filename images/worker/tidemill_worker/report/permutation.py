"""Permutation importance: how much a model's error grows when one column's values are shuffled among the rows.

Breiman 2001; for any model Fisher, Rudin & Dominici 2019. It asks the ONNX model itself, so that a user's own is explained like
a built-in one. Columns that tell the same share their importance, and shuffling makes rows that may never occur.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill.contract.evaluation import Importance
from tidemill_worker.model.classification import ClassificationRows
from tidemill_worker.model.evaluation import Rows, Scored, rejudge
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.report.numbers import settled, short

REPEATS = 5
_SEED = 0
Feed = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputColumn:
    """Where a dataset's column enters the model: an input tensor, and the places in it."""

    name: str
    tensor: str
    place: int | slice


def input_columns(predictor: Predictor, table: pa.Table) -> list[InputColumn]:
    """Every column that the model reads."""
    found = []
    for spec in predictor.signature.inputs:
        if spec.column is not None:
            found.append(
                InputColumn(name=spec.column, tensor=spec.name, place=0 if spec.shape[1:] == (1,) else slice(None))
            )
            continue
        names = predictor.columns(table.column_names)
        found += [InputColumn(name=name, tensor=spec.name, place=place) for place, name in enumerate(names)]
    return found


def importances(predictor: Predictor, scored: Scored) -> tuple[str, float, tuple[Importance, ...]]:
    """The metric whose growth is told, its value with nothing shuffled, and every column's, the greatest first.

    The metric is mae; of a classification logLoss, or the share of wrong answers (`error`) without probabilities. It costs
    5 · columns · rows predictions.
    """
    feed = predictor.feed(scored.table)
    metric, error = _error(scored.rows)
    random = np.random.default_rng(_SEED)
    found = []
    for column in input_columns(predictor, scored.table):
        growth = [
            _error(rejudge(predictor, scored.rows, predictor.run_feed(shuffled)))[1] - error
            for shuffled in _shuffled(feed, column, random)
        ]
        mean, deviation = float(np.mean(growth)), float(np.std(growth, ddof=1))
        found.append(Importance(column=column.name, mean=settled(mean, error), deviation=settled(deviation, error)))
    return metric, short(error), tuple(sorted(found, key=lambda i: (-i.mean, i.column)))


def _shuffled(feed: Feed, column: InputColumn, random: np.random.Generator) -> Iterator[Feed]:
    for _ in range(REPEATS):
        values = feed[column.tensor].copy()
        values[:, column.place] = random.permutation(values[:, column.place])  # whole rows of a list
        yield {**feed, column.tensor: values}


def _error(rows: Rows) -> tuple[str, float]:
    if not isinstance(rows, ClassificationRows):
        return "mae", float(np.mean(rows.errors()))
    if rows.probabilities is None:
        return "error", float(np.mean(rows.truth != rows.guess))
    return "logLoss", float(np.mean(rows.losses(rows.probabilities)))
