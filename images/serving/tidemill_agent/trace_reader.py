"""Reads one file of Triton's own trace into the batches that the backend's tap gives. Pure: it looks at bytes alone.

The file looks like JSON and is not: Triton escapes nothing, so texts and request ids may hold quotes and line ends, and
8-bit integers are raw bytes. So entries are told apart by how each begins, and texts by the count that the shape gives. A
request whose texts can be read in two ways is left out and counted as dropped. Numbers have six significant digits; the
values of FP16 and BF16 tensors are not in the trace at all, so these tensors are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from tidemill_agent.tap import Array, Batch, TapFormatError

_ENTRY = re.compile(rb'(?<=\}),(?=\{"id":\d+,"(?:timestamps|model_name|activity)":)')
_TIME = re.compile(rb'\{"id":(\d+),"timestamps":\[\{"name":"(\w+)","ns":(\d+)\}\]\}')
_MODEL = re.compile(
    rb'\{"id":(\d+),"model_name":"([^"]*)","model_version":(-?\d+)(?:,"request_id":"(.*?)")?(?:,"parent_id":(\d+))?\}',
    re.S,
)
_TENSOR = re.compile(
    rb'\{"id":(\d+),"activity":"TENSOR_(QUEUE_INPUT|BACKEND_INPUT|BACKEND_OUTPUT)",'
    rb'"tensor":\{"name":"([^"]*)","data":"(.*)","shape":"([\d,]*)","dtype":"(\w+)"\}\}',
    re.S,
)
_QUOTED = re.compile(rb'"model_name":"([^"]*)"')
ENDS = (b"}]}]", b"}}]")
"""A whole file ends so: a time or a tensor, then the end of the list."""
_START = b"REQUEST_START"
_NUMPY = {
    "BOOL": "?", "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "<i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_WITHOUT_VALUES = {"FP16", "BF16"}

Batched = Callable[[str], bool | None]
"""Whether a model batches; None when that is not known (any more)."""


@dataclass(slots=True)
class Traced:
    """What a file holds."""

    batches: list[Batch]
    dropped: Counter[str]
    """Requests that cannot be read for sure, by model."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    shape: tuple[int, ...]
    datatype: str
    values: list[Any] | bytes


@dataclass(slots=True)
class _Request:
    model: str = ""
    version: int = 0
    request_id: bytes = b""
    child: bool = False
    time_ns: int | None = None
    broken: bool = False
    tensors: dict[tuple[str, str], _Tensor] = field(default_factory=dict)

    def column(self, *sides: str) -> dict[str, _Tensor]:
        """Tensors by name; a side that is named earlier wins."""
        found: dict[str, _Tensor] = {}
        for side in sides:
            for (at, name), tensor in self.tensors.items():
                if at == side:
                    found.setdefault(name, tensor)
        return {name: found[name] for name in sorted(found) if found[name].datatype not in _WITHOUT_VALUES}


def parse(data: bytes, *, batched: Batched, wall_ns: Callable[[int], int]) -> Traced:
    """All requests of a file, one batch a schema. `wall_ns` turns the trace's clock, which counts from the node's start.

    Raises TapFormatError when the file is cut off or is something else.
    """
    if data != b"[]" and not (data.startswith(b"[") and data.endswith(ENDS)):
        raise TapFormatError("the trace does not reach from [ to ]: it is cut off, or no trace")
    body = data[1:-1]
    requests: dict[int, _Request] = {}
    for entry in _ENTRY.split(body) if body else ():
        _take(entry, requests)
    dropped: Counter[str] = Counter()
    groups: dict[Any, list[_Request]] = {}
    for request in requests.values():
        if request.broken or not request.model or request.time_ns is None:
            dropped[request.model] += 1
        elif not request.child and (key := _schema(request)) is not None:
            groups.setdefault(key, []).append(request)
    del dropped[""]
    return Traced([_batch(group, batched, wall_ns) for group in groups.values()], dropped)


def models_in(data: bytes) -> Counter[str]:
    """How many requests of each model a file seems to hold, whatever state it is in."""
    return Counter(name.decode(errors="replace") for name in _QUOTED.findall(data))


