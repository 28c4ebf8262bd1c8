"""Small models in ONNX's own text form with inputs to run them on, and what onnxruntime gives for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import parser

Array = npt.NDArray[Any]
HEAD = '<ir_version: 10, opset_import: ["": 20, "ai.onnx.ml": 3, "com.microsoft": 1]>\n'


@dataclass(frozen=True)
class Case:
    """A model and the inputs of one request; `text` is a graph in ONNX's text form."""

    name: str
    text: str
    feeds: dict[str, Array]
    config: str | None = None
    skip_outputs: tuple[str, ...] = field(default=())

    def model(self) -> bytes:
        """The model, serialized and checked."""
        return model(self.text)


def model(text: str) -> bytes:
    """A graph in ONNX's text form as a serialized model."""
    return bytes(parser.parse_model(HEAD + text).SerializeToString())


def _random() -> np.random.Generator:
    return np.random.default_rng(7)


def floats(*shape: int) -> Array:
    """Normal values."""
    return _random().normal(size=shape).astype(np.float32)


def positive(*shape: int) -> Array:
    """Values from 0.1 to 3."""
    return _random().uniform(0.1, 3, size=shape).astype(np.float32)


def integers(dtype: str, *shape: int) -> Array:
    """Values from 0 to 9."""
    return _random().integers(0, 10, size=shape).astype(dtype)


def strings(*items: str, shape: tuple[int, ...] | None = None) -> Array:
    """UTF-8 strings as Triton's clients take them."""
    array = np.array([item.encode() for item in items], dtype=object)
    return array if shape is None else array.reshape(shape)


def reference(data: bytes, feeds: dict[str, Array], names: list[str] | None = None) -> dict[str, Array]:
    """What onnxruntime gives in this process."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    wanted = names or [output.name for output in session.get_outputs()]
    text = {name: _text(array) if array.dtype == object else array for name, array in feeds.items()}
    return dict(zip(wanted, session.run(wanted, text), strict=True))


def _text(array: Array) -> Array:
    items = [item.decode() for item in array.ravel().tolist()]
    return np.array(items, dtype=object).reshape(array.shape)


def output_names(data: bytes) -> list[str]:
    """The graph's outputs."""
    return [output.name for output in onnx.load_from_string(data).graph.output]
