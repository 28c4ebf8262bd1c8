"""The deduplicateText step: MinHash signatures (Broder 1997), banded (Indyk and Motwani 1998), and an exact check.

The signatures are rensa's (MIT, a wheel of 1 MB without dependencies, Rust). The other well-kept library, datasketch (MIT),
brings scipy: 110 MB in an image that has no other use for it. On 20,000 texts of 25 words, 5,000 of them near duplicates, both
find the same ones; rensa takes 2.4 seconds, datasketch 53. Both are deterministic for a seed: rensa's hashes are fixed
functions of bytes, without the process's hash seed, the CPU or the number of threads. A new version of it may make other
signatures (0.5 did), and so find other pairs at the very edge of recall: the pinned version and a golden test guard that.

A signature of 128 hashes tells similarity but for an error of 0.04 and more, so it only proposes: a row is dropped when the
Jaccard similarity of the two sets of shingles, computed exactly, reaches the threshold. Texts are read in the order in which
the first is kept, and only kept ones are compared with, so that a chain of texts that are each a little different does not
vanish into its first. The index of bands is a table: memory does not grow with the number of texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rensa import RMinHash

from tidemill.contract.steps.text import DeduplicateText, Shingles
from tidemill_worker.data.engine import quote
from tidemill_worker.data.steps.table import Made, Table

HASHES = 128
_MISSED = 0.001
"""The greatest probability that a pair just at the threshold is not proposed."""
_BATCH_BYTES, _BATCH_TEXTS = 1 << 20, 4096
_TEXTS, _INDEX, _DROPPED, _GIVEN = "_tidemill_texts", "_tidemill_bands", "_tidemill_dropped", "_tidemill_given"
_TEXT, _ORIGIN = "_tidemill_text", "_tidemill_origin"
"""Columns whose names hide none of the user's in an ORDER BY."""


