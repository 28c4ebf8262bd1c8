"""Cuts text out of an ONNX graph, for runtimes that know numbers only.

A text input that goes straight into a LabelEncoder becomes the encoder's integer output, under the input's name, and
text outputs are dropped; what was cut is returned as plain data, to be done by the caller on the device.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from tidemill_worker.errors import ModelInvalid

Preprocessing = dict[str, Any]
_TRANSFORM = re.compile(r"pre/\d+/(\w+)/")
"""Nodes of the trainers' `preprocessing`: its place and the transform."""


def cut_text(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Preprocessing]:
    """The numeric model, and `{"inputs": {name: encoding}, "outputs": {name: decoding}}`."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    graph = cut.graph
    inputs, outputs = {}, {}
    for value in list(graph.input):
        if value.type.tensor_type.elem_type != TensorProto.STRING:
            continue
        users = [node for node in graph.node if value.name in node.input]
        if len(users) != 1 or users[0].op_type != "LabelEncoder":
            raise ModelInvalid(_refusal(value.name, users))
        encoder = users[0]
        inputs[value.name] = _encoding(encoder)
        place = list(graph.input).index(value)
        shape = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        graph.node.remove(encoder)
        _rename(graph, encoder.output[0], value.name)
        del graph.input[place]
        graph.input.insert(place, helper.make_tensor_value_info(value.name, TensorProto.INT64, shape))
    for value in list(graph.output):
        if value.type.tensor_type.elem_type == TensorProto.STRING:
            outputs[value.name] = _decoding(graph, value.name)
            graph.output.remove(value)
    if not graph.output:
        raise ModelInvalid("every output of the model is text: there is nothing that a numeric runtime could give")
    _remove_unused(graph)
    del graph.value_info[:]
    onnx.checker.check_model(cut, full_check=True)
    return cut, {"inputs": inputs, "outputs": outputs}


def _refusal(name: str, users: Sequence[onnx.NodeProto]) -> str:
    """Why a text input stays text: in the spec's words where the graph is one of our own."""
    for node in users:
        if own := _TRANSFORM.match(node.name):
            return (
                f"column {name!r}: preprocessing {own[1]} reads text inside the model, and an export has numbers only: use "
                "oneHot, ordinal or targetEncode, or none, for a model that is exported"
            )
    kinds = ", ".join(node.op_type for node in users) or "nothing"
    return (
        f"text input {name} goes into {kinds}: only a text input that a LabelEncoder turns into numbers can be exported"
    )


def _encoding(encoder: onnx.NodeProto) -> dict[str, Any]:
    found = {a.name: helper.get_attribute_value(a) for a in encoder.attribute}
    if "keys_strings" not in found or "values_int64s" not in found:
        raise ModelInvalid(f"LabelEncoder {encoder.name} does not map text to whole numbers")
    keys = [key.decode() for key in found["keys_strings"]]
    values = [int(value) for value in found["values_int64s"]]
    return {
        "kind": "category",
        "categories": dict(zip(keys, values, strict=True)),
        "default": int(found.get("default_int64", -1)),
        "datatype": "INT64",
    }


def _decoding(graph: onnx.GraphProto, name: str) -> dict[str, Any]:
    """A label gathered from a list of classes by the index of the greatest probability."""
    by_output = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    gather = by_output.get(name)
    if gather is None or gather.op_type != "Gather" or gather.input[0] not in constants:
        raise ModelInvalid(f"text output {name} is not looked up in a list of classes: it cannot be exported")
    index = by_output.get(gather.input[1])
    if index is None or index.op_type != "ArgMax":
        raise ModelInvalid(f"text output {name} does not follow the greatest probability: it cannot be exported")
    classes = [
        v.decode() if isinstance(v, bytes) else str(v) for v in numpy_helper.to_array(constants[gather.input[0]])
    ]
    return {"kind": "argmax", "of": index.input[0], "classes": classes}


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Nodes and constants that no output needs."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
