"""Which evaluations are kept and hold, and when a training's own takes a Job's place."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.api.v1alpha1.continuous import VersionEvaluation
from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.contract.gates import CLASSIFICATION_METRICS, Gate
from tidemill.reconcile.policies.evaluation import (
    attempt_id,
    figures_of,
    holding,
    missed_gates,
    remembered,
    tells_all,
)


def evaluated(request: str, outcome: str = "Passed", **more: Any) -> VersionEvaluation:
    about = {"datasetDigest": f"sha256:{'a' * 64}", "modelVersion": {"name": "m-v1", "version": 1}}
    return VersionEvaluation.model_validate(
        {**about, "outcome": outcome, "at": "2026-01-01T00:00:00Z", "request": request, **more}
    )


def version(**metrics: dict[str, float]) -> ModelVersion:
    spec = {"model": "m", "version": 1, "artifact": {"uri": "s3://m", "digest": f"sha256:{'b' * 64}"}}
    return ModelVersion.model_validate({"spec": spec, "status": {"metrics": metrics}})


def gate(**parts: Any) -> Gate:
    return Gate.model_validate({"metric": "mae", "max": 10, **parts})


def test_the_newest_comes_first_and_ten_stay() -> None:
    results: tuple[VersionEvaluation, ...] = ()
    for number in range(12):
        results = remembered(results, evaluated(str(number)))
    assert [r.request for r in results] == [str(n) for n in range(11, 1, -1)]
    again = remembered(results, evaluated("5", rows=7))
    assert [r.request for r in again] == ["5", "11", "10", "9", "8", "7", "6", "4", "3", "2"]
    assert again[0].rows == 7


def test_a_failure_holds_while_it_is_the_newest_and_nothing_was_changed() -> None:
    failed = evaluated("a", "Failed", attempt=attempt_id(3, None))
    assert holding((failed,), "a", attempt_id(3, None)) is failed
    assert holding((failed,), "a", attempt_id(4, None)) is None
    assert holding((failed,), "a", attempt_id(3, "now")) is None
    assert holding((evaluated("b"), failed), "a", attempt_id(3, None)) is None
    passed = evaluated("a")
    assert holding((evaluated("b"), passed), "a", attempt_id(9, "now")) is passed
    assert holding((passed,), "c", attempt_id(3, None)) is None


@pytest.mark.parametrize(
    ("metrics", "gates", "enough"),
    [
        ({"test": {"mae": 1.0}}, [], True),
        ({"test": {"mae": 1.0}}, [gate()], True),
        ({"test": {"mae": 1.0}}, [gate(metric="rmse")], False),
        ({"test": {"mae": 1.0}}, [gate(split="validation")], False),
        ({"test": {"mae": 1.0}}, [gate(slice={"column": "c", "value": "v"})], False),
        ({"test": {"demographicParityRatio": 1.0}}, [gate(metric="demographicParityRatio", group="g")], False),
        ({"validation": {"mae": 1.0}}, [], False),
        ({}, [], False),
    ],
)
def test_a_training_tells_what_needs_no_rows(metrics: dict[str, Any], gates: list[Gate], enough: bool) -> None:
    assert tells_all(version(**metrics), gates) is enough


def test_its_figures_and_gates() -> None:
    made = version(validation={"mae": 11.0}, test={"mae": 12.34567891})
    assert figures_of(made) == {"mae": 12.3457}
    assert missed_gates(made, [gate(max=13)]) == ""
    assert missed_gates(made, [gate(), gate(min=11.5, max=None, split="validation"), gate(max=99)]) == (
        "test mae is 12.3457, above the maximum 10; validation mae is 11, below the minimum 11.5"
    )


def test_not_a_number_keeps_no_bound() -> None:
    assert gate().missed(float("nan")) == "is nan, above the maximum 10"
    assert gate(max=None, min=0).missed(float("nan")) == "is nan, below the minimum 0"
    assert gate(min=0).missed(5) is None


def test_ten_evaluations_with_long_names_leave_room() -> None:
    """An object stays below 10 kB: ten of a classification take less than eight, with names of 40 characters."""
    name, uri = "n" * 40, f"s3://{'b' * 20}/{'s' * 20}/evaluations/{'n' * 40}/{'a' * 64}"
    metrics = {
        metric: 0.123456 for metric in CLASSIFICATION_METRICS if "Ovr" not in metric and "PrecisionMacro" not in metric
    }
    one = evaluated(
        "0123456789ab", modelVersion={"name": name, "version": 100}, rows=100000, metrics=metrics, reportUri=uri
    )
    spec = {"model": {"name": "m", "stage": "Production"}, "mode": "Batch", "batch": {"dataset": "d"}}
    status = {"evaluation": {"results": [one.model_dump(by_alias=True)] * 10}}
    document = Deployment.model_validate({"spec": spec, "status": status})
    assert len(document.status.to_json()) < 8000
