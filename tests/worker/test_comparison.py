"""CompareModels tells how sure it is: the paired interval, and how often the challenger is better."""

from __future__ import annotations

import pytest

from tidemill.contract.results import CompareResult, TrainResult
from tidemill_worker.errors import InvalidData

from .samples import Document, Studio, train


def comparing(studio: Studio, champion: TrainResult, challenger: TrainResult, **more: str) -> Document:
    return {
        "type": "CompareModels",
        "champion": champion.artifact.model_dump(),
        "challenger": challenger.artifact.model_dump(),
        "dataset": studio.data,
        "metric": "mae",
        "root": f"{studio.lab.root}/drift/sure",
        **more,
    }


@pytest.fixture(scope="module")
def worse(studio: Studio) -> TrainResult:
    result: TrainResult = studio.lab.run(train(studio.lab, studio.data, run="much-worse", trainer={"epochs": 1}))
    return result


def test_a_much_better_challenger_is_surely_better(studio: Studio, worse: TrainResult) -> None:
    result: CompareResult = studio.lab.run(comparing(studio, worse, studio.regression))
    assert result.interval is not None
    assert 0 < result.interval[0] < result.improvement < result.interval[1]
    assert result.confidence == 1
    back: CompareResult = studio.lab.run(comparing(studio, studio.regression, worse))
    assert back.confidence == 0
    assert back.interval is not None
    assert back.interval[1] < 0
    report = studio.lab.get_json(f"{result.artifact.uri}/report.json")
    assert (report["confidence"], report["resamples"]) == (0.95, 1000)
    mae = report["improvements"]["mae"]
    assert (mae["improvement"], tuple(mae["interval"])) == (result.improvement, result.interval)
    assert {"rmse", "r2", "medianAbsoluteError"} <= set(report["improvements"])
    assert "bias" not in report["improvements"], "it has no better side"


def test_a_model_is_not_better_than_itself(studio: Studio) -> None:
    result: CompareResult = studio.lab.run(comparing(studio, studio.regression, studio.regression))
    assert (result.improvement, result.interval, result.confidence) == (0, (0, 0), 0)


def test_equal_comparisons_leave_equal_bytes(studio: Studio, worse: TrainResult) -> None:
    first, second = (
        studio.lab.run(comparing(studio, worse, studio.regression, root=f"{studio.lab.root}/drift/{place}"))
        for place in "ab"
    )
    assert first.artifact.digest == second.artifact.digest


def test_models_of_different_targets_cannot_be_compared(studio: Studio) -> None:
    other = train(
        studio.lab, studio.data, "Classification", run="late", trainer={"epochs": 1, "exclude": ["arr_delay"]}
    )
    late = studio.lab.run(other)
    with pytest.raises(
        InvalidData, match="the champion predicts carrier, the challenger late: which of them is better"
    ):
        studio.lab.run(comparing(studio, studio.classification, late, metric="accuracy"))
