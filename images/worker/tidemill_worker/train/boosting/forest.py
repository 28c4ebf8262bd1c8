"""Trees as plain arrays, read from what LightGBM writes, so that nothing else needs to know LightGBM.

LightGBM compares in double precision, a served graph in single. All values are single precision already (see `columns`), so
`x <= t` holds for a double t exactly when it holds for the greatest single-precision number that is not above t: thresholds
are rounded down, and every row takes the same way through every tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_CATEGORICAL, _DEFAULT_LEFT, _MISSING, _MISSING_IS_NAN = 1, 2, 12, 8
"""Bits of LightGBM's decision_type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Splits by index, the root first; a child below zero is the leaf ~child."""

    column: np.ndarray
    """int64 [splits]: which column is looked at."""
    threshold: np.ndarray
    """float32 [splits]: left when the value is at most this; NaN where codes decide."""
    codes: tuple[tuple[int, ...], ...]
    """[splits]: left when the column's code is one of these; empty where a threshold decides."""
    missing_left: np.ndarray
    """bool [splits]"""
    left: np.ndarray
    right: np.ndarray
    """int64 [splits]"""
    leaf: np.ndarray
    """float64 [leaves]: the answers."""


def read(text: str) -> list[Tree]:
    """The trees of a model as LightGBM's `model_to_string` gives it (format v4), in the order in which they were grown."""
    return [_tree(fields) for fields in _sections(text)]


def round_down(value: np.ndarray) -> np.ndarray:
    """The greatest float32 that is not above each float64."""
    limit = np.finfo(np.float32).max
    near = np.clip(value, -limit, limit).astype(np.float32)
    with np.errstate(over="ignore"):  # there is nothing finite below the least number
        below: np.ndarray = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > value, below, near)


def _sections(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name == "Tree" or line == "end of trees":
            if "Tree" in fields:
                yield fields
            fields = {}
        fields[name] = value
    # what follows the trees (importances, parameters) is of no interest


def _tree(fields: dict[str, str]) -> Tree:
    kind, threshold = _whole(fields, "decision_type"), _real(fields, "threshold")
    categorical = (kind & _CATEGORICAL) > 0
    bounds, words = _whole(fields, "cat_boundaries"), _whole(fields, "cat_threshold")
    codes = tuple(
        _members(words[bounds[int(at)] : bounds[int(at) + 1]]) if is_set else ()
        for at, is_set in zip(threshold, categorical, strict=True)
    )
    # where LightGBM saw no missing value it takes one for zero
    default_left = (kind & _DEFAULT_LEFT) > 0
    missing_left = np.where((kind & _MISSING) == _MISSING_IS_NAN, default_left, threshold >= 0) & ~categorical
    return Tree(
        column=_whole(fields, "split_feature"),
        threshold=np.where(categorical, np.float32(np.nan), round_down(threshold)),
        codes=codes,
        missing_left=missing_left,
        left=_whole(fields, "left_child"),
        right=_whole(fields, "right_child"),
        leaf=_real(fields, "leaf_value"),
    )


def _members(words: np.ndarray) -> tuple[int, ...]:
    """The set bits of a bitset of 32-bit words."""
    return tuple(32 * place + bit for place, word in enumerate(words.tolist()) for bit in range(32) if word >> bit & 1)


def _whole(fields: dict[str, str], name: str) -> np.ndarray:
    return np.array(fields.get(name, "").split(), dtype=np.int64)


def _real(fields: dict[str, str], name: str) -> np.ndarray:
    return np.array(fields.get(name, "").split(), dtype=np.float64)
