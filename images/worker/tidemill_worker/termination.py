"""The termination message: the result as JSON, cut sensibly so that it fits into 4 KiB."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tidemill.contract.model import EVALUATION_FILE
from tidemill.contract.names import EXPECTATIONS_FILE, TERMINATION_MESSAGE_LIMIT
from tidemill.contract.results import DatasetResult, Result, TaskFailure, TrainResult
from tidemill_worker import log

_MOST_WARNINGS = 5


def fit(result: Result, limit: int = TERMINATION_MESSAGE_LIMIT) -> str:
    """The result as JSON of at most `limit` bytes: long texts are shortened first, then columns are left out."""
    text = result.to_json()
    if len(text.encode()) <= limit:
        return text
    if isinstance(result, TaskFailure):
        for length in (1500, 700, 300):
            text = result.model_copy(update={"message": _cut(result.message, length)}).to_json()
            if len(text.encode()) <= limit:
                return text
    if isinstance(result, DatasetResult):
        return _fit_dataset(result, limit)
    if isinstance(result, TrainResult):
        return _fit_training(result, limit)
    raise ValueError(f"a {result.type} result of {len(text.encode())} bytes cannot be cut to {limit}")


def _fit_dataset(result: DatasetResult, limit: int) -> str:
    """First long texts are shortened, then columns left out from the end, then expectations, those that hold first."""
    brief = tuple(e.model_copy(update={"message": _cut(e.message, 80)}) for e in result.expectations)
    for columns in range(len(result.columns), -1, -1):
        shown = tuple(
            c.model_copy(update={"name": _cut(c.name, 64), "summary": _cut(c.summary, 60)})
            for c in result.columns[:columns]
        )
        text = result.model_copy(update={"columns": shown, "expectations": brief}).to_json()
        if len(text.encode()) <= limit:
            return text
    failed_first = sorted(range(len(brief)), key=lambda i: brief[i].passed)
    for kept in range(len(brief) - 1, -1, -1):
        some = tuple(brief[i] for i in sorted(failed_first[:kept]))
        note = f"{kept} of {len(brief)} expectations are shown, those that do not hold first: all are in {EXPECTATIONS_FILE}"
        text = result.model_copy(update={"columns": (), "expectations": some, "note": note}).to_json()
        if len(text.encode()) <= limit:
            return text
    raise ValueError(f"a Dataset result of {len(text.encode())} bytes cannot be cut to {limit}")


def _fit_training(result: TrainResult, limit: int) -> str:
    """What a trained model is worth a run for stays: where it is. Everything that is left out lies in the store beside it."""
    for smaller in _smaller(result):
        text = smaller.to_json()
        if len(text.encode()) <= limit:
            return text
    raise ValueError(f"a Train result of {len(result.to_json().encode())} bytes cannot be cut to {limit}")


def _smaller(result: TrainResult) -> Iterator[TrainResult]:
    """First the parameters of a search's trials are left out, from the worst on, then warnings shortened, then metrics left
    out of each split, the last ones first."""
    for kept in range(len(result.search.best) - 1 if result.search else -1, -1, -1):
        assert result.search is not None, "it has trials"
        best = result.search.best
        slim = (*best[:kept], *(trial.model_copy(update={"parameters": {}}) for trial in best[kept:]))
        result = result.model_copy(update={"search": result.search.model_copy(update={"best": slim})})
        yield result
    warnings = tuple(_cut(warning, 120) for warning in result.warnings[:_MOST_WARNINGS])
    result = result.model_copy(update={"warnings": warnings, "comparison": _cut(result.comparison, 200)})
    yield result
    number = sum(map(len, result.metrics.values()))
    for most in range(max(map(len, result.metrics.values()), default=0) - 1, -1, -1):
        metrics = {split: dict(islice(values.items(), most)) for split, values in result.metrics.items() if most}
        note = f"{sum(map(len, metrics.values()))} of {number} metrics are shown: all are in {EVALUATION_FILE}"
        yield result.model_copy(update={"metrics": metrics, "warnings": (*warnings, note)})


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def write(result: Result, path: Path) -> None:
    """Leave the result for the kubelet, and as the last line of the log."""
    text = fit(result)
    try:
        path.write_text(text)
    except OSError as error:  # outside a pod there is no such file
        log.warn("termination message not written", path=str(path), error=str(error))
    print(text, file=sys.stdout, flush=True)
