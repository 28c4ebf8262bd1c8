"""Rows that stand there twice, and rows of the test split that the train split has too."""

from __future__ import annotations

from tidemill.contract.profile import Duplicates
from tidemill_worker.data.engine import quote
from tidemill_worker.data.split import SPLIT
from tidemill_worker.profile.reader import Reader, is_bookkeeping


def duplicates(reader: Reader, time_column: str | None) -> Duplicates:
    """Compared by hash: of n rows some two different ones have the same with a probability of n² / 2⁶⁵.

    Of a table with more rows than are described, only the rows whose hash is divisible by the step are counted (a row and its
    repetitions are then all in, or all out), and the counts multiplied.
    """
    names = [name for name in reader.types if not is_bookkeeping(name)]
    if not names:
        return Duplicates(rows=0, test_in_train=0)
    step, every = reader.step, _hash(names)
    rows, distinct = reader.row(f"count(*), count(DISTINCT {every})", f"{reader.table} WHERE {every} % {step} = 0")
    timeless = [name for name in names if name != time_column]
    if not timeless:
        return Duplicates(rows=(rows - distinct) * step, test_in_train=0)
    key, split = _hash(timeless), quote(SPLIT)
    keys = f"(SELECT {key} AS k FROM {reader.table} WHERE {key} % {step} = 0 AND {split} = "
    (seen,) = reader.row("count(*)", f"{keys} 'test') SEMI JOIN {keys} 'train') USING (k)")
    return Duplicates(rows=(rows - distinct) * step, test_in_train=seen * step)


def _hash(names: list[str]) -> str:
    return f"hash({', '.join(quote(name) for name in names)})"
