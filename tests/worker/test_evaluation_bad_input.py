"""What can be wrong with an evaluation that is asked for: found before anything is trained, and named by its field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tidemill.contract.evaluating import EvaluationOptions
from tidemill_worker.errors import ColumnMissing, ColumnType, InvalidSpec, TaskError

from .lab import Lab
from .samples import Document, dataset_of, flights, linear, publish_raw, train

E = "spec.evaluation"


def untrained(lab: Lab) -> bool:
    """No epoch left a checkpoint or a line, no model was stored."""
    epochs = [name for name in lab.list("runs/") if "checkpoints" in name or name.endswith("metrics.jsonl")]
    return not epochs and not lab.list("models/")


WRONG: list[tuple[str, Document, type[TaskError], str, str]] = [
    ("Regression", {"slices": ["distance", "nosuch"]}, ColumnMissing, f"{E}.slices[1]", "there is no column 'nosuch'"),
    (
        "Regression",
        {"slices": ["when"]},
        ColumnType,
        f"{E}.slices[0]",
        "'when' is timestamp[us]: rows are told apart by",
    ),
    (
        "Regression",
        {"fairness": {"groups": ["nosuch"]}},
        ColumnMissing,
        f"{E}.fairness.groups[0]",
        "no column 'nosuch'",
    ),
    (
        "Regression",
        {"fairness": {"groups": ["dep_delay"]}},
        ColumnType,
        f"{E}.fairness.groups[0]",
        "derive bands from it",
    ),
    (
        "Regression",
        {"fairness": {"groups": ["distance"]}},
        InvalidSpec,
        f"{E}.fairness.groups[0]",
        "more than the 20 groups",
    ),
    (
        "Regression",
        {"fairness": {"groups": ["night"], "favorable": "late"}},
        InvalidSpec,
        f"{E}.fairness.favorable",
        "no effect on a regression",
    ),
    (
        "Classification",
        {"fairness": {"groups": ["night"]}},
        InvalidSpec,
        f"{E}.fairness.favorable",
        "a classification needs it; its classes are late, on time",
    ),
    (
        "Classification",
        {"fairness": {"groups": ["night"], "favorable": "early"}},
        InvalidSpec,
        f"{E}.fairness.favorable",
        "'early' is no class of the target; its classes are late, on time",
    ),
    ("Regression", {"threshold": {}}, InvalidSpec, f"{E}.threshold", "this is a regression: remove it"),
    ("Carrier", {"threshold": {}}, InvalidSpec, f"{E}.threshold", "the target has 4: remove it"),
    ("Classification", {"threshold": {"positive": "x"}}, InvalidSpec, f"{E}.threshold.positive", "'x' is no class"),
]


@pytest.mark.parametrize(("kind", "options", "error", "field", "words"), WRONG, ids=lambda v: str(v)[:40])
def test_a_wrong_field_costs_no_training(
    lab: Lab, kind: str, options: Document, error: type[TaskError], field: str, words: str
) -> None:
    when = ["2020-01-01T00:00:00"] * 300
    uri = lab.put_table("raw.parquet", {**flights(300), "w": when})
    data = lab.run(
        {
            "type": "PrepareDataset",
            "root": f"{lab.root}/datasets/own",
            "inputs": [{"name": "raw", "s3": {"uri": uri}}],
            "transform": {"sql": 'SELECT * EXCLUDE (w), CAST(w AS TIMESTAMP) AS "when" FROM raw'},
            "split": {"random": {}},
        }
    ).artifact.model_dump()
    trainer: dict[str, Any] = {"exclude": ["late" if kind == "Regression" else "arr_delay", "when"]}
    if kind == "Carrier":
        trainer["target"] = "carrier"
    document = train(lab, data, "Regression" if kind == "Regression" else "Classification", trainer=trainer)
    with pytest.raises(error) as caught:
        lab.run({**document, "evaluation": options})
    assert caught.value.field == field
    assert words in caught.value.message
    assert caught.value.message.startswith(field)
    assert 64 <= caught.value.exit_code <= 78
    assert untrained(lab)


GATES: list[tuple[str, Document, str, str]] = [
    (
        "Regression",
        {"metric": "mae", "max": 1, "slice": {"column": "night", "value": "true"}},
        "slice.column",
        "add it",
    ),
    (
        "Regression",
        {"metric": "mae", "max": 1, "slice": {"column": "carrier", "value": "ZZ"}},
        "slice",
        "no labelled row of the test split has 'ZZ' of carrier; there are ",
    ),
    ("Regression", {"metric": "mape", "max": 1}, "metric", "the target is 0 in some row of the test split"),
    (
        "Regression",
        {"metric": "demographicParityRatio", "min": 1, "group": "carrier"},
        "metric",
        "no demographicParity",
    ),
    (
        "Classification",
        {"metric": "demographicParityRatio", "min": 1, "group": "night"},
        "group",
        "none of spec.evaluation",
    ),
    (
        "Classification",
        {"metric": "equalOpportunityDifference", "max": 1, "group": "carrier"},
        "group",
        "compares groups with at least 20 labelled rows of class rare in the test split; by carrier there are",
    ),
    ("Classification", {"metric": "rocAucOvrMacro", "min": 0}, "metric", "needs a target of three to 20 classes"),
    ("Classification", {"metric": "averagePrecision", "min": 0}, "metric", "averagePrecision needs a target of two"),
]


@pytest.mark.parametrize(("kind", "gate", "field", "words"), GATES, ids=lambda v: str(v)[:40])
def test_a_gate_that_cannot_hold_is_found_before_the_training(
    lab: Lab, kind: str, gate: Document, field: str, words: str
) -> None:
    columns = flights(600)
    columns["arr_delay"] = [0.0 if i % 3 == 0 else v for i, v in enumerate(columns["arr_delay"])]
    columns["late"] = ["rare" if i % 60 == 0 else "common" for i in range(600)]
    if gate["metric"] == "averagePrecision":
        columns["late"] = [f"c{i % 30}" for i in range(600)]
    options: Document = {"slices": ["carrier"], "fairness": {"groups": ["carrier"]}}
    if kind == "Classification":
        options["fairness"]["favorable"] = columns["late"][0]
    data = dataset_of(lab, columns, split={"random": {"test": 0.3}})
    with pytest.raises(InvalidSpec) as caught:
        lab.run(train(lab, data, kind, gates=[gate], evaluation=options))
    assert caught.value.field == f"spec.gates[0].{field}"
    assert words in caught.value.message
    assert untrained(lab)


def test_a_users_model_is_judged_by_the_same_rules(lab: Lab) -> None:
    with pytest.raises(ColumnMissing) as caught:
        publish_raw(lab, linear(["night", "distance"]), task={"evaluation": {"slices": ["nosuch"]}})
    assert caught.value.field == f"{E}.slices[0]"
    assert not lab.list("models/")


@pytest.mark.parametrize(
    "options",
    [
        {"slices": [f"c{k}" for k in range(17)]},
        {"confidence": {"level": 1}},
        {"confidence": {"resamples": -1}},
        {"explain": {"method": "LIME"}},
        {"explain": {"rows": 0}},
        {"fairness": {"groups": []}},
        {"threshold": {"choose": "MinRecall", "atLeast": 1.5}},
        {"compareWith": "Staging"},
    ],
)
def test_what_the_schema_refuses(options: Document) -> None:
    with pytest.raises(ValidationError):
        EvaluationOptions.model_validate(options)


def test_a_split_without_labels_is_not_judged(lab: Lab) -> None:
    """Nothing to measure is no failure: the training goes on, and the report says how many rows there were."""
    columns = flights(400)
    data = dataset_of(lab, columns, split={"random": {"validation": 0, "test": 0}})
    result = lab.run(train(lab, data, evaluation={"slices": ["carrier"], "explain": {"method": "SHAP"}}))
    found = lab.get_json(f"{result.artifact.uri}/evaluation.json")
    assert found["rows"] == {"train": 400, "validation": 0, "test": 0}
    assert found["details"] == {}
    names = lab.list("models/")
    assert not [name for name in names if name.endswith("explanation.json")]
    assert [name for name in names if name.endswith("evaluation.html")]
