"""The signature of a user's own ONNX model, read from its inputs and outputs and matched with the dataset's columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tidemill.contract.model import Datatype, Signature, TensorSpec
from tidemill_worker.errors import ContractViolated
from tidemill_worker.model.predictor import open_session

_DATATYPES: dict[str, Datatype] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


def derive(
    path: Path,
    *,
    columns: Sequence[str],
    target: str,
    task: Literal["Regression", "Classification"],
    classes: Sequence[str] | None,
) -> Signature:
    """One input per column, named as the column and of shape [-1, 1]; or one matrix [-1, features]."""
    session = open_session(path)
    inputs = [_tensor(i.name, i.type, i.shape, "input") for i in session.get_inputs()]
    outputs = [_tensor(o.name, o.type, o.shape, "output") for o in session.get_outputs()]
    unknown = [t.name for t in inputs if t.name not in columns]
    if not unknown:
        for spec in inputs:
            if len(spec.shape) != 2 or spec.shape[1] not in (1, -1):
                raise ContractViolated(
                    f"input {spec.name} of model.onnx has shape {list(spec.shape)}: an input fed by a column has [-1, 1]"
                )
        inputs = [t.model_copy(update={"column": t.name, "shape": (-1, 1)}) for t in inputs]
    elif len(inputs) > 1 or len(inputs[0].shape) != 2:
        raise ContractViolated(
            f"input {unknown[0]} of model.onnx is no column of the dataset ({', '.join(columns)}): name inputs as "
            "columns with shape [-1, 1], or take one matrix [-1, features]"
        )
    outputs = [outputs[0].model_copy(update={"column": target}), *outputs[1:]]
    return Signature(
        task=task,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        target=target,
        classes=tuple(classes) if classes is not None else None,
    )


def _tensor(name: str, kind: str, shape: Sequence[object] | None, what: str) -> TensorSpec:
    if kind not in _DATATYPES:
        raise ContractViolated(
            f"{what} {name} of model.onnx is {kind}: only tensors can be served (for scikit-learn, export with zipmap off)"
        )
    sizes = tuple(d if isinstance(d, int) and d > 0 else -1 for d in shape or ())
    if not sizes or sizes[0] != -1:
        raise ContractViolated(
            f"{what} {name} of model.onnx has shape {list(sizes)}: the first dimension is the batch and must be free"
        )
    return TensorSpec(name=name, datatype=_DATATYPES[kind], shape=sizes)
