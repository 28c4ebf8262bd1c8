"""Free text as TF-IDF over words or characters, optionally reduced by a truncated SVD.

A training downloads no embedding model, and TF-IDF needs nothing to serve but the graph: operators of ONNX (LabelEncoder,
TfIdfVectorizer) and one of ONNX Runtime's own, Tokenizer, which is part of our serving image's library.

Weights: tf · (ln((1 + n) / (1 + df)) + 1), rows of length 1 (scikit-learn's TfidfVectorizer). Reduction: the greatest
right singular vectors (Deerwester et al., Indexing by Latent Semantic Analysis, JASIS 41(6), 1990).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pyarrow as pa

from tidemill.contract.features import EmbedText
from tidemill_worker.errors import ColumnType
from tidemill_worker.model import tables
from tidemill_worker.train.features import tokens
from tidemill_worker.train.features.source import EPSILON, Fitted, Source, TargetValues, joined
from tidemill_worker.train.graph import Graph

MOST_UNITS = 1024
"""Of a training text: the graph holds as many for each row of a batch as its longest text has."""
SVD_ROWS = 20_000
"""Training rows that the SVD is made of, evenly spread."""
DECIMALS = 6
"""Of the singular vectors: another machine's rounding must not change a model's digest."""
_CHUNK = 1024
_NEVER = "\U0010ffff"
"""No character, and so no word, and in no text."""


def fit(spec: EmbedText, sources: Sequence[Source], table: pa.Table, target: TargetValues) -> tuple[Fitted, None]:
    """Learn vocabulary, weights and singular vectors from the training split."""
    del target
    fitted = Embeddings(tuple(_fit(spec, source, table) for source in sources))
    return fitted, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """What was learnt of one column."""

    column: str
    spec: EmbedText
    terms: tuple[str, ...]
    """As `tokens.terms` writes them; those of fewer units first."""
    spelled: dict[str, str]
    """The normal spelling of each spelling of the terms' units."""
    weights: np.ndarray
    """float32 [terms]: the inverse document frequencies."""
    vectors: np.ndarray | None
    """float32 [terms, dimensions], or None."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name a feature."""
        if self.vectors is not None:
            return tuple(f"{self.column}:svd{i}" for i in range(self.vectors.shape[1]))
        return tuple(f"{self.column}:{term!r}" for term in self.terms)

    def weighted(self, texts: Sequence[str]) -> np.ndarray:
        """TF-IDF of some texts, float32 [texts, terms]."""
        place, width = {term: i for i, term in enumerate(self.terms)}, len(self.terms)
        seen: list[int] = []
        for row, text in enumerate(texts):
            units = [self.spelled.get(unit, unit) for unit in tokens.units(text, self.spec)]
            seen += [row * width + place[term] for term in tokens.terms(units, self.spec) if term in place]
        counts = np.bincount(np.array(seen, np.int64), minlength=len(texts) * width).reshape(len(texts), width)
        value = counts.astype(np.float32) * self.weights
        length = np.sqrt(np.sum(value * value, axis=1, keepdims=True))
        return np.asarray(value / np.maximum(length, np.float32(EPSILON)))

    def encode(self, table: pa.Table) -> np.ndarray:
        """float32 [rows, features]."""
        out = np.zeros((table.num_rows, len(self.names)), np.float32)
        for start, texts in _chunks(tables.texts(table, self.column)):
            found = self.weighted(texts)
            out[start : start + len(texts)] = found if self.vectors is None else found @ self.vectors
        return out

    def emit(self, graph: Graph, prefix: str) -> str:
        """Units by number, their sequences counted, weighted, of length 1, times the singular vectors."""
        number = {unit: i for i, unit in enumerate(sorted(set(self.spelled.values())), start=1)}
        spelled = {form: number[unit] for form, unit in self.spelled.items()}
        units = tokens.emit(graph, self.column, prefix, self.spec, spelled)
        terms = [[number[unit] for unit in tokens.split(term, self.spec)] for term in self.terms]
        longest = max(map(len, terms))
        count = graph.add(
            "TfIdfVectorizer",
            [units],
            f"{prefix}/counts",
            mode="TF",
            min_gram_length=1,
            max_gram_length=longest,
            max_skip_count=0,
            pool_int64s=list(chain.from_iterable(terms)),
            ngram_counts=[sum(len(t) for t in terms if len(t) < size) for size in range(1, longest + 1)],
            ngram_indexes=list(range(len(terms))),
        )
        value = graph.add("Mul", [count, graph.constant(f"{prefix}/idf", self.weights[None])], f"{prefix}/tf-idf")
        length = graph.add("ReduceL2", [value], f"{prefix}/length", axes=[1], keepdims=1)
        least = graph.constant(f"{prefix}/least", np.array([[EPSILON]], np.float32))
        length = graph.add("Max", [length, least], f"{prefix}/divisor")
        value = graph.add("Div", [value, length], f"{prefix}/normalised")
        if self.vectors is None:
            return value
        return graph.add("MatMul", [value, graph.constant(f"{prefix}/svd", self.vectors)], f"{prefix}/reduced")


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Of some columns, each for itself."""

    columns: tuple[Embedding, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for column in self.columns for name in column.names)

    def encode(self, table: pa.Table) -> np.ndarray:
        return joined([column.encode(table) for column in self.columns], table.num_rows)

    def emit(self, graph: Graph, prefix: str) -> list[str]:
        return [column.emit(graph, f"{prefix}/{index}") for index, column in enumerate(self.columns)]


def _fit(spec: EmbedText, source: Source, table: pa.Table) -> Embedding:
    texts = tables.texts(table, source.name)
    frequency: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    for text in texts:
        units = tokens.units(text, spec)
        if len(units) > MOST_UNITS:
            raise ColumnType(
                f"{source.field}.embedText: column {source.name!r} has a text of {len(units)} {spec.unit.lower()}s, more than "
                f"{MOST_UNITS}: shorten it in the dataset, for example by left({source.name}, 1000)",
                field=f"{source.field}.columns",
            )
        spelled.update({unit: tokens.normal(unit, spec) for unit in units if unit not in spelled})
        frequency.update(set(tokens.terms([spelled[unit] for unit in units], spec)))

    def size(term: str) -> int:
        return len(tokens.split(term, spec))

    kept = sorted(
        (term for term, rows in frequency.items() if rows >= spec.min_frequency),
        key=lambda term: (-frequency[term], size(term), term),
    )[: spec.max_terms]
    # Without a term there is one that no text has: the graph's operator needs one, and the feature is always 0.
    terms = sorted(kept, key=lambda term: (size(term), term)) or [_NEVER]
    rows = np.array([frequency[term] for term in terms], np.float64)
    plain = Embedding(
        column=source.name,
        spec=spec,
        terms=tuple(terms),
        spelled=tokens.spellings((u for term in terms for u in tokens.split(term, spec)), spelled, spec),
        weights=(np.log((1 + len(texts)) / (1 + rows)) + 1).astype(np.float32),
        vectors=None,
    )
    if spec.dimensions is None:
        return plain
    vectors = _singular_vectors(plain, texts, spec.dimensions)
    return replace(plain, vectors=vectors)


def _singular_vectors(plain: Embedding, texts: np.ndarray, dimensions: int) -> np.ndarray:
    """Of the greatest singular values, from the Gram matrix [terms, terms]; signs and vanishing ones made definite."""
    gram = np.zeros((len(plain.terms), len(plain.terms)))
    spread = np.unique(np.linspace(0, len(texts) - 1, min(SVD_ROWS, len(texts))).astype(np.int64))
    for _, some in _chunks(texts[spread]):
        found = plain.weighted(some).astype(np.float64)
        gram += found.T @ found
    squares, vectors = np.linalg.eigh(gram)
    greatest = np.argsort(-squares, kind="stable")[:dimensions]
    chosen = vectors[:, greatest] * (squares[greatest] > 1e-9 * max(float(squares.max()), EPSILON))
    signs = np.sign(chosen[np.argmax(np.abs(chosen), axis=0), np.arange(len(greatest))])
    return np.asarray(np.round(chosen * signs, DECIMALS) + 0.0, np.float32)


def _chunks(texts: np.ndarray) -> Iterator[tuple[int, list[str]]]:
    for start in range(0, len(texts), _CHUNK):
        yield start, list(texts[start : start + _CHUNK])