def _take(entry: bytes, requests: dict[int, _Request]) -> None:
    if match := _TIME.fullmatch(entry):
        if match[2] == _START:
            requests.setdefault(int(match[1]), _Request()).time_ns = int(match[3])
    elif match := _MODEL.fullmatch(entry):
        request = requests.setdefault(int(match[1]), _Request())
        # A second model for one id can only come out of somebody's text.
        request.broken = request.broken or bool(request.model)
        request.model, request.version = match[2].decode(errors="replace"), int(match[3])
        request.request_id, request.child = match[4] or b"", match[5] is not None
    elif match := _TENSOR.fullmatch(entry):
        request = requests.setdefault(int(match[1]), _Request())
        key = match[2].decode(), match[3].decode(errors="replace")
        shape = tuple(int(d) for d in match[5].split(b",")) if match[5] else ()
        values = _values(match[6].decode(), prod(shape), match[4])
        if values is None or key in request.tensors:
            request.broken = True
        else:
            request.tensors[key] = _Tensor(shape, match[6].decode(), values)
    elif match := re.match(rb'\{"id":(\d+),', entry):
        requests.setdefault(int(match[1]), _Request()).broken = True
    else:
        raise TapFormatError(f"the trace has an entry that begins with {entry[:40]!r}")


def _values(datatype: str, count: int, text: bytes) -> list[Any] | bytes | None:
    """The values, or None when the text does not have so many of them."""
    if datatype in _WITHOUT_VALUES:
        return []
    if count == 0:
        return None if text else []
    if datatype == "BYTES":
        # Each text stands between \" and \", and is itself not escaped.
        texts = text[2:-2].split(rb"\",\"")
        framed = len(text) >= 4 and text.startswith(rb"\"") and text.endswith(rb"\"")
        return texts if framed and len(texts) == count else None
    if datatype in ("INT8", "UINT8"):
        return text[::2] if len(text) == 2 * count - 1 and text[1::2] == b"," * (count - 1) else None
    if datatype not in _NUMPY:
        return None
    parts = text.split(b",")
    try:
        numbers: list[Any] = [float(p) if datatype in ("FP32", "FP64") else int(p) for p in parts]
    except ValueError:
        return None
    fits = datatype in ("BOOL", "FP32", "FP64") or _within(numbers, np.iinfo(_NUMPY[datatype]))
    return numbers if len(numbers) == count and fits else None


def _within(numbers: list[Any], limits: Any) -> bool:
    return all(limits.min <= number <= limits.max for number in numbers)


def _schema(request: _Request) -> Any:
    """What requests of one batch have in common; None for a request that was not answered."""
    sides = (request.column("QUEUE_INPUT", "BACKEND_INPUT"), request.column("BACKEND_OUTPUT"))
    if not any(side == "BACKEND_OUTPUT" for side, _ in request.tensors):
        return None
    shapes = tuple(tuple((name, t.shape, t.datatype) for name, t in side.items()) for side in sides)
    return request.model, request.version, shapes


def _batch(group: list[_Request], batched: Batched, wall_ns: Callable[[int], int]) -> Batch:
    first = group[0]
    inputs = [r.column("QUEUE_INPUT", "BACKEND_INPUT") for r in group]
    outputs = [r.column("BACKEND_OUTPUT") for r in group]
    firsts = {t.shape[:1] for t in (*inputs[0].values(), *outputs[0].values())}
    rows = batched(first.model)
    return Batch(
        model=first.model,
        version=first.version,
        # Not known: a first dimension that all tensors share is taken for the rows.
        batched=len(firsts) == 1 and firsts != {()} and rows is not False,
        request_ids=np.array([r.request_id for r in group], dtype=object),
        time_ns=np.array([wall_ns(r.time_ns or 0) for r in group], dtype=np.uint64),
        inputs={name: _column([side[name] for side in inputs]) for name in inputs[0]},
        outputs={name: _column([side[name] for side in outputs]) for name in outputs[0]},
    )


def _column(tensors: list[_Tensor]) -> Array:
    shape = (len(tensors), *tensors[0].shape)
    datatype = tensors[0].datatype
    if datatype == "BYTES":
        texts = np.empty(prod(shape), dtype=object)
        texts[:] = [text for t in tensors for text in t.values]
        return texts.reshape(shape)
    if datatype in ("INT8", "UINT8"):
        return np.frombuffer(b"".join(bytes(t.values) for t in tensors), _NUMPY[datatype]).reshape(shape)
    return np.array([t.values for t in tensors], dtype=_NUMPY[datatype]).reshape(shape)