@dataclass(frozen=True, slots=True)
class Banding:
    """How signatures are cut: pairs that share at least `shared` of `bands` bands of `rows` hashes are proposed."""

    rows: int
    bands: int
    shared: int

    @classmethod
    def of(cls, threshold: float) -> Banding:
        """As many shared bands as a pair at the threshold has, but for one in a thousand (bands are binomial, p = s^rows)."""
        rows = 4 if threshold >= 0.7 else 2
        bands, p = HASHES // rows, threshold**rows
        missed, shared = 0.0, 0
        while shared < bands:
            missed += comb(bands, shared) * p**shared * (1 - p) ** (bands - shared)
            if missed > _MISSED:
                break
            shared += 1
        return cls(rows, bands, max(1, shared))

    def keys(self, signatures: list[list[int]]) -> npt.NDArray[np.uint64]:
        """One 64-bit key for each band of each signature; equal bands have equal keys."""
        cut = np.array(signatures, np.uint64).reshape(len(signatures), self.bands, self.rows)
        keys = np.broadcast_to(np.arange(1, self.bands + 1, dtype=np.uint64), cut.shape[:2])
        for row in range(self.rows):
            keys = (keys ^ cut[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
            keys = keys ^ (keys >> np.uint64(29))
        return keys


def pieces(text: str, wish: Shingles) -> Iterator[str]:
    """A text's shingles, with repetitions; a text shorter than one is one."""
    units: str | list[str] = text.split() if wish.unit == "Words" else text
    for start in range(max(1, len(units) - wish.size + 1)):
        part = units[start : start + wish.size]
        yield part if isinstance(part, str) else " ".join(part)


def similarity(one: str, other: str, wish: Shingles) -> float:
    """Jaccard similarity of two texts' sets of shingles."""
    ours, theirs = set(pieces(one, wish)), set(pieces(other, wish))
    return len(ours & theirs) / len(ours | theirs)


def without_near_duplicates(table: Table, step: DeduplicateText) -> Made:
    """Rows, in their order, without those whose text is nearly that of a row kept before."""
    field = f"{table.field}.column"
    table.need([step.column], field)
    table.text(step.column, field)
    order, text, rowid = table.order(step.order_by, f"{table.field}.orderBy"), quote(step.column), table.rowid()
    table.check(
        f"CREATE TABLE {_TEXTS} AS SELECT {rowid} AS {_ORIGIN}, {text} AS {_TEXT} FROM {table.source} WHERE {text} IS NOT NULL "
        f"QUALIFY row_number() OVER (PARTITION BY {text} ORDER BY {order}) = 1 ORDER BY {order}",
        f"{table.field}.orderBy",
    )
    _Search(table.connection, step).run()
    kept = f"SELECT {_ORIGIN} FROM {_TEXTS} WHERE rowid NOT IN (SELECT place FROM {_DROPPED})"
    select = f"SELECT * FROM {table.source} WHERE {text} IS NULL OR {rowid} IN ({kept}) ORDER BY {rowid}"
    return Made(select, field, scratch=(_TEXTS, _INDEX, _DROPPED))


class _Search:
    """Goes through the texts in order. A text's place is its rowid in the table of texts."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, step: DeduplicateText) -> None:
        self._connection, self._step = connection, step
        self._banding = Banding.of(step.threshold)

    def run(self) -> None:
        """Make the table of the places that are dropped."""
        self._connection.execute(f"CREATE TABLE {_INDEX} (key UBIGINT, place BIGINT)")
        self._connection.execute(f"CREATE TABLE {_DROPPED} (place BIGINT)")
        sized = f"SELECT rowid AS place, sum(strlen({_TEXT})) OVER (ORDER BY rowid) AS size FROM {_TEXTS}"
        batches = self._connection.execute(
            f"SELECT min(place), max(place) FROM ({sized}) "
            f"GROUP BY size // {_BATCH_BYTES}, place // {_BATCH_TEXTS} ORDER BY 1"
        ).fetchall()
        for first, last in batches:
            self._batch(first, last)

    def _batch(self, first: int, last: int) -> None:
        between = f"SELECT {_TEXT} FROM {_TEXTS} WHERE rowid BETWEEN {first} AND {last} ORDER BY rowid"
        texts = [text for (text,) in self._connection.execute(between).fetchall()]
        keys = self._banding.keys([self._signature(text) for text in texts])
        earlier = self._earlier(keys)
        buckets: dict[int, list[int]] = {}
        kept, dropped = [], []
        for number, text in enumerate(texts):
            own = keys[number].tolist()
            shared = Counter(other for key in own for other in buckets.get(key, ()))
            proposed = [texts[other] for other, count in shared.items() if count >= self._banding.shared]
            if any(self._near(text, other) for other in (*earlier.get(number, ()), *proposed)):
                dropped.append(number)
                continue
            kept.append(number)
            for key in own:
                buckets.setdefault(key, []).append(number)
        chosen = np.array(kept, np.int64)
        places = np.repeat(chosen + first, self._banding.bands)
        self._insert(_INDEX, {"key": keys[chosen].reshape(-1), "place": places})
        self._insert(_DROPPED, {"place": np.array(dropped, np.int64) + first})

    def _signature(self, text: str) -> list[int]:
        sketch = RMinHash(HASHES, self._step.seed)
        sketch.update(list(pieces(text, self._step.shingle)))
        digest: list[int] = sketch.digest()
        return digest

    def _near(self, one: str, other: str) -> bool:
        return similarity(one, other, self._step.shingle) >= self._step.threshold

    def _earlier(self, keys: npt.NDArray[np.uint64]) -> dict[int, list[str]]:
        """The kept texts of earlier batches that are proposed for each text of this one."""
        numbers = np.repeat(np.arange(len(keys)), self._banding.bands)
        self._connection.register(_GIVEN, pa.table({"key": keys.reshape(-1), "number": numbers}))
        proposed = self._connection.execute(
            f"SELECT number, {_TEXT} FROM (SELECT number, place FROM {_INDEX} JOIN {_GIVEN} USING (key) "
            f"GROUP BY number, place HAVING count(*) >= {self._banding.shared}) JOIN {_TEXTS} t ON t.rowid = place"
        ).fetchall()
        self._connection.unregister(_GIVEN)
        found: dict[int, list[str]] = {}
        for number, text in proposed:
            found.setdefault(number, []).append(text)
        return found

    def _insert(self, table: str, columns: dict[str, npt.NDArray[np.generic]]) -> None:
        self._connection.register(_GIVEN, pa.table(columns))
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM {_GIVEN}")
        self._connection.unregister(_GIVEN)
