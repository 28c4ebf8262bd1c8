"""The load generator (Rust, built on first use) and the models that the serving benchmarks run."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper
from tests.serving.triton import Triton, cache

CRATE = Path(__file__).parent / "loadgen"
Array = npt.NDArray[np.float32]


def build() -> Path:
    """Builds the load generator and returns its path."""
    target = cache() / "cargo-target"
    command = ["cargo", "build", "--release", "--quiet", "--manifest-path", str(CRATE / "Cargo.toml")]
    subprocess.run(command, env={**os.environ, "CARGO_TARGET_DIR": str(target)}, check=True)
    return target / "release" / "loadgen"


@dataclass(frozen=True)
class Line:
    """One request of a plan: sent to the model, and the text that its answer must contain."""

    model: str
    values: list[float]
    expected: str


def write_plan(path: Path, lines: list[Line], columns: int) -> None:
    """Writes the plan in the load generator's form."""
    text = []
    for number, line in enumerate(lines):
        item = {"name": "x", "shape": [1, columns], "datatype": "FP32", "data": line.values}
        body = json.dumps({"id": str(number), "inputs": [item]})
        text.append(f"/v2/models/{line.model}/infer\t{body}\t{line.expected}\n")
    path.write_text("".join(text))


def start(server: Triton, plan: Path, *, connections: int, **limit: float) -> subprocess.Popen[str]:
    """Starts the load generator with `requests=` or `seconds=`."""
    ((name, value),) = limit.items()
    command = [str(build()), "--address", f"127.0.0.1:{server.http}", "--plan", str(plan)]
    command += ["--connections", str(connections), f"--{name}", str(value)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The figures of a load generator that ends by itself."""
    out, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    return dict(json.loads(out))


def network(widths: tuple[int, ...], seed: int) -> bytes:
    """A network of dense layers: `x` of the first width to `y` of the last."""
    rng = np.random.default_rng(seed)
    nodes, held, name = [], [], "x"
    for layer, (rows, columns) in enumerate(itertools.pairwise(widths)):
        weights = rng.normal(0, rows**-0.5, size=(rows, columns)).astype(np.float32)
        held.append(numpy_helper.from_array(weights, f"w{layer}"))
        last = layer == len(widths) - 2
        nodes.append(helper.make_node("MatMul", [name, f"w{layer}"], ["y" if last else f"m{layer}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"r{layer}"]))
        name = f"r{layer}"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", widths[0]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", widths[-1]])
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(made.SerializeToString())


def doubling(columns: int, factor: int) -> bytes:
    """`y = factor * x`: answers that can be checked exactly, in text and in the tap."""
    held = [numpy_helper.from_array(np.array([factor], dtype=np.float32), "f")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", columns])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", columns])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "f"], ["y"])], "g", [x], [y], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(made.SerializeToString())


def exact_lines(model: str, columns: int, factor: int, count: int, seed: int) -> list[Line]:
    """Requests for a `doubling` model with whole numbers, whose answers have one spelling."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        values = [float(value) for value in rng.integers(-1000, 1000, size=columns)]
        answer = ",".join(repr(value * factor) for value in values)
        lines.append(Line(model, values, f'"data":[{answer}]'))
    return lines
