"""Models of elementwise operators, of every element type, and of casts."""

from __future__ import annotations

import numpy as np
from tests.serving.zoo import Case, floats, integers, positive, strings


def unary() -> list[Case]:
    ops = ["Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Floor", "Ceil", "Round", "Sin", "Cos", "Erf", "Softplus"]
    ops += ["LeakyRelu", "Elu", "HardSigmoid", "Softmax", "LogSoftmax", "Identity", "Sign", "Gelu", "Mish", "HardSwish"]
    graph = "g (float[N,5] x) => (float[N,5] y) {{ y = {0} (x) }}"
    cases = [Case(op, graph.format(op), {"x": floats(3, 5)}) for op in ops]
    cases += [Case(op, graph.format(op), {"x": positive(3, 5)}) for op in ("Log", "Sqrt", "Reciprocal")]
    odd = np.array([[np.nan, 1, np.inf, -np.inf, 0]], dtype=np.float32)
    to_bool = "g (float[N,5] x) => (bool[N,5] y) {{ y = {0} (x) }}"
    return cases + [Case(op, to_bool.format(op), {"x": odd}) for op in ("IsNaN", "IsInf")]


def binary() -> list[Case]:
    two = {"a": floats(2, 4), "b": positive(2, 4)}
    graph = "g (float[N,4] a, float[N,4] b) => ({1}[N,4] y) {{ y = {0} (a, b) }}"
    cases = [Case(op, graph.format(op, "float"), two) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu")]
    cases += [Case(op, graph.format(op, "bool"), two) for op in ("Equal", "Greater", "Less", "GreaterOrEqual")]
    cases.append(Case("Pow", graph.format("Pow", "float"), {"a": positive(2, 4), "b": floats(2, 4)}))
    bools = {"a": floats(2, 4) > 0, "b": floats(2, 4) > 0.5}
    logic = "g (bool[N,4] a, bool[N,4] b) => (bool[N,4] y) {{ y = {0} (a, b) }}"
    return cases + [Case(op, logic.format(op), bools) for op in ("And", "Or", "Xor")]


def types() -> list[Case]:
    names = {"int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64", "uint8": "uint8"}
    names |= {"uint16": "uint16", "uint32": "uint32", "uint64": "uint64", "float16": "float16", "double": "float64"}
    graph = "g ({0}[N,3] x) => ({0}[N,3] y, {0}[N,6] z) {{ y = Identity (x)\n z = Concat <axis = 1> (x, x) }}"
    cases = [Case(f"type-{o}", graph.format(o), {"x": integers(n, 2, 3)}) for o, n in names.items()]
    cases.append(Case("type-bool", graph.format("bool"), {"x": floats(2, 3) > 0}))
    text = strings("", "a\0b", "ä", "long " * 50, "x", "\0", shape=(2, 3))
    cases.append(Case("type-string", graph.format("string"), {"x": text}))
    cast = "g (float[N,3] x) => ({0}[N,3] y) {{ y = Cast <to = {1}> (x) }}"
    to = {"float16": 10, "double": 11, "int64": 7, "uint8": 2, "bool": 9, "string": 8}
    return cases + [Case(f"cast-{o}", cast.format(o, n), {"x": np.abs(floats(2, 3))}) for o, n in to.items()]


CASES = [*unary(), *binary(), *types()]
