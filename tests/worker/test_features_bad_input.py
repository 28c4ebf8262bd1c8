"""Preprocessing that makes no sense: refused with the column, the field of the spec and the way out, and nothing stored."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tidemill.contract.features import ColumnTransform
from tidemill_worker.errors import ColumnType, InvalidSpec, ModelInvalid, TaskError
from tidemill_worker.train.features import ordinal, plan

from .lab import Lab, Seaweed, make_lab
from .samples import Document, dataset, dataset_of, flights, train

AT = "spec.trainer.tabularRegression.preprocessing"
REFUSED: dict[str, tuple[list[dict[str, Any]], type[TaskError], str, str]] = {
    "unknown column": (
        [{"columns": ["distance"], "scale": {}}, {"columns": ["delya"], "scale": {}}],
        InvalidSpec, f"{AT}[1].columns", "'delya' is none of the features dep_delay, distance, night, carrier",
    ),
    "excluded column": (
        [{"columns": ["late"], "oneHot": {}}], InvalidSpec, f"{AT}[0].columns", "take it out of exclude",
    ),
    "target": (
        [{"columns": ["distance", "arr_delay"], "scale": {}}],
        InvalidSpec, f"{AT}[0].columns", "the target 'arr_delay' cannot be a feature",
    ),
    "two transforms of one column": (
        [{"columns": ["carrier"], "oneHot": {}}, {"columns": ["carrier"], "hash": {}}],
        InvalidSpec, f"{AT}[1].columns", "column 'carrier' has oneHot already, in preprocessing[0]: a column may",
    ),
    "one column twice": (
        [{"columns": ["distance", "distance"], "scale": {}}],
        InvalidSpec, f"{AT}[0].columns", "column 'distance' has scale already, in preprocessing[0]",
    ),
    "two imputes": (
        [{"columns": ["distance"], "impute": {}}, {"columns": ["distance"], "impute": {}}],
        InvalidSpec, f"{AT}[1].columns", "has impute already",
    ),
    "scaled text": (
        [{"columns": ["carrier"], "scale": {}}], ColumnType, f"{AT}[0].scale", "'carrier' is text, not a number: use oneHot",
    ),
    "bucketized text": (
        [{"columns": ["carrier"], "bucketize": {"quantiles": 4}}], ColumnType, f"{AT}[0].bucketize", "is text, not a number",
    ),
    "hashed number": (
        [{"columns": ["distance"], "hash": {}}], ColumnType, f"{AT}[0].hash", "'distance' is a number, not text: use scale",
    ),
    "embedded number": (
        [{"columns": ["distance"], "embedText": {}}], ColumnType, f"{AT}[0].embedText", "is a number, not text",
    ),
    "mean of text": (
        [{"columns": ["carrier"], "impute": {"strategy": "Mean"}}, {"columns": ["carrier"], "oneHot": {}}],
        InvalidSpec, f"{AT}[0].impute", "is text, and Mean is for numbers: use MostFrequent, or Constant with text",
    ),
    "number for text": (
        [{"columns": ["carrier"], "impute": {"strategy": "Constant", "value": 1}}],
        InvalidSpec, f"{AT}[0].impute", "is text, and Constant with value is for numbers",
    ),
    "text for a number": (
        [{"columns": ["distance"], "impute": {"strategy": "Constant", "text": "far"}}],
        InvalidSpec, f"{AT}[0].impute.text", "column 'distance' is a number: give value instead",
    ),
    "imputed text that nothing reads": (
        [{"columns": ["carrier"], "impute": {"strategy": "MostFrequent"}}],
        InvalidSpec, f"{AT}[0].columns", "impute has no effect on the text column 'carrier' alone",
    ),
    "imputed text that is embedded": (
        [{"columns": ["carrier"], "impute": {"strategy": "MostFrequent"}}, {"columns": ["carrier"], "embedText": {}}],
        InvalidSpec, f"{AT}[0].columns", "impute has no effect on the text column 'carrier' beside embedText",
    ),
    "too many numbers as categories": (
        [{"columns": ["distance"], "ordinal": {}}],
        ColumnType, f"{AT}[0].columns", "different numbers, more than the 1000 that can be categories: bucketize or scale it",
    ),
    "categories that are no numbers": (
        [{"columns": ["night"], "ordinal": {"categories": ["0", "dark"]}}],
        InvalidSpec, f"{AT}[0].ordinal.categories", "column 'night' holds numbers, and 'dark' is none",
    ),
    "one number twice": (
        [{"columns": ["night"], "ordinal": {"categories": ["1", "1.0"]}}],
        InvalidSpec, f"{AT}[0].ordinal.categories", "'1.0' is listed twice",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Document:
    return dataset_of(make_lab(seaweed, tmp_path_factory.mktemp("data")), flights(3000))


@pytest.mark.parametrize(("spec", "error", "field", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(
    data: Document, lab: Lab, spec: list[dict[str, Any]], error: type[TaskError], field: str, words: str
) -> None:
    with pytest.raises(error) as caught:
        lab.run(train(lab, data, trainer={"preprocessing": spec}))
    assert type(caught.value) is error
    assert words in caught.value.message
    assert caught.value.message.startswith(field.rpartition("]")[0])
    assert caught.value.field == field
    assert 64 <= caught.value.exit_code <= 78, "the Job does not try again"
    assert not lab.list("models/")


def test_too_many_categories_and_features(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MOST_FEATURES", 40)
    data = dataset_of(lab, {**flights(300), "tail": [f"N{i}" for i in range(300)]})
    document = train(
        lab, data, trainer={"preprocessing": [{"columns": ["carrier", "tail"], "oneHot": {"maxCategories": 100}}]}
    )
    with pytest.raises(
        InvalidSpec, match=r"preprocessing\[0\].* gives 10\d features up to here, more than 40: keep fewer"
    ):
        lab.run(document)
    monkeypatch.setattr(ordinal, "MOST_TEXTS", 150)
    document = train(lab, data, trainer={"preprocessing": [{"columns": ["tail"], "ordinal": {}}]})
    with pytest.raises(
        ColumnType, match=r"column 'tail' has 2\d\d categories, more than \d+: use hash or targetEncode"
    ):
        lab.run(document)


def test_text_that_is_too_long(lab: Lab) -> None:
    data = dataset_of(lab, {**flights(100), "remark": ["word " * 1025] * 100})
    document = train(lab, data, trainer={"preprocessing": [{"columns": ["remark"], "embedText": {}}]})
    with pytest.raises(
        ColumnType, match=r"column 'remark' has a text of 1025 words, more than 1024: shorten it"
    ) as caught:
        lab.run(document)
    assert caught.value.field == f"{AT}[0].columns"


@pytest.mark.parametrize("transform", [{"hash": {}}, {"embedText": {}}], ids=["hash", "embedText"])
def test_text_inside_the_graph_cannot_be_exported(lab: Lab, transform: dict[str, Any]) -> None:
    spec = {"epochs": 1, "preprocessing": [{"columns": ["carrier"], **transform}]}
    model = lab.run(train(lab, dataset(lab, 300), trainer=spec))
    export = {
        "type": "ExportModel",
        "artifact": model.artifact.model_dump(),
        "export": {"name": "edge"},
        "root": f"{lab.root}/exports",
    }
    with pytest.raises(ModelInvalid) as caught:
        lab.run(export)
    assert (
        f"column 'carrier': preprocessing {next(iter(transform))} reads text inside the model" in caught.value.message
    )
    assert "use oneHot, ordinal or targetEncode" in caught.value.message
    assert not lab.list("exports/")


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        ({}, "set exactly one of: impute, scale"),
        ({"scale": {}, "oneHot": {}}, "set exactly one of: impute, scale"),
        ({"impute": {"strategy": "Constant"}}, "the strategy Constant needs value or text"),
        ({"impute": {"strategy": "Constant", "value": 1, "text": "a"}}, "the strategy Constant needs value or text"),
        ({"impute": {"strategy": "Mean", "value": 1}}, "they have no effect beside the others"),
        ({"impute": {"strategy": "Constant", "value": 1e39}}, "less than or equal to 1"),
        ({"bucketize": {}}, "set exactly one of: edges, quantiles"),
        ({"bucketize": {"edges": [1], "quantiles": 2}}, "set exactly one of: edges, quantiles"),
        ({"bucketize": {"edges": [2, 1]}}, "edges must ascend"),
        ({"bucketize": {"edges": [1, 1]}}, "edges must ascend"),
        ({"bucketize": {"edges": [float("inf")]}}, "less than or equal to 1"),
        ({"oneHot": {"maxCategories": 1001}}, "less than or equal to 1000"),
        ({"ordinal": {"categories": ["a", "a"]}}, "categories must differ"),
        ({"ordinal": {"categories": [""]}}, "at least 1 character"),
        ({"targetEncode": {"folds": 1}}, "greater than or equal to 2"),
        ({"embedText": {"maxTerms": 10, "dimensions": 11}}, "dimensions must not exceed maxTerms"),
        ({"embedText": {"maxNgram": 4}}, "maxNgram of words must not exceed 3"),
    ],
    ids=str,
)
def test_documents_that_are_no_transform(transform: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ColumnTransform.model_validate({"columns": ["a"], **transform})
