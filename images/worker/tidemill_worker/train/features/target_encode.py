"""Categories by what the target is in their rows: shrunken means, out of fold for the training rows.

Micci-Barreca, A Preprocessing Scheme for High-Cardinality Categorical Attributes in Classification and Prediction
Problems, SIGKDD Explorations 3(1), 2001: the mean of a category with n rows weighs n / (n + m), that of all rows m / (n + m).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tidemill.contract.features import TargetEncode
from tidemill_worker.train.features.lookup import Lookup
from tidemill_worker.train.features.source import Fitted, Source, TargetValues, joined
from tidemill_worker.train.features.vocabulary import OTHER, Vocabulary, frequencies


def fit(
    spec: TargetEncode, sources: Sequence[Source], table: pa.Table, target: TargetValues
) -> tuple[Fitted, np.ndarray]:
    """Statistics of all training rows for serving, and those of the other folds for each training row."""
    vocabularies, tables, training = [], [], []
    fold = folds(table.num_rows, spec.folds)
    for source in sources:
        kept = [value for value, _ in frequencies(source, table)][: spec.max_categories]
        vocabulary = Vocabulary.of(source, table, kept)
        codes, indicators = vocabulary.encode(table)
        vocabularies.append(vocabulary)
        tables.append(means(codes, target.values, vocabulary.codes, spec.smoothing).astype(np.float32))
        training += [_out_of_fold(codes, target.values, vocabulary.codes, spec, fold), *indicators]
    fitted = Lookup(vocabularies=tuple(vocabularies), tables=tuple(tables), features=target.names)
    return fitted, joined(training, table.num_rows)


def folds(rows: int, number: int) -> np.ndarray:
    """The fold of each row by a hash (SplitMix64) of its place, which the dataset's version fixes.

    A hash of the row's values would put all rows of a category into one fold where the category is all there is, and then
    the other folds would know nothing of it.
    """
    with np.errstate(over="ignore"):
        z = (np.arange(1, rows + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) % np.uint64(number)).astype(np.int64)


def means(codes: np.ndarray, values: np.ndarray, number: int, smoothing: float) -> np.ndarray:
    """Shrunken means by code, float64 [number, values]; categories that are not kept have the mean of all rows."""
    count = np.bincount(codes, minlength=number).astype(np.float64)[:, None]
    total = np.stack([np.bincount(codes, weights=v, minlength=number) for v in values.T], axis=1)
    overall = total.sum(axis=0) / max(len(codes), 1)
    weight = count + smoothing
    shrunk = np.where(weight > 0, (total + smoothing * overall) / np.where(weight > 0, weight, 1), overall)
    shrunk[OTHER] = overall
    return np.asarray(shrunk)


def _out_of_fold(
    codes: np.ndarray, values: np.ndarray, number: int, spec: TargetEncode, fold: np.ndarray
) -> np.ndarray:
    out = np.zeros((len(codes), values.shape[1]))
    for part in range(spec.folds):
        inside = fold == part
        outside = ~inside if not inside.all() else inside  # a table so small that it has one fold says what it has
        out[inside] = means(codes[outside], values[outside], number, spec.smoothing)[codes[inside]]
    return out
