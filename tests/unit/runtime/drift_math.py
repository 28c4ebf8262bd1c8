"""The drift scores as numpy says them, from shares by bin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tidemill.contract.metrics import RATIO_FLOOR


def psi(live: NDArray[np.float64], base: NDArray[np.float64]) -> float:
    a, b = np.maximum(live, RATIO_FLOOR), np.maximum(base, RATIO_FLOOR)
    return float(np.sum((a - b) * np.log(a / b)))


def jensen_shannon(live: NDArray[np.float64], base: NDArray[np.float64]) -> float:
    mean = (live + base) / 2

    def divergence(p: NDArray[np.float64]) -> float:
        some = p > 0
        return float(np.sum(p[some] * np.log2(p[some] / mean[some])))

    return float(np.sqrt((divergence(live) + divergence(base)) / 2))
