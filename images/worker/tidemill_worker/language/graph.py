"""A transformer as an ONNX graph that takes `input_ids` and `attention_mask`, INT64 [rows, tokens].

torch's exporter notes in the graph where on the machine each operator comes from, and what it tried: that is taken out, so that
equal models are equal bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from transformers import PreTrainedModel

from tidemill_worker.language.likelihood import LOGITS
from tidemill_worker.model.tokens import INPUTS

OPSET = 18


class _Logits(nn.Module):
    """The model with plain inputs and one output."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.train(False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def export(model: PreTrainedModel, *, pad: int) -> onnx.ModelProto:
    """The graph from tokens to `logits`, for any number of rows and tokens."""
    ids = torch.full((2, 8), pad, dtype=torch.int64)
    mask = torch.ones((2, 8), dtype=torch.int64)
    mask[1, 5:] = 0
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}  # as far as the model's positions reach
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Logits(model),
            (ids, mask),
            dynamo=True,
            input_names=list(INPUTS),
            output_names=[LOGITS],
            dynamic_shapes=(free, free),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None, "that is what dynamo gives"
    return _plain(program.model_proto)


def _plain(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without what tells of the machine and of the exporter's way; free dimensions are called what they are."""
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("rows", "tokens"), strict=False):
            if dimension.dim_param:
                dimension.dim_param = name
    del proto.metadata_props[:]
    proto.producer_name, proto.producer_version, proto.doc_string = "tidemill", "", ""
    for graph in (proto.graph, *proto.functions):
        graph.doc_string = ""
        del graph.metadata_props[:]
        for part in (*graph.node, *graph.value_info):
            part.doc_string = ""
            del part.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    return proto


def with_classes(proto: onnx.ModelProto, classes: Sequence[str]) -> onnx.ModelProto:
    """Logits become `label` [rows, 1] and `probabilities` [rows, classes]."""
    graph = proto.graph
    graph.initializer.append(numpy_helper.from_array(np.array(classes, dtype=object), "post/classes"))
    graph.node.extend(
        [
            helper.make_node("Softmax", [LOGITS], ["probabilities"], name="probabilities", axis=1),
            helper.make_node("ArgMax", ["probabilities"], ["post/index"], name="post/index", axis=1, keepdims=1),
            helper.make_node("Gather", ["post/classes", "post/index"], ["label"], name="label"),
        ]
    )
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["rows", 1]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", len(classes)]),
        ]
    )
    return proto
