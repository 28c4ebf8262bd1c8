"""Tables with more rows than are described: what is counted over all of them all the same, and what is multiplied."""

from __future__ import annotations

from typing import Any

from tidemill.contract.profile import ColumnProfile, Histogram, ValueCount
from tidemill_worker.data.engine import quote
from tidemill_worker.profile.reader import Reader
from tidemill_worker.profile.rounding import rounded


def of_all_rows(reader: Reader, column: ColumnProfile) -> ColumnProfile:
    """Missing values and extremes of all rows, different values by HyperLogLog (Flajolet et al. 2007).

    Other counts are those of the described rows, multiplied.
    """
    name, step = quote(column.name), reader.step
    absent = f"{name} IS NULL" + (f" OR isnan({name})" if reader.types[column.name] in ("FLOAT", "DOUBLE") else "")
    (missing,) = reader.row(f"count(*) FILTER (WHERE {absent})", reader.table)
    changes: dict[str, Any] = {
        "missing": missing,
        "missing_ratio": rounded(missing / reader.rows) or 0,
        "top": _times(column.top, step),
    }
    if column.distinct is not None:
        (changes["distinct"],) = reader.row(f"approx_count_distinct({name})", reader.table)
    if column.histogram is not None:
        changes["histogram"] = _more(column.histogram, step)
    if column.numbers is not None:
        value = f"CAST({name} AS DOUBLE)"
        low, high = reader.row(f"min({value}), max({value})", f"{reader.table} WHERE isfinite({value})")
        found = column.numbers
        counts = {key: getattr(found, key) * step for key in ("zeros", "negatives", "infinite")}
        span = high - low
        extremes = {"min": rounded(low, span), "max": rounded(high, span), "sum": None}
        changes["numbers"] = found.model_copy(update={**counts, **extremes})
    if column.text is not None:
        text = column.text
        counts = {"empty": text.empty * step, "padded": text.padded * step}
        changes["text"] = text.model_copy(update={**counts, "lengths": _more(text.lengths, step)})
    return column.model_copy(update=changes)


def _times(counted: tuple[ValueCount, ...], step: int) -> tuple[ValueCount, ...]:
    return tuple(ValueCount(value=each.value, count=each.count * step) for each in counted)


def _more(histogram: Histogram, step: int) -> Histogram:
    counts = tuple(count * step for count in histogram.counts)
    return histogram.model_copy(
        update={"counts": counts, "below": histogram.below * step, "above": histogram.above * step}
    )
