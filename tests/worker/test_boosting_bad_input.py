"""Boosted trees and what can be wrong: fields, columns, too little to split on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tidemill_worker.errors import ColumnMissing, ColumnType, GateNotPassed, InvalidData, InvalidSpec

from .lab import Lab
from .samples import boost, dataset, dataset_of, flights


@pytest.mark.parametrize(
    ("trainer", "kind", "error", "words"),
    [
        (
            {"target": "nosuch"},
            "Regression",
            ColumnMissing,
            "spec.trainer.boostedRegression.target: there is no column",
        ),
        ({"features": ["nosuch"], "exclude": []}, "Regression", ColumnMissing, "boostedRegression.features"),
        ({"exclude": ["nosuch"]}, "Classification", ColumnMissing, "boostedClassification.exclude"),
        ({"target": "late", "exclude": ["when"]}, "Regression", ColumnType, "'late' is string, not a number"),
        ({"target": "arr_delay", "exclude": ["when"]}, "Classification", ColumnType, "holds fractions"),
        ({"features": ["distance"], "exclude": ["late"]}, "Regression", InvalidSpec, "exclude has no effect"),
        ({"exclude": []}, "Regression", ColumnType, "'when' is timestamp[us]"),
        ({"target": "one", "exclude": ["when"]}, "Classification", InvalidData, "has 1 class"),
        (
            {"trees": 10_000, "maxLeaves": 4096, "minRowsPerLeaf": 1, "target": "many", "exclude": ["when"]},
            "Classification",
            InvalidSpec,
            "are too many for one ONNX file: lower trees or maxLeaves",
        ),
    ],
)
def test_columns_and_fields_that_do_not_fit(
    lab: Lab, trainer: dict[str, Any], kind: str, error: type, words: str
) -> None:
    when = np.array(["2020-01-01"] * 200, dtype="datetime64[us]")
    data = dataset(lab, 200, when=when, one=["same"] * 200, many=[f"m{i % 90}" for i in range(200)])
    with pytest.raises(error) as caught:
        lab.run(boost(lab, data, kind, trainer=trainer))
    assert words in caught.value.message
    assert 64 <= caught.value.exit_code <= 78
    assert not lab.list("runs/run/uid/checkpoints/"), "no epoch was trained"
    assert not lab.list("models/")


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"trees": 0}, "greater than or equal to 1"),
        ({"learningRate": 2}, "less than or equal to 1"),
        ({"subsample": 0}, "greater than 0"),
        ({"loss": "Quantile"}, "loss Quantile needs quantile"),
        ({"quantile": 0.5}, "loss Quantile needs quantile"),
        ({"target": None}, "valid string"),
    ],
)
def test_values_that_the_contract_refuses(lab: Lab, trainer: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        lab.run(boost(lab, {"uri": "s3://a/b", "digest": "sha256:" + "0" * 64}, trainer=trainer))


def test_patience_without_a_validation_split(lab: Lab) -> None:
    data = dataset_of(lab, flights(200), split={"random": {"validation": 0, "test": 0.2}})
    with pytest.raises(InvalidSpec, match=r"spec\.trainer\.boostedRegression\.patience needs a validation split"):
        lab.run(boost(lab, data, trainer={"patience": 3}))


def test_gates(lab: Lab) -> None:
    with pytest.raises(GateNotPassed, match=r"test mae is .*, above the maximum 0\.001"):
        lab.run(boost(lab, dataset(lab, 500), gates=[{"metric": "mae", "max": 0.001}]))
    assert not lab.list("models/")


def test_too_few_rows_to_split_give_a_constant_and_a_warning(lab: Lab) -> None:
    data = dataset_of(lab, flights(30))
    result = lab.run(boost(lab, data))
    (warning,) = result.warnings
    assert "no tree has a split" in warning
    assert "lower spec.trainer.boostedRegression.minRowsPerLeaf" in warning
    assert result.epochs == 1, "another epoch would change nothing"
    assert abs(result.metrics["train"]["r2"]) < 1e-6
    assert lab.run(boost(lab, data, run="finer", trainer={"minRowsPerLeaf": 2})).warnings == ()


def test_odd_columns(lab: Lab) -> None:
    """A column with one value, a constant one, a text that never repeats, an infinite and a huge number; a missing target."""
    columns = flights(600)
    columns["nothing"] = [None] * 599 + [1.5]
    columns["constant"] = [7] * 600
    columns["name"] = [f"unique {i}" for i in range(600)]
    columns["infinite"] = [float("inf") if i % 5 == 0 else float(i) for i in range(600)]
    columns["huge"] = [1e300 if i % 7 == 0 else float(i) for i in range(600)]
    columns["arr_delay"] = [None if i % 50 == 0 else v for i, v in enumerate(columns["arr_delay"])]
    result = lab.run(boost(lab, dataset_of(lab, columns)))
    assert result.metrics["test"]["r2"] > 0.5
    only = lab.run(boost(lab, dataset_of(lab, columns), run="only", trainer={"features": ["nothing"], "exclude": []}))
    assert len(only.warnings) == 1


def test_text_columns_alone(lab: Lab) -> None:
    columns = flights(1000)
    columns["arr_delay"] = [{"AA": 1.0, "UA": 5.0, "DL": 9.0, "B6": 13.0, None: 20.0}[c] for c in columns["carrier"]]
    data = dataset_of(lab, columns)
    carrier = {"features": ["carrier"], "exclude": [], "learningRate": 0.3}
    every = lab.run(boost(lab, data, trainer=carrier))
    assert every.metrics["test"]["mae"] < 0.9, "four categories and missing ones"
    few = lab.run(boost(lab, data, run="few", trainer={**carrier, "maxCategories": 2}))
    assert 0.9 < few.metrics["test"]["mae"] < 5, "two of them became one"
