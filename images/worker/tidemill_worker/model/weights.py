"""The files beside `model.onnx` that hold its weights: external data, by whatever name the graph gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data


def external_files(model: Path) -> set[str]:
    """Paths relative to the model's folder."""
    return {ExternalDataInfo(t).location for t in _tensors(onnx.load(model, load_external_data=False).graph)}


def size_bytes(model: Path) -> int:
    """Bytes of the graph and its weights."""
    return sum((model.parent / name).stat().st_size for name in {model.name, *external_files(model)})


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from (tensor for tensor in graph.initializer if uses_external_data(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            yield from (tensor for tensor in (attribute.t, *attribute.tensors) if uses_external_data(tensor))
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
