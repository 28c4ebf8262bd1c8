"""Models of operators that change shapes, scalars and empty tensors included."""

from __future__ import annotations

import numpy as np
from tests.serving.zoo import Case, floats, positive


def shapes() -> list[Case]:
    x = {"x": floats(2, 3, 4)}
    graph = "g (float[N,3,4] x) => ({1}) {{ {0} }}"

    def one(name: str, body: str, outputs: str) -> Case:
        return Case(name, graph.format(body, outputs), x)

    return [
        one("Transpose", "y = Transpose <perm = [0, 2, 1]> (x)", "float[N,4,3] y"),
        one("Flatten", "y = Flatten (x)", "float[N,12] y"),
        one("Reshape", "s = Constant <value_ints = [0, -1]> ()\n y = Reshape (x, s)", "float[N,12] y"),
        one("Split", "y, z = Split <axis = 2, num_outputs = 2> (x)", "float[N,3,2] y, float[N,3,2] z"),
        one("ReduceSum", "a = Constant <value_ints = [2]> ()\n y = ReduceSum (x, a)", "float[N,3,1] y"),
        one("ReduceMax", "a = Constant <value_ints = [1, 2]> ()\n y = ReduceMax <keepdims = 0> (x, a)", "float[N] y"),
        one("ReduceMean-all", "y = ReduceMean <keepdims = 0> (x)", "float y"),
        one("ArgMax", "y = ArgMax <axis = 2, keepdims = 0> (x)", "int64[N,3] y"),
        one("TopK", "k = Constant <value_ints = [2]> ()\n y, i = TopK (x, k)", "float[N,3,2] y, int64[N,3,2] i"),
        one("CumSum", "a = Constant <value_int = 1> ()\n y = CumSum (x, a)", "float[N,3,4] y"),
        one("Shape", "y = Shape (x)", "int64[3] y"),
        one("Size", "y = Size (x)", "int64 y"),
        one("NonZero", "y = NonZero (x)", "int64[3,M] y"),
        one("Einsum", 'y = Einsum <equation = "nij,nkj->nik"> (x, x)', "float[N,3,3] y"),
        one("Unsqueeze", "a = Constant <value_ints = [1]> ()\n y = Unsqueeze (x, a)", "float[N,1,3,4] y"),
        one("Tile", "r = Constant <value_ints = [1, 2, 1]> ()\n y = Tile (x, r)", "float[N,6,4] y"),
        one("Pad", "p = Constant <value_ints = [0, 1, 0, 0, 0, 2]> ()\n y = Pad (x, p)", "float[N,4,6] y"),
        one("Clip", "l = Constant <value_float = -0.5> ()\n y = Clip (x, l)", "float[N,3,4] y"),
        one("LpNormalization", "y = LpNormalization <axis = 1> (x)", "float[N,3,4] y"),
        Case(
            "Gather",
            "g (float[A,B] x, int64[C] i) => (float[C,B] y) { y = Gather (x, i) }",
            {"x": floats(5, 2), "i": np.array([4, 0, 0], dtype=np.int64)},
        ),
        Case(
            "Where",
            "g (bool[N,2] c, float[N,2] a, float[N,2] b) => (float[N,2] y) { y = Where (c, a, b) }",
            {"c": np.array([[True, False]]), "a": floats(1, 2), "b": positive(1, 2)},
        ),
        Case("Unique", "g (int64[A] x) => (int64[B] y) { y = Unique (x) }", {"x": np.array([3, 1, 3], dtype=np.int64)}),
        Case(
            "Range-scalars",
            "g (int64 a, int64 b, int64 s) => (int64[M] y) { y = Range (a, b, s) }",
            {"a": np.array(1, dtype=np.int64), "b": np.array(9, dtype=np.int64), "s": np.array(3, dtype=np.int64)},
        ),
        Case(
            "scalar-in-out",
            "g (float x) => (float y, float[1] z) { y = Exp (x)\n a = Constant <value_ints = [0]> ()\n z = Unsqueeze (x, a) }",
            {"x": np.array(0.5, dtype=np.float32)},
        ),
        Case(
            "empty",
            "g (float[A,2] x) => (float[A,2] y) { y = Relu (x) }",
            {"x": floats(0, 2)},
            'input { name: "x" data_type: TYPE_FP32 dims: [-1, 2] } output { name: "y" data_type: TYPE_FP32 dims: [-1, 2] }',
        ),
        Case(
            "Expand",
            "g (float[A,1] x, int64[2] s) => (float[P,Q] y) { y = Expand (x, s) }",
            {"x": floats(2, 1), "s": np.array([2, 3], dtype=np.int64)},
        ),
    ]


CASES = shapes()
