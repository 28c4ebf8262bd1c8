"""One ONNX graph of preprocessing, network and postprocessing: serving takes the raw columns.

The graph is built node by node from the fitted parts. An exporter would trace the network only, take eight seconds, and
name tensors by chance; here names are stable (`pre/…`, `net/…`, `post/…`), so that quantization can keep off the
preprocessing and an edge export can cut the graph between text and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from tidemill_worker.train.features.vocabulary import FIRST, MISSING, OTHER
from tidemill_worker.train.graph import Graph
from tidemill_worker.train.inputs import NetworkInputs
from tidemill_worker.train.preprocess import Preprocessor


def build(
    fitted: NetworkInputs,
    weights: dict[str, np.ndarray],
    *,
    layers: int,
    target_mean: float = 0.0,
    target_scale: float = 1.0,
    classes: Sequence[str] | None = None,
) -> onnx.ModelProto:
    """The model. `weights` are the network's state by name; `classes` makes it a classifier."""
    graph = Graph()
    numbers = _numbers(graph, fitted.automatic) + fitted.plan.emit(graph)
    value = graph.concat(numbers + _texts(graph, fitted.automatic, weights), "pre/encoded")
    for layer in range(layers):
        weight = graph.constant(f"net/{layer}/weight", weights[f"linears.{layer}.weight"])
        bias = graph.constant(f"net/{layer}/bias", weights[f"linears.{layer}.bias"])
        value = graph.add("Gemm", [value, weight, bias], f"net/{layer}/gemm", transB=1)
        if layer < layers - 1:
            value = graph.add("Relu", [value], f"net/{layer}/relu")
    if classes is None:
        scale = graph.constant("post/scale", np.array([target_scale], np.float32))
        mean = graph.constant("post/mean", np.array([target_mean], np.float32))
        value = graph.add("Mul", [value, scale], "post/scaled")
        graph.add("Add", [value, mean], "prediction")
        outputs = [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", 1])]
    else:
        graph.add("Softmax", [value], "probabilities", axis=1)
        graph.add("ArgMax", ["probabilities"], "post/index", axis=1, keepdims=1)
        graph.add("Gather", [graph.constant("post/classes", np.array(classes, dtype=object)), "post/index"], "label")
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["batch", 1]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(classes)]),
        ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 1]) for n in fitted.numeric]
    inputs += [helper.make_tensor_value_info(n, TensorProto.STRING, ["batch", 1]) for n in fitted.text]
    return graph.model(inputs, outputs)


def _numbers(graph: Graph, fitted: Preprocessor) -> list[str]:
    """`x - x` is NaN for NaN and for infinity: both count as missing."""
    if not fitted.numeric:
        return []
    raw = graph.concat(list(fitted.numeric), "pre/raw")
    missing = graph.add("IsNaN", [graph.add("Sub", [raw, raw], "pre/zero")], "pre/missing")
    filled = graph.add("Where", [missing, graph.constant("pre/median", fitted.medians[None]), raw], "pre/filled")
    centred = graph.add("Sub", [filled, graph.constant("pre/mean", fitted.means[None])], "pre/centred")
    parts = [graph.add("Mul", [centred, graph.constant("pre/scale", fitted.scales[None])], "pre/scaled")]
    if fitted.indicators:
        which = graph.constant("pre/indicators", np.array(fitted.indicators, np.int64))
        picked = graph.add("Gather", [missing, which], "pre/indicated", axis=1)
        parts.append(graph.add("Cast", [picked], "pre/indicator", to=TensorProto.FLOAT))
    return parts


def _texts(graph: Graph, fitted: Preprocessor, weights: dict[str, np.ndarray]) -> list[str]:
    parts = []
    for index, (name, categories) in enumerate(zip(fitted.text, fitted.categories, strict=True)):
        code = graph.add(
            "LabelEncoder",
            [name],
            f"pre/text/{index}/code",
            domain="ai.onnx.ml",
            keys_strings=["", *categories],
            values_int64s=[MISSING, *range(FIRST, FIRST + len(categories))],
            default_int64=OTHER,
        )
        table = graph.constant(f"pre/text/{index}/embedding", weights[f"embeddings.{index}.weight"])
        looked_up = graph.add("Gather", [table, code], f"pre/text/{index}/vector")
        parts.append(graph.add("Flatten", [looked_up], f"pre/text/{index}/flat", axis=1))
    return parts
