"""One ONNX graph of features, trees and intervals: serving takes the last values of a series and gives the next ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from tidemill_worker.train.boosting.export_onnx import ensemble
from tidemill_worker.train.boosting.forest import Tree
from tidemill_worker.train.forecasting.features import WindowFeatures
from tidemill_worker.train.graph import Graph, column


def build(
    features: WindowFeatures,
    forests: Sequence[Sequence[Tree]],
    base: Sequence[float],
    shifts: np.ndarray,
    spread: np.ndarray,
) -> onnx.ModelProto:
    """The model. The first forest is the forecast's, the others those of the quantiles; `base` is what each starts from.

    `shifts`, float32 [horizon, quantiles], are added to the quantiles; then all is multiplied by `spread`, float32 [horizon].
    """
    horizon, levels = features.spec.horizon, len(forests) - 1
    graph = Graph()
    matrix, centre, scale = features.emit(graph)
    trees = [(tree, place) for place, forest in enumerate(forests) for tree in forest]
    scores = ensemble(graph, matrix, trees, base)
    shape = graph.constant("post/shape", np.array([-1, horizon, levels + 1], np.int64))
    laid = graph.add("Reshape", [scores, shape], "post/steps")
    if shifts.any():
        moved = np.concatenate([np.zeros((horizon, 1), np.float32), shifts], axis=1)[None]
        laid = graph.add("Add", [laid, graph.constant("post/shifts", moved)], "post/calibrated")
    laid = graph.add("Mul", [laid, graph.constant("post/spread", spread[None, :, None])], "post/measured")
    axis = graph.constant("post/axis", np.array([2], np.int64))
    wide = graph.add("Unsqueeze", [scale, axis], "post/scale")
    middle = graph.add("Unsqueeze", [centre, axis], "post/centre")
    values = graph.add("Add", [graph.add("Mul", [laid, wide], "post/scaled"), middle], "post/values")
    graph.add(
        "Gather", [values, graph.constant("post/forecast", np.array([0], np.int64))], "post/forecast-each", axis=2
    )
    graph.add("Squeeze", ["post/forecast-each", axis], "prediction")
    answers = [column("prediction", width=horizon)]
    if levels:
        others = graph.constant("post/levels", np.arange(1, levels + 1, dtype=np.int64))
        crossed = graph.add("Gather", [values, others], "post/crossed", axis=2)
        _sorted(graph, crossed, levels)
        answers.append(helper.make_tensor_value_info("quantiles", TensorProto.FLOAT, ["batch", horizon, levels]))
    return graph.model(features.inputs(), answers)


def _sorted(graph: Graph, crossed: str, levels: int) -> None:
    """Quantiles that are estimated apart may cross; in order they are never worse (Chernozhukov et al. 2010)."""
    most = graph.constant("post/count", np.array([levels], np.int64))
    graph.add_many("TopK", [crossed, most], ["quantiles", "post/order"], axis=2, largest=0, sorted=1)
