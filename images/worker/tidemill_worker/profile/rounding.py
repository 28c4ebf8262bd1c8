"""Rounds what sums give, so that their last bits never change an artifact's digest."""

from __future__ import annotations

import math
from typing import Any

from tidemill.contract.profile import Number

DIGITS, MOST_DIGITS = 6, 12


def rounded(value: Any, span: float | None = None) -> Number | None:
    """A number with six significant digits; more, up to twelve, where values `span` apart lie far from zero.

    Whole numbers below 10¹⁵ stay exact; what is not finite is None.
    """
    if value is None:
        return None
    if isinstance(value, int):
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        return None
    if number == int(number) and abs(number) < 1e15:
        return int(number)
    digits = DIGITS
    if span is not None and 0 < span < abs(number):
        digits = min(MOST_DIGITS, DIGITS + math.ceil(math.log10(abs(number) / span)))
    return float(f"{number:.{digits}g}")


def settled(value: float, scale: float) -> float:
    """The value, or 0 when it is nothing but what cancellation left of numbers as large as `scale`."""
    return 0.0 if abs(value) < 1e-12 * scale else value


def places(value: float | None, number: int = 4) -> Number | None:
    """A coefficient with a fixed number of decimal places; what is not finite is None."""
    if value is None or not math.isfinite(value):
        return None
    fixed = round(float(value), number)
    return int(fixed) if fixed == int(fixed) else fixed
