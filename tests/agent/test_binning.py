"""Counting into bins agrees with the plain way for every type, on edges, with missing values, and across blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tidemill_agent.binning import BLOCK, CategoricalBins, NumericBins

EDGES = (-3.5, 0.0, 0.1, 0.7, 2.0, 1000.0)


def plain(values: np.ndarray, edges: tuple[float, ...]) -> list[int]:
    """What `searchsorted` and `bincount` say, edges rounded to the values' type."""
    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    rounded = np.array(edges).astype(values.dtype) if values.dtype.kind == "f" else np.array(edges)
    return np.bincount(np.searchsorted(rounded, present, side="right"), minlength=len(edges) + 1).tolist()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4"])
@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK - 1])
def test_numbers_of_every_type_and_length(dtype: str, size: int) -> None:
    values = np.random.default_rng(size).normal(0, 3, size)
    values = np.abs(values).astype(dtype) if dtype[0] == "u" else values.astype(dtype)
    counts, missing = NumericBins(EDGES).count(values)
    assert counts.tolist() == plain(values, EDGES)
    assert missing == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_value_on_an_edge_stays_on_it_in_every_precision(dtype: type[np.floating]) -> None:
    for i, edge in enumerate(EDGES):
        counts, _ = NumericBins(EDGES).count(np.array([edge], dtype=dtype))
        assert counts.tolist() == [int(j == i + 1) for j in range(len(EDGES) + 1)]


def test_missing_and_infinite_numbers() -> None:
    values = np.array([math.nan, math.inf, -math.inf, math.nan, 0.05])
    counts, missing = NumericBins(EDGES).count(values)
    assert missing == 2
    assert counts.tolist() == [1, 0, 1, 0, 0, 0, 1]


def test_edges_beyond_an_integers_range() -> None:
    values = np.array([-128, 0, 127], dtype=np.int8)
    assert NumericBins((-1000.0, 0.5, 1000.0)).count(values)[0].tolist() == [0, 2, 1, 0]


def test_booleans_and_texts_are_numbers_too() -> None:
    assert NumericBins((0.5,)).count(np.array([True, False, True]))[0].tolist() == [1, 2]
    counts, missing = NumericBins((0.5,)).count(np.array([b"1", b"0.25", b"x", b""]))
    assert (counts.tolist(), missing) == ([1, 1], 2)


def test_no_edges_make_one_bin() -> None:
    counts, missing = NumericBins(()).count(np.array([1.0, math.nan]))
    assert (counts.tolist(), missing) == ([1], 1)


def test_columns_of_any_shape_are_counted_value_by_value() -> None:
    assert NumericBins((2.5,)).count(np.array([[1.0], [2.0], [3.0]]))[0].tolist() == [2, 1]


@pytest.mark.parametrize("kind", ["S", "O"])
def test_categories(kind: str) -> None:
    texts = [b"AA", b"DL", b"", b"ZZ", b"AA", "Ü".encode(), b"other"]
    values = np.array(texts) if kind == "S" else np.array([*texts, None], dtype=object)
    counts, missing = CategoricalBins(("AA", "DL", "Ü")).count(values)
    assert counts.tolist() == [2, 1, 1, 2]
    assert missing == (1 if kind == "S" else 2)


def test_categories_of_numbers_and_truth_values() -> None:
    assert CategoricalBins(("1", "2")).count(np.array([1, 2, 2, 3]))[0].tolist() == [1, 2, 1]
    assert CategoricalBins(("true",)).count(np.array([True, True, False]))[0].tolist() == [2, 1]
    counts, missing = CategoricalBins(("1.5",)).count(np.array([1.5, math.nan, 2.0]))
    assert (counts.tolist(), missing) == ([1, 1], 1)
    assert CategoricalBins(()).count(np.array([], dtype="S1"))[0].tolist() == [0]
