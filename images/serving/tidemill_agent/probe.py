"""One real inference against a loaded version, with the signature's example: every output there, well-shaped and finite."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from tidemill.contract.model import Signature, TensorSpec
from tidemill_agent.errors import LoadError
from tidemill_agent.triton import Answer, Triton

_NUMPY = {
    "BOOL": "?", "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "<i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_FLOATS = {"FP16", "FP32", "FP64", "BF16"}


async def probe(triton: Triton, *, name: str, version: int, signature: Signature) -> None:
    """Raises LoadError when the version does not answer as its signature says."""
    metadata = await triton.metadata(name, version)
    header, tensors = request(signature, metadata)
    try:
        answer = await triton.infer(name, version, header, tensors)
    except LoadError as error:
        raise LoadError(f"the check inference with the signature's example failed: {error}") from error
    check(signature, metadata, answer)


def request(signature: Signature, metadata: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """An inference of one row: the example's values, or zeros and empty texts where it has none."""
    shapes = {entry["name"]: [int(d) for d in entry["shape"]] for entry in metadata["inputs"]}
    inputs, pieces = [], []
    for spec in signature.inputs:
        if spec.name not in shapes:
            raise LoadError(f"input {spec.name!r} of the signature is not an input of the loaded model")
        values, shape = _values(spec, signature, shapes[spec.name])
        data = _encode(spec, values)
        pieces.append(data)
        inputs.append(
            {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": shape,
                "parameters": {"binary_data_size": len(data)},
            }
        )
    outputs = [{"name": spec.name, "parameters": {"binary_data": True}} for spec in signature.outputs]
    return {"inputs": inputs, "outputs": outputs}, b"".join(pieces)


def _values(spec: TensorSpec, signature: Signature, dims: list[int]) -> tuple[list[Any], list[int]]:
    example = (signature.example or {}).get(spec.name)
    shape = [1 if d < 0 else d for d in dims]
    if example is None:
        return [None] * math.prod(shape), shape
    if math.prod(shape) != len(example):
        free = [i for i, d in enumerate(dims) if d < 0]
        rest = math.prod(d for d in dims if d > 0)
        if not free or len(example) % rest:
            raise LoadError(
                f"the signature's example has {len(example)} values for input {spec.name!r} of shape {dims}"
            )
        shape[free[-1]] = len(example) // rest
    return list(example), shape


def _encode(spec: TensorSpec, values: list[Any]) -> bytes:
    if spec.datatype == "BYTES":
        texts = [("" if v is None else str(v)).encode() for v in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    missing: float = math.nan if spec.datatype in _FLOATS else 0
    numbers = [missing if v is None else v for v in values]
    try:
        if spec.datatype == "BF16":
            return (np.asarray(numbers, dtype="<f4").view("<u4") >> 16).astype("<u2").tobytes()
        return np.asarray(numbers).astype(_NUMPY[spec.datatype]).tobytes()
    except (TypeError, ValueError) as error:
        raise LoadError(
            f"the signature's example does not fit input {spec.name!r} ({spec.datatype}): {error}"
        ) from error


def check(signature: Signature, metadata: dict[str, Any], answer: Answer) -> None:
    """Every output of the signature is there, complete, of the right shape, and finite."""
    shapes = {entry["name"]: [int(d) for d in entry["shape"]] for entry in metadata["outputs"]}
    position, found = 0, {}
    for entry in answer.header.get("outputs", ()):
        size = int(entry.get("parameters", {}).get("binary_data_size", 0))
        found[entry["name"]] = (entry, answer.body[position : position + size])
        position += size
    for spec in signature.outputs:
        if spec.name not in found:
            raise LoadError(f"the check inference gave no output {spec.name!r}")
        entry, data = found[spec.name]
        shape, expected = [int(d) for d in entry["shape"]], shapes.get(spec.name, [])
        fits = len(shape) == len(expected) and all(e in (-1, s) for s, e in zip(shape, expected, strict=True))
        if entry["datatype"] != spec.datatype or not fits:
            raise LoadError(
                f"the check inference gave output {spec.name!r} as {entry['datatype']} {shape}, "
                f"the signature says {spec.datatype} {list(spec.shape)}"
            )
        _check_values(spec, math.prod(shape), data)


def _check_values(spec: TensorSpec, count: int, data: bytes) -> None:
    if spec.datatype == "BYTES":
        position, texts = 0, 0
        while position + 4 <= len(data):
            position += 4 + struct.unpack_from("<I", data, position)[0]
            texts += 1
        complete = texts == count and position == len(data)
    else:
        width = 2 if spec.datatype == "BF16" else np.dtype(_NUMPY[spec.datatype]).itemsize
        complete = len(data) == count * width
    if not complete:
        raise LoadError(f"the check inference gave output {spec.name!r} with {len(data)} bytes for {count} values")
    if spec.datatype == "BF16":
        numbers = (np.frombuffer(data, dtype="<u2").astype("<u4") << 16).view("<f4")
    elif spec.datatype in _FLOATS:
        numbers = np.frombuffer(data, dtype=_NUMPY[spec.datatype])
    else:
        return
    if not np.isfinite(numbers).all():
        raise LoadError(
            f"the check inference gave output {spec.name!r} with NaN or infinite values for the signature's example"
        )
