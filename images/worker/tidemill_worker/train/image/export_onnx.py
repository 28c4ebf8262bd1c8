"""One ONNX graph of scaling, network and softmax: serving takes pixels. Batch normalisation is folded into convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from tidemill_worker.train.graph import Graph, column
from tidemill_worker.train.image.network import ImageNetwork


def build(network: ImageNetwork, image: str, classes: Sequence[str]) -> onnx.ModelProto:
    """The model: `image` uint8 [batch, height, width, channels] gives `label` and `probabilities`."""
    graph = Graph()
    pixels = graph.add("Cast", [image], "pre/pixels", to=TensorProto.FLOAT)
    mean = graph.constant("pre/mean", network.mean.cpu().numpy())
    deviation = graph.constant("pre/deviation", network.deviation.cpu().numpy())
    scaled = graph.add("Div", [graph.add("Sub", [pixels, mean], "pre/centred"), deviation], "pre/scaled")
    value = graph.add("Transpose", [scaled], "pre/channels-first", perm=[0, 3, 1, 2])
    for place, block in enumerate(network.blocks):
        assert isinstance(block, nn.Sequential)
        weight, bias = _folded(block[0], block[1])
        names = [graph.constant(f"net/{place}/{kind}", part) for kind, part in (("weight", weight), ("bias", bias))]
        value = graph.add("Conv", [value, *names], f"net/{place}/conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        value = graph.add("Relu", [value], f"net/{place}/relu")
        value = graph.add("MaxPool", [value], f"net/{place}/pool", kernel_shape=[2, 2], strides=[2, 2])
    value = graph.add("Flatten", [graph.add("GlobalAveragePool", [value], "net/mean")], "net/features", axis=1)
    head = [
        graph.constant(f"net/head/{name}", getattr(network.head, name).detach().cpu().numpy())
        for name in ("weight", "bias")
    ]
    value = graph.add("Gemm", [value, *head], "net/head/gemm", transB=1)
    graph.add("Softmax", [value], "probabilities", axis=1)
    graph.add("ArgMax", ["probabilities"], "post/index", axis=1, keepdims=1)
    graph.add("Gather", [graph.constant("post/classes", np.array(classes, dtype=object)), "post/index"], "label")
    given = helper.make_tensor_value_info(image, TensorProto.UINT8, ["batch", *network.shape])
    return graph.model([given], [column("label", TensorProto.STRING), column("probabilities", width=len(classes))])


def _folded(convolution: nn.Module, norm: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution that does what the two do one after the other."""
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance, gain, shift, weight = (
        tensor.detach().cpu().numpy().astype(np.float64)
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias, convolution.weight)
    )
    scale = gain / np.sqrt(variance + norm.eps)
    return (weight * scale[:, None, None, None]).astype(np.float32), (shift - mean * scale).astype(np.float32)
