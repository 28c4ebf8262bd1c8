"""Static int8 quantization (QDQ) of the matrix multiplications, calibrated on rows of the training split.

Text and number preprocessing is left alone, and so are matrices too small to gain anything. How activations are best
calibrated depends on the data (heavy tails ruin min-max): a few ways are tried, the one closest to the original is kept.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from tidemill_worker import log
from tidemill_worker.errors import ModelInvalid
from tidemill_worker.model.ensembles import tree_ensembles

OPERATORS = ("Conv", "Gemm", "MatMul")
SMALLEST = 512
"""Weights of a matrix that is worth quantizing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to quantize."""

    name: str
    method: CalibrationMethod
    skip_first: bool


RECIPES = (
    Recipe(name="min-max", method=CalibrationMethod.MinMax, skip_first=False),
    Recipe(name="percentile", method=CalibrationMethod.Percentile, skip_first=False),
    Recipe(name="min-max, first layer in float", method=CalibrationMethod.MinMax, skip_first=True),
)


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one row at a time, as the quantizer wants it."""

    def __init__(self, feed: dict[str, np.ndarray]) -> None:
        self._feed = feed
        self._rows = self._each()

    def _each(self) -> Iterator[dict[str, np.ndarray]]:
        number = len(next(iter(self._feed.values())))
        size = 32  # the ranges are those of single rows, in an eighth of the time
        for start in range(0, number, size):
            yield {name: value[start : start + size] for name, value in self._feed.items()}

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rows, None)

    def rewind(self) -> None:
        self._rows = self._each()


def layers(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes worth quantizing, in order."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    own = model.producer_name == "tidemill"  # whose preprocessing is named `pre/…`
    return [
        node.name
        for node in model.graph.node
        if node.op_type in OPERATORS and node.name and max((sizes.get(i, 0) for i in node.input), default=0) >= SMALLEST
        if not (own and node.name.startswith("pre/"))
    ]


def why_not(source: Path) -> str:
    """What is said of a model in which nothing is worth quantizing."""
    if tree_ensembles(onnx.load(source, load_external_data=False)):
        return "the model is an ensemble of trees, which compares and adds up and has no matrices"
    return f"the model has no {', '.join(OPERATORS[:-1])} or {OPERATORS[-1]} of a worthwhile size"


def quantize(source: Path, target: Path, feed: dict[str, np.ndarray], recipe: Recipe) -> bool:
    """Write the int8 variant. Says False when nothing in the model is worth quantizing."""
    model = onnx.load(source)
    chosen = layers(model)[1 if recipe.skip_first else 0 :]
    if not chosen:
        return False
    logging.getLogger().setLevel(logging.ERROR)  # the quantizer advises through the root logger, and prints
    try:
        with redirect_stdout(io.StringIO()):
            quantize_static(
                model,
                target,
                _Rows(feed),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                nodes_to_quantize=chosen,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=recipe.method,
                calibration_providers=["CPUExecutionProvider"],
            )
    except Exception as error:  # it raises ValueError, RuntimeError, IndexError and ONNX Runtime's own
        raise ModelInvalid(f"the model cannot be quantized: {type(error).__name__}: {error}") from error
    finally:
        logging.getLogger().setLevel(logging.WARNING)
    log.info("quantized", recipe=recipe.name, layers=len(chosen), bytes=target.stat().st_size)
    return True
