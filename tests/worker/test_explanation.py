"""Permutation importance and Shapley values of real ONNX models, beside what they must be by definition."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from sklearn.base import BaseEstimator
from sklearn.inspection import permutation_importance

from tidemill.contract.model import Signature, TensorSpec
from tidemill_worker.model.evaluation import prediction_of, score
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.report.numbers import spread
from tidemill_worker.report.permutation import REPEATS, importances, input_columns
from tidemill_worker.report.shapley import shapley, shares_of

COLUMNS = ("a", "b", "c", "unused")
WEIGHTS = {"a": 3.0, "b": -1.0, "c": 0.5}


def linear_model(path: Path, *, matrix: bool = False) -> Predictor:
    """3a − b + c/2; `unused` goes in and has no effect."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 1], [*WEIGHTS.values(), 0.0])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["prediction"])]
    if matrix:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])]
        specs = [TensorSpec(name="x", datatype="FP32", shape=(-1, 4))]
    else:
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in COLUMNS]
        specs = [TensorSpec(name=name, datatype="FP32", shape=(-1, 1), column=name) for name in COLUMNS]
        nodes.insert(0, helper.make_node("Concat", list(COLUMNS), ["x"], axis=1))
    return _predictor(path, nodes, inputs, specs, [weights])


def product_model(path: Path) -> Predictor:
    """a · b · c: all three act together, so that orders matter."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in "abc"]
    specs = [TensorSpec(name=name, datatype="FP32", shape=(-1, 1), column=name) for name in "abc"]
    nodes = [helper.make_node("Mul", ["a", "b"], ["ab"]), helper.make_node("Mul", ["ab", "c"], ["prediction"])]
    return _predictor(path, nodes, inputs, specs, [])


def _predictor(
    path: Path, nodes: list[Any], inputs: list[Any], specs: list[TensorSpec], weights: list[Any]
) -> Predictor:
    outputs = [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["n", 1])]
    graph = helper.make_graph(nodes, "model", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (path / "model.onnx").write_bytes(model.SerializeToString())
    output = TensorSpec(name="prediction", datatype="FP32", shape=(-1, 1), column="y")
    signature = Signature(task="Regression", inputs=tuple(specs), outputs=(output,), target="y")
    return Predictor(path / "model.onnx", signature)


def rows(number: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    columns = {name: random.normal(0, 1, number) for name in COLUMNS}
    columns["y"] = sum(weight * columns[name] for name, weight in WEIGHTS.items()) + random.normal(0, 0.5, number)
    return pa.table(columns)


@pytest.mark.parametrize("matrix", [False, True])
def test_importances_are_scikit_learns(tmp_path: Path, matrix: bool) -> None:
    predictor, table = linear_model(tmp_path, matrix=matrix), rows(1500)
    metric, error, found = importances(predictor, score(predictor, table))

    class Model(BaseEstimator):  # type: ignore[misc]
        def fit(self) -> None: ...

        def predict(self, values: Any) -> Any:
            return values @ np.array([*WEIGHTS.values(), 0.0])

    values = np.column_stack([table[name].to_numpy() for name in COLUMNS])
    theirs = permutation_importance(
        Model(), values, table["y"].to_numpy(), scoring="neg_mean_absolute_error", n_repeats=30, random_state=1
    )
    assert (metric, REPEATS) == ("mae", 5)
    assert error == pytest.approx(np.mean(np.abs(Model().predict(values) - table["y"].to_numpy())), rel=1e-4)
    assert [i.column for i in found] == ["a", "b", "c", "unused"], "the most important first"
    for index, importance in enumerate(found):
        assert importance.mean == pytest.approx(theirs.importances_mean[index], abs=0.03)
        assert importance.deviation == pytest.approx(theirs.importances_std[index], abs=0.03)
    assert (found[3].mean, found[3].deviation) == (0, 0)
    again = importances(predictor, score(predictor, table))
    assert again == (metric, error, found)


def test_shares_in_a_linear_model_are_what_each_term_adds(tmp_path: Path) -> None:
    predictor, table, train = linear_model(tmp_path), rows(40), rows(500, seed=1)
    found = shapley(predictor, table, train)
    assert found is not None
    assert found.of == "prediction"
    assert set(found.columns) == set(COLUMNS)
    assert found.columns[0] == "a"
    assert found.columns[-1] == "unused"
    assert found.mean_share[-1] == 0
    behind = train.take(pa.array(spread(train.num_rows, found.background)))
    for index, row in enumerate(found.rows):
        assert row.output == pytest.approx(row.base + sum(row.shares), abs=1e-4)
        for column, value, share in zip(found.columns, row.values, row.shares, strict=True):
            assert value == pytest.approx(table[column][index].as_py(), rel=1e-5)
            expected = WEIGHTS.get(column, 0.0) * (table[column][index].as_py() - behind[column].to_numpy().mean())
            assert share == pytest.approx(expected, abs=1e-4)


def test_shares_over_all_orders_are_shapleys(tmp_path: Path) -> None:
    """The definition: the mean over all orders, and the sum over all subsets with their weights."""
    predictor = product_model(tmp_path)
    table, background = pa.table({"a": [2.0], "b": [3.0], "c": [5.0]}), pa.table({"a": [1.0], "b": [-1.0], "c": [0.5]})
    orders = np.array(list(itertools.permutations(range(3))))
    feed = predictor.feed(background)
    behind = {name: np.repeat(tensor, len(orders), axis=0) for name, tensor in feed.items()}
    shares, base = shares_of(
        lambda values: prediction_of(predictor, predictor.run_feed(values)).astype(float),
        predictor.feed(table),
        behind,
        input_columns(predictor, table),
        orders,
    )
    own, other = np.array([2.0, 3.0, 5.0]), np.array([1.0, -1.0, 0.5])

    def value(present: set[int]) -> float:
        return math.prod(own[k] if k in present else other[k] for k in range(3))

    expected = []
    for column in range(3):
        rest = [k for k in range(3) if k != column]
        subsets = [set(s) for size in range(3) for s in itertools.combinations(rest, size)]
        weights = [math.factorial(len(s)) * math.factorial(2 - len(s)) / math.factorial(3) for s in subsets]
        gains = [value(s | {column}) - value(s) for s in subsets]
        expected.append(sum(w * g for w, g in zip(weights, gains, strict=True)))
    assert base == value(set())
    assert shares == pytest.approx(expected)
    assert base + shares.sum() == pytest.approx(30)


def test_one_order_there_and_back_is_exact_for_pairs(tmp_path: Path) -> None:
    """a · b · c with c equal in row and background is a product of two: antithetic orders need no others."""
    predictor = product_model(tmp_path)
    table, background = pa.table({"a": [2.0], "b": [3.0], "c": [5.0]}), pa.table({"a": [1.0], "b": [-1.0], "c": [5.0]})
    output = lambda values: prediction_of(predictor, predictor.run_feed(values)).astype(float)  # noqa: E731
    columns = input_columns(predictor, table)
    found = [
        shares_of(output, predictor.feed(table), predictor.feed(background), columns, np.array([order]))[0]
        for order in itertools.permutations(range(3))
    ]
    for shares in found:
        assert shares == pytest.approx([5 * (2 - 1) * (3 - 1) / 2, 5 * (3 + 1) * (2 + 1) / 2, 0])
