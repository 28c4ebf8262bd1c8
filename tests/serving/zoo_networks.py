"""Models of network layers, quantized operators and control flow."""

from __future__ import annotations

import numpy as np
from tests.serving.zoo import Case, floats, integers


def quantized() -> list[Case]:
    scales = "s = Constant <value_float = 0.05> ()\n z = Constant <value = uint8 {128}> ()\n"
    return [
        Case(
            "QuantizeLinear",
            "g (float[N,4] x) => (uint8[N,4] y) { " + scales + " y = QuantizeLinear (x, s, z) }",
            {"x": floats(2, 4)},
        ),
        Case(
            "DequantizeLinear",
            "g (uint8[N,4] x) => (float[N,4] y) { " + scales + " y = DequantizeLinear (x, s, z) }",
            {"x": integers("uint8", 2, 4)},
        ),
        Case(
            "QDQ-Gemm",
            "g (float[N,4] x) => (float[N,2] y) <float[4,2] w = {1, 2, -1, 0.5, 0.25, -2, 3, 1}> { "
            + scales
            + " q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n wq = QuantizeLinear (w, s, z)\n"
            " wd = DequantizeLinear (wq, s, z)\n y = Gemm (d, wd) }",
            {"x": floats(2, 4)},
        ),
        Case(
            "MatMulInteger",
            "g (uint8[N,4] x) => (int32[N,2] y) <uint8[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}> { y = MatMulInteger (x, w) }",
            {"x": integers("uint8", 3, 4)},
        ),
        Case(
            "DynamicQuantizeLinear",
            "g (float[A] x) => (uint8[A] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear (x) }",
            {"x": floats(6)},
        ),
    ]


def networks() -> list[Case]:
    image = {"x": floats(2, 1, 6, 6)}
    kernel = ", ".join(str(v) for v in (1, 0, -1, 2, 0, -2, 1, 0, -1))
    conv = f"<float[1,1,3,3] w = {{{kernel}}}>"
    pool = "g (float[N,1,6,6] x) => (float[N,1,3,3] y) {{ y = {0} <kernel_shape = [2, 2], strides = [2, 2]> (x) }}"
    weights = "<float[3] s = {1, 2, 3}, float[3] b = {0, 1, 0}, float[3] m = {0.1, 0.2, 0.3}, float[3] v = {1, 2, 1}>"

    def recurrent(op: str, gates: int) -> Case:
        text = (
            f"g (float[T,B,2] x, float[1,{3 * gates},2] w, float[1,{3 * gates},3] r) => (float[T,1,B,3] y, float[1,B,3] h)"
            f" {{ y, h = {op} <hidden_size = 3> (x, w, r) }}"
        )
        feeds = {"x": floats(4, 2, 2), "w": floats(1, 3 * gates, 2), "r": floats(1, 3 * gates, 3)}
        return Case(op, text, feeds)

    return [
        Case(
            "Gemm",
            "g (float[N,2] x, float[2,3] w) => (float[N,3] y) { y = Gemm (x, w) }",
            {"x": floats(4, 2), "w": floats(2, 3)},
        ),
        Case(
            "MatMul",
            "g (float[N,2,3] a, float[N,3,2] b) => (float[N,2,2] y) { y = MatMul (a, b) }",
            {"a": floats(2, 2, 3), "b": floats(2, 3, 2)},
        ),
        Case("Conv", f"g (float[N,1,6,6] x) => (float[N,1,4,4] y) {conv} {{ y = Conv (x, w) }}", image),
        Case(
            "ConvTranspose", f"g (float[N,1,6,6] x) => (float[N,1,8,8] y) {conv} {{ y = ConvTranspose (x, w) }}", image
        ),
        Case("MaxPool", pool.format("MaxPool"), image),
        Case("AveragePool", pool.format("AveragePool"), image),
        Case("GlobalAveragePool", "g (float[N,1,6,6] x) => (float[N,1,1,1] y) { y = GlobalAveragePool (x) }", image),
        Case(
            "BatchNormalization",
            f"g (float[N,3] x) => (float[N,3] y) {weights} {{ y = BatchNormalization (x, s, b, m, v) }}",
            {"x": floats(2, 3)},
        ),
        Case(
            "LayerNormalization",
            f"g (float[N,3] x) => (float[N,3] y) {weights} {{ y = LayerNormalization (x, s, b) }}",
            {"x": floats(2, 3)},
        ),
        Case(
            "Resize",
            "g (float[N,1,6,6] x) => (float[N,1,12,12] y)"
            " { s = Constant <value_floats = [1.0, 1.0, 2.0, 2.0]> ()\n y = Resize (x, , s) }",
            image,
        ),
        recurrent("LSTM", 4),
        recurrent("GRU", 3),
        recurrent("RNN", 1),
    ]


def control_flow() -> list[Case]:
    return [
        Case(
            "If",
            "g (bool c, float[A] x) => (float[A] y) { y = If (c) <then_branch = t () => (float[A] p) { p = Relu (x) },"
            " else_branch = e () => (float[A] q) { q = Neg (x) }> }",
            {"c": np.array(False), "x": floats(3)},
        ),
        Case(
            "Loop",
            "g (int64 n, float[A] x) => (float[A] y) { t = Constant <value = bool {1}> ()\n"
            " y = Loop (n, t, x) <body = b (int64 i, bool c, float[A] v) => (bool d, float[A] w)"
            " { d = Identity (c)\n w = Add (v, v) }> }",
            {"n": np.array(4, dtype=np.int64), "x": floats(3)},
        ),
        Case(
            "Scan",
            "g (float[2] s, float[T,2] x) => (float[2] e, float[T,2] y) {"
            " e, y = Scan <num_scan_inputs = 1, body = b (float[2] a, float[2] v) => (float[2] n, float[2] o)"
            " { n = Add (a, v)\n o = Identity (n) }> (s, x) }",
            {"s": floats(2), "x": floats(5, 2)},
        ),
    ]


CASES = [*quantized(), *networks(), *control_flow()]
