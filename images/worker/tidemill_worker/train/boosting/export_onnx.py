"""One ONNX graph of columns, trees and postprocessing: serving takes the raw columns.

Trees become one TreeEnsembleRegressor with an output for each class, which adds up the leaves; what they mean is standard
operators after it. Membership in a set of categories is a chain of comparisons whose true branches lead to the same node:
ONNX Runtime takes that (LightGBM's categories are converted so elsewhere, too), newer ones join the chain into one test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tidemill_worker.train.boosting.columns import TreeColumns
from tidemill_worker.train.boosting.forest import Tree
from tidemill_worker.train.graph import Graph, column
from tidemill_worker.train.target import Target

Attributes = dict[str, list[Any]]


def build(columns: TreeColumns, trees: Sequence[Tree], base: Sequence[float], target: Target) -> onnx.ModelProto:
    """The model. Tree i adds to score i modulo their number; `base` is what each score starts from.

    Of two classes only the second has a score, its logit; the first one's is zero.
    """
    outputs, scores = target.outputs, len(base)
    first = outputs - scores
    graph = Graph()
    grown = [(tree, first + number % scores) for number, tree in enumerate(trees)]
    value = ensemble(graph, columns.emit(graph), grown, [0.0] * first + [float(b) for b in base])
    if target.classes is None:
        scale = graph.constant("post/scale", np.array([target.scale], np.float32))
        mean = graph.constant("post/mean", np.array([target.mean], np.float32))
        graph.add("Add", [graph.add("Mul", [value, scale], "post/scaled"), mean], "prediction")
        answers = [column("prediction")]
    else:
        graph.add("Softmax", [value], "probabilities", axis=1)
        graph.add("ArgMax", ["probabilities"], "post/index", axis=1, keepdims=1)
        names = graph.constant("post/classes", np.array(target.classes, dtype=object))
        graph.add("Gather", [names, "post/index"], "label")
        answers = [column("label", TensorProto.STRING), column("probabilities", width=outputs)]
    inputs = [column(n) for n in columns.numeric] + [column(n, TensorProto.STRING) for n in columns.text]
    return graph.model(inputs, answers)


def ensemble(graph: Graph, matrix: str, trees: Sequence[tuple[Tree, int]], base: Sequence[float]) -> str:
    """The scores, [rows, len(base)]: each is what it starts from and the leaves of its trees.

    A tree comes with the place of its score.
    """
    attributes: Attributes = {name: [] for name in (*_NODE, *_LEAF)}
    for number, (tree, output) in enumerate(trees):
        _add(attributes, tree, number, output=output)
    return graph.add(
        "TreeEnsembleRegressor",
        [matrix],
        "trees/scores",
        domain="ai.onnx.ml",
        n_targets=len(base),
        base_values=[float(b) for b in base],
        **attributes,
    )


_NODE = (
    "nodes_treeids", "nodes_nodeids", "nodes_modes", "nodes_featureids", "nodes_values", "nodes_missing_value_tracks_true",
    "nodes_truenodeids", "nodes_falsenodeids",
)  # fmt: skip
_LEAF = ("target_treeids", "target_nodeids", "target_ids", "target_weights")


def _add(attributes: Attributes, tree: Tree, number: int, *, output: int) -> None:
    """A tree's nodes: its splits in order, each as long a chain as it has codes, then its leaves."""
    lengths = [max(1, len(codes)) for codes in tree.codes]
    places = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    leaves = int(places[-1])

    def place(child: int) -> int:
        return int(places[child]) if child >= 0 else leaves + ~child

    def node(*values: object) -> None:
        for name, value in zip(_NODE, (number, *values), strict=True):
            attributes[name].append(value)

    for split, codes in enumerate(tree.codes):
        at, feature = int(places[split]), int(tree.column[split])
        left, right = place(int(tree.left[split])), place(int(tree.right[split]))
        if not codes:
            missing = int(tree.missing_left[split])
            node(at, "BRANCH_LEQ", feature, float(tree.threshold[split]), missing, left, right)
        for link, code in enumerate(codes):
            following = right if link == len(codes) - 1 else at + link + 1
            node(at + link, "BRANCH_EQ", feature, float(code), 0, left, following)
    for leaf, value in enumerate(tree.leaf):
        node(leaves + leaf, "LEAF", 0, 0.0, 0, 0, 0)
        for name, entry in zip(_LEAF, (number, leaves + leaf, output, float(value)), strict=True):
            attributes[name].append(entry)
