"""Shapley values: what each column adds to single predictions of a model, measured on the ONNX model itself.

The estimator is that of Štrumbelj & Kononenko (2014) and of shap's PermutationExplainer: a background row's values are replaced
by the row's own, one after the other in a random order, and what each replacement changes is that column's share; then the same
in the reverse order (antithetic sampling; Mitchell et al. 2022). Where columns act together in pairs at most, this is exact.
The shares of a row add up to its output minus the mean output of the background. (The library shap would bring numba and LLVM,
390 MB in every image, for these few lines; the tests hold them against the definition.)

A row costs 2 · columns · background predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.contract.evaluation import Shapley, ShapleyRow
from tidemill_worker.model.evaluation import class_outputs, prediction_of
from tidemill_worker.model.predictor import BATCH, Predictor
from tidemill_worker.report.numbers import settled, short, spread
from tidemill_worker.report.permutation import Feed, InputColumn, input_columns

BACKGROUND, SHOWN_COLUMNS = 32, 20
_SEED = 0
Output = Callable[[Feed], np.ndarray]


def shapley(predictor: Predictor, table: pa.Table, train: pa.Table) -> Shapley | None:
    """Of every row of the table, beside some of the training rows. None for a model that gives labels alone.

    Explained is a regression's prediction, the probability of the second of two classes, or of the class that is predicted.
    """
    columns = input_columns(predictor, table)
    background = train.take(pa.array(spread(train.num_rows, BACKGROUND)))
    rows, behind = predictor.feed(table), predictor.feed(background)
    of, outputs = _outputs(predictor, rows)
    if outputs is None:
        return None
    orders = _orders(len(columns), background.num_rows)
    found, values = [], []
    for index, output in enumerate(outputs):
        own = {name: tensor[index : index + 1] for name, tensor in rows.items()}
        shares, base = shares_of(output, own, behind, columns, orders)
        found.append(shares)
        values.append((float(output(own)[0]), base))
    shares = np.array(found)
    scale = max(abs(value) for pair in values for value in pair) or 1.0
    importance = np.abs(shares).mean(axis=0)
    shown = np.argsort(-importance, kind="stable")[:SHOWN_COLUMNS]
    return Shapley(
        of=of,
        background=background.num_rows,
        columns=tuple(columns[k].name for k in shown),
        mean_share=tuple(settled(float(importance[k]), scale) for k in shown),
        rows=tuple(
            ShapleyRow(
                output=short(value),
                base=short(base),
                values=tuple(_value(rows[columns[k].tensor][index, columns[k].place]) for k in shown),
                shares=tuple(settled(float(shares[index, k]), scale) for k in shown),
            )
            for index, (value, base) in enumerate(values)
        ),
    )


def shares_of(
    output: Output, own: Feed, background: Feed, columns: Sequence[InputColumn], orders: np.ndarray
) -> tuple[np.ndarray, float]:
    """One row's shares [columns], and the mean output of the background.

    `orders` [background rows, columns] holds a permutation of the columns for each background row.
    """
    number, width = orders.shape
    steps = np.arange(width + 1)
    ranks = np.argsort(orders, axis=1)
    both = np.concatenate([ranks, width - 1 - ranks])
    replaced = both[:, None, :] < steps[None, :, None]
    flat = replaced.reshape(-1, width)
    behind = np.tile(np.repeat(np.arange(number), width + 1), 2)
    answers = np.concatenate(
        [
            output(_mixed(own, background, columns, flat[start : start + BATCH], behind[start : start + BATCH]))
            for start in range(0, len(flat), BATCH)
        ]
    ).reshape(2 * number, width + 1)
    gains = np.diff(answers, axis=1)
    return np.take_along_axis(gains, both, axis=1).mean(axis=0), float(answers[:number, 0].mean())


def _mixed(
    own: Feed, background: Feed, columns: Sequence[InputColumn], replaced: np.ndarray, behind: np.ndarray
) -> Feed:
    """Background rows [rows] in which the columns where `replaced` [rows, columns] is true have the own row's values."""
    feed = {name: tensor[behind] for name, tensor in background.items()}
    for index, column in enumerate(columns):
        feed[column.tensor][replaced[:, index], column.place] = own[column.tensor][0, column.place]
    return feed


def _orders(width: int, number: int) -> np.ndarray:
    random = np.random.default_rng(_SEED)
    return np.array([random.permutation(width) for _ in range(number)]).reshape(number, width)


def _outputs(predictor: Predictor, rows: Feed) -> tuple[str, list[Output] | None]:
    """What is explained, and how it is computed for each row."""
    number = len(next(iter(rows.values())))
    if predictor.signature.task != "Classification":
        return "prediction", [
            lambda feed: prediction_of(predictor, predictor.run_feed(feed)).astype(np.float64)
        ] * number
    probabilities = class_outputs(predictor, predictor.run_feed(rows))[1]
    if probabilities is None:
        return "", None
    classes = predictor.signature.classes or ()

    def of_class(place: int) -> Output:
        def output(feed: Feed) -> np.ndarray:
            found = class_outputs(predictor, predictor.run_feed(feed))[1]
            assert found is not None, "what it gave before it gives again"
            return found[:, place].astype(np.float64)

        return output

    if len(classes) == 2:
        return f"probability of {classes[1]}", [of_class(1)] * number
    return "probability of the predicted class", [of_class(int(place)) for place in probabilities.argmax(axis=1)]


def _value(value: Any) -> float | str | None:
    if isinstance(value, bytes | str):
        return str(value)[:80]
    number = float(value)
    return short(number) if np.isfinite(number) else None
