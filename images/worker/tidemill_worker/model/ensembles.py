"""Ensembles of decision trees in an ONNX graph: what neither quantization nor OpenVINO can make anything of."""

from __future__ import annotations

import onnx


def tree_ensembles(model: onnx.ModelProto) -> list[str]:
    """Their operators, such as TreeEnsembleRegressor."""
    return sorted({node.op_type for node in model.graph.node if node.op_type.startswith("TreeEnsemble")})
