"""A pod's last words: they always fit, and say when memory was what was lacking."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tidemill.contract.results import (
    RESULT,
    ColumnInfo,
    DatasetResult,
    ExpectationResult,
    SearchSummary,
    TaskFailure,
    TrainResult,
    Trial,
)
from tidemill.contract.tasks import ArtifactRef
from tidemill_worker import termination
from tidemill_worker.distributed.outcome import Outcome
from tidemill_worker.main import _said


def _everything(columns: int, words: int) -> DatasetResult:
    return DatasetResult(
        artifact=ArtifactRef(uri="s3://bucket/" + "x" * 200, digest="sha256:" + "0" * 64),
        rows={"train": 1, "validation": 2, "test": 3},
        columns=tuple(ColumnInfo(name=f"é{i}" * 20, type="varchar", summary="ü" * 90) for i in range(columns)),
        column_count=columns,
        expectations=tuple(
            ExpectationResult(name=f"e{i}", passed=i % 2 == 0, severity="Warn", message="m" * words) for i in range(64)
        ),
    )


@pytest.mark.parametrize("columns", [0, 5, 20])
@pytest.mark.parametrize("words", [0, 20, 2000])
def test_results_fit_into_the_termination_message(columns: int, words: int) -> None:
    result = _everything(columns, words)
    text = termination.fit(result)
    assert len(text.encode()) <= 4096
    parsed = RESULT.validate_json(text)
    assert isinstance(parsed, DatasetResult)
    assert (parsed.artifact, parsed.rows, parsed.column_count) == (result.artifact, result.rows, result.column_count)


def _trained(trials: int, parameters: int, warnings: int, own: int) -> TrainResult:
    metrics = {split: {f"metric{i}": 0.123456789 for i in range(10)} for split in ("train", "validation", "test")}
    metrics["test"] |= {f"{'of my own ' * 20}{i}": 0.5 for i in range(own)}
    best = tuple(
        Trial(
            number=n,
            value=0.123456789,
            parameters={f"boosting.someParameter{i}": "0.0123456" for i in range(parameters)},
        )
        for n in range(trials)
    )
    return TrainResult(
        artifact=ArtifactRef(uri="s3://bucket/" + "x" * 200, digest="sha256:" + "0" * 64),
        metrics=metrics,
        comparison="c" * 250,
        warnings=tuple("ü" * 300 for _ in range(warnings)),
        search=SearchSummary(metric="mae", trials=trials, best=best) if trials else None,
    )


@pytest.mark.parametrize(
    ("trials", "parameters", "warnings", "own"),
    [(10, 7, 0, 0), (10, 7, 2, 0), (10, 32, 0, 0), (10, 32, 9, 0), (0, 0, 9, 0), (0, 0, 0, 1000), (3, 3, 20, 500)],
)
def test_a_trainings_result_always_fits(trials: int, parameters: int, warnings: int, own: int) -> None:
    """A pod that has trained, and cannot say so, would train in vain: its Job were tried again and fail in the end."""
    result = _trained(trials, parameters, warnings, own)
    text = termination.fit(result)
    assert len(text.encode()) <= 4096
    parsed = RESULT.validate_json(text)
    assert isinstance(parsed, TrainResult)
    assert parsed.artifact == result.artifact
    if parsed.search is not None and result.search is not None:
        assert [t.value for t in parsed.search.best] == [t.value for t in result.search.best], "all ten are named"
    if parsed.metrics != result.metrics:
        assert "metrics are shown: all are in evaluation.json" in parsed.warnings[-1]
        assert parsed.metrics["validation"].items() <= result.metrics["validation"].items()
    elif trials:
        assert parsed.search is not None
        kept = [bool(trial.parameters) for trial in parsed.search.best]
        assert kept == sorted(kept, reverse=True), "the worst ones lose their parameters first"


def test_long_failures_are_cut() -> None:
    text = termination.fit(TaskFailure(reason="SQLError", message="é" * 9000, field="spec.transform.sql"))
    assert len(text.encode()) <= 4096
    assert "…" in text


def _allocated_by_torch() -> Outcome:
    torch.empty(1 << 60)
    raise AssertionError("there is no such memory")


def _allocated_by_numpy() -> Outcome:
    np.empty(1 << 57, np.uint8)
    raise AssertionError("there is no such memory")


def _allocated_on_a_gpu() -> Outcome:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")  # what PyTorch raises there


@pytest.mark.parametrize(
    ("work", "way_out"),
    [
        (_allocated_by_torch, "raise spec.resources.memory"),
        (_allocated_by_numpy, "raise spec.resources.memory"),
        (_allocated_on_a_gpu, "the GPU has too little memory for the training: lower batchSize"),
    ],
)
def test_whichever_library_finds_no_memory_the_reason_says_so(work: Callable[[], Outcome], way_out: str) -> None:
    said = _said(work)
    assert isinstance(said.result, TaskFailure)
    assert said.result.reason == "OutOfMemory"
    assert way_out in said.result.message
    assert said.code == 1, "another node may have more"
