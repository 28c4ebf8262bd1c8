"""Builds an ONNX graph node by node, with stable names and deterministic bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, ML_OPSET, IR_VERSION = 17, 3, 9
"""Old enough for the ONNX Runtime of every Triton since 2023."""
ORT_DOMAIN = "com.microsoft"
"""Operators that ONNX Runtime has beyond the standard; a graph names the domain only when it needs one."""


class Graph:
    """A graph in the making. Every method returns the name of the tensor that it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.declared: list[onnx.ValueInfoProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        """A constant."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output, named as its output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, domain=domain, **attributes))
        return output

    def add_many(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """A node with several outputs, named as the first of them."""
        self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), name=outputs[0], **attributes))

    def add_ort(
        self, kind: str, inputs: Sequence[str], output: str, *, gives: int, width: int | None = None, **attributes: Any
    ) -> str:
        """A node of ONNX Runtime's own. ONNX cannot infer what it `gives`, [batch, width], and so is told."""
        self.declared.append(helper.make_tensor_value_info(output, gives, ["batch", width]))
        return self.add(kind, inputs, output, domain=ORT_DOMAIN, **attributes)

    def concat(self, parts: Sequence[str], output: str) -> str:
        """The parts side by side; a single one is used as it is."""
        return parts[0] if len(parts) == 1 else self.add("Concat", parts, output, axis=1)

    def model(self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """The whole model, checked."""
        proto = helper.make_model(
            helper.make_graph(self.nodes, "tidemill", inputs, outputs, self.constants, value_info=self.declared),
            producer_name="tidemill",
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in self._domains().items()],
            ir_version=IR_VERSION,
        )
        onnx.checker.check_model(proto, full_check=True)
        return proto

    def _domains(self) -> dict[str, int]:
        own = {ORT_DOMAIN: 1} if self.declared else {}
        return {"": OPSET, "ai.onnx.ml": ML_OPSET, **own}


def column(name: str, kind: int = TensorProto.FLOAT, width: int = 1) -> onnx.ValueInfoProto:
    """An input or output of shape [batch, width]."""
    return helper.make_tensor_value_info(name, kind, ["batch", width])


def save(proto: onnx.ModelProto, path: Path) -> None:
    """Deterministic bytes."""
    path.write_bytes(proto.SerializeToString(deterministic=True))
