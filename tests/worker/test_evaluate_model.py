"""EvaluateModel: what is in use, judged on data that has come since, with the report that a training writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tidemill.api.v1alpha1.deployment import DeploymentSpec
from tidemill.contract.model import Evaluation
from tidemill.contract.results import EvaluateResult, TrainResult
from tidemill.contract.tasks import TASK
from tidemill_worker.artifact import publish
from tidemill_worker.errors import ColumnMissing, DatasetEmpty, InvalidData, InvalidSpec, ObjectNotFound, TaskError

from .conftest import Seaweed
from .forecast_cases import by_time, forecast, sales
from .lab import OWNER, Lab, make_lab
from .samples import Document, dataset_of, flights, linear, publish_raw

FEATURES = ["dep_delay", "distance"]
QUICK = {"html": False, "pictures": False, "explain": {"method": "None"}, "confidence": {"resamples": 0}}


@pytest.fixture(scope="module")
def shop(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(seaweed, tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def old(shop: Lab) -> Document:
    """What the model was trained on."""
    return dataset_of(shop, complete(600), split={"random": {"validation": 0.2, "test": 0.2}})


@pytest.fixture(scope="module")
def fresh(shop: Lab) -> Document:
    """What has come since: flights are longer."""
    columns = complete(300, seed=1)
    columns["distance"] = [value + 1500 for value in columns["distance"]]
    return dataset_of(shop, columns, split={"random": {"validation": 0.1, "test": 0.8}})


@pytest.fixture(scope="module")
def model(shop: Lab, old: Document) -> TrainResult:
    options = {"slices": ["distance", "carrier"], "fairness": {"groups": ["night"]}}
    return publish_raw(shop, linear(FEATURES), task={"dataset": old, "evaluation": options})


def complete(number: int, seed: int = 0, **changes: Any) -> Document:
    """Flights of which every departure is known: the model has no answer to a missing one."""
    columns = flights(number, seed)
    columns["dep_delay"] = [0.0 if value is None else value for value in columns["dep_delay"]]
    return {**columns, **changes}


def task(shop: Lab, model: TrainResult, data: Document, **more: Any) -> Document:
    options = {**QUICK, **more.pop("evaluation", {})}
    return {
        "type": "EvaluateModel",
        "model": {**model.artifact.model_dump(), "name": "mine-v1"},
        "dataset": data,
        "datasetName": "fresh",
        "evaluation": options,
        "root": f"{shop.root}/evaluations/mine",
        **more,
    }


def test_the_report_is_that_of_a_training(shop: Lab, model: TrainResult, old: Document) -> None:
    """On the very rows of the training it finds the very same, but for the training split, which is not looked at."""
    options = {"slices": ["distance", "carrier"], "fairness": {"groups": ["night"]}}
    result: EvaluateResult = shop.run({**task(shop, model, old), "evaluation": options})
    theirs = Evaluation.model_validate(shop.get_json(f"{model.artifact.uri}/evaluation.json"))
    ours = Evaluation.model_validate(shop.get_json(f"{result.artifact.uri}/evaluation.json"))
    assert ours == theirs
    assert result.rows == ours.rows["test"]
    assert result.metrics["mae"] == pytest.approx(theirs.metrics["test"]["mae"], rel=1e-5)
    assert result.missed == ""
    files = {entry["path"] for entry in shop.get_json(f"{result.artifact.uri}/manifest.json")["files"]}
    assert {"evaluation.json", "evaluation.html", "explanation.json", "gates.json"} <= files
    assert any(name.startswith("evaluation/") for name in files)
    assert "model.onnx" not in files
    provenance = shop.get_json(f"{result.artifact.uri}/provenance.json")
    assert provenance["inputs"] == {model.artifact.uri: model.artifact.digest, old["uri"]: old["digest"]}


def test_gates_are_told_and_the_report_is_there_all_the_same(shop: Lab, model: TrainResult, fresh: Document) -> None:
    gates = [
        {"metric": "mae", "max": 1},
        {"metric": "mae", "max": 1e6, "split": "validation"},
        {"metric": "mae", "max": 1, "slice": {"column": "carrier", "value": "ZZ"}},
        {"metric": "mae", "max": 1e6, "slice": {"column": "carrier", "value": "AA"}},
    ]
    result = shop.run(task(shop, model, fresh, gates=gates, evaluation={"slices": ["carrier"]}))
    found = shop.get_json(f"{result.artifact.uri}/gates.json")["gates"]
    assert [gate["field"] for gate in found] == [f"spec.evaluation.gates[{k}]" for k in range(4)]
    assert [gate["metric"] for gate in found] == [
        "test mae", "validation mae", "test mae", "test mae where carrier is AA",
    ]  # fmt: skip
    assert ["missed" in gate for gate in found] == [True, False, True, False]
    assert "value" not in found[2]
    mae = result.metrics["mae"]
    assert result.missed.startswith(
        f"test mae is {mae:g}, above the maximum 1; spec.evaluation.gates[2].slice: no labelled row"
    )
    assert found[0]["value"] == mae


def test_the_guides_example(shop: Lab, model: TrainResult, old: Document, fresh: Document) -> None:
    """What docs/evaluation.md says of a Deployment, on flights."""
    text = (Path(__file__).resolve().parents[2] / "docs/evaluation.md").read_text()
    found = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    (spec,) = (block["spec"] for block in found if block.get("kind") == "Deployment")
    asked = DeploymentSpec.model_validate(spec).evaluation
    assert asked is not None
    document = task(shop, model, fresh, gates=spec["evaluation"]["gates"], evaluation={"slices": list(asked.slices)})
    result = shop.run({**document, "datasetName": asked.dataset, "trainedOn": old})
    told = shop.get_json(f"{result.artifact.uri}/gates.json")["gates"]
    assert [gate["metric"] for gate in told] == ["test mae", "test mae where carrier is AA"]
    assert all("value" in gate for gate in told)


def test_quarters_are_those_of_the_training_on_every_version(
    shop: Lab, model: TrainResult, old: Document, fresh: Document
) -> None:
    asked = {"slices": ["distance"]}
    alone = shop.run(task(shop, model, fresh, evaluation=asked))
    known = shop.run(task(shop, model, fresh, evaluation=asked, trainedOn=old))

    def edges(uri: str) -> list[tuple[str, float | None, int]]:
        slices = shop.get_json(f"{uri}/evaluation.json")["details"]["test"]["slices"]
        return [(s["value"], s.get("low"), s["rows"]) for s in slices]

    trained = {value: low for value, low, _ in edges(model.artifact.uri) if value.startswith("Q")}
    found = edges(known.artifact.uri)
    assert all(trained[value] == low for value, low, _ in found)
    assert found[-1][2] > known.rows / 2, "flights are longer: most lie in the last quarter of before"
    rows = [number for _, _, number in edges(alone.artifact.uri)]
    assert max(rows) < alone.rows / 2, "of an imported model the quarters are those of the data itself"


def test_what_it_was_trained_on_is_read_only_when_it_is_needed(shop: Lab, model: TrainResult, fresh: Document) -> None:
    gone = {"uri": f"{shop.root}/datasets/gone", "digest": f"sha256:{'0' * 64}"}
    assert shop.run(task(shop, model, fresh, trainedOn=gone)).rows
    with pytest.raises(ObjectNotFound, match=r"trained-on .* does not exist"):
        shop.run(task(shop, model, fresh, trainedOn=gone, evaluation={"slices": ["carrier"]}))


def test_equal_evaluations_leave_equal_bytes_and_a_second_try_does_nothing(
    shop: Lab, model: TrainResult, fresh: Document
) -> None:
    document = task(shop, model, fresh, evaluation={"html": True, "explain": {"method": "SHAP", "shapRows": 3}})
    first = shop.run(document)
    assert shop.run(document) == first
    elsewhere = shop.run({**document, "root": f"{shop.root}/evaluations/other"})
    assert elsewhere.artifact.digest == first.artifact.digest
    assert elsewhere.artifact.uri != first.artifact.uri


def test_a_lost_report_is_made_again(shop: Lab, model: TrainResult, fresh: Document) -> None:
    document = task(shop, model, fresh, root=f"{shop.root}/evaluations/lost")
    first = shop.run(document)
    key = shop.key(f"{first.artifact.uri}/manifest.json")
    shop.seaweed.client.delete_object(Bucket="tidemill", Key=key)
    assert shop.run(document) == first
    assert shop.get_json(f"{first.artifact.uri}/manifest.json")["kind"] == "evaluation"


def test_a_forecast_is_judged_by_its_own_metrics(lab: Lab) -> None:
    """On the data of its training it finds what that found; slices are of windows."""
    data = by_time(lab, sales(120))
    options = {**QUICK, "slices": ["shop"]}
    made = lab.run(forecast(lab, data, trainer={"horizon": 3, "trees": 10}, evaluation=options))
    gates = [
        {"metric": "skill", "min": -9},
        {"metric": "mase", "max": 0, "slice": {"column": "shop", "value": "north"}},
    ]
    result = lab.run(task(lab, made, data, evaluation={"slices": ["shop"]}, gates=gates, trainedOn=data))
    assert result.metrics["mase"] == pytest.approx(made.metrics["test"]["mase"], rel=1e-5)
    assert result.missed.startswith("test mase where shop is north is ")
    other = {name: values for name, values in sales(120).items() if name != "promotion"}
    with pytest.raises(ColumnMissing) as caught:
        lab.run(task(lab, made, by_time(lab, other, "other")))
    assert caught.value.message.startswith("spec.evaluation.dataset: there is no column 'promotion' in Dataset fresh")


def test_rows_without_a_label_are_left_out(lab: Lab, shop: Lab, model: TrainResult) -> None:
    columns = complete(200)
    columns["arr_delay"] = [None if i % 2 else v for i, v in enumerate(columns["arr_delay"])]
    data = dataset_of(lab, columns, split={"random": {"validation": 0, "test": 0.9}})
    result = shop.run(task(shop, model, data))
    assert 50 < result.rows <= 100
    assert np.isfinite(result.metrics["mae"])


WITHOUT: list[tuple[str, Document, type[TaskError], str, str]] = [
    ("distance", {}, ColumnMissing, "dataset", "there is no column 'distance' in Dataset fresh; it has dep_delay, night"),
    ("arr_delay", {}, ColumnMissing, "dataset", "there is no column 'arr_delay' in Dataset fresh"),
    ("night", {"slices": ["night"]}, ColumnMissing, "slices", "there is no column 'night' in Dataset fresh"),
    ("night", {"fairness": {"groups": ["night"]}}, ColumnMissing, "fairness.groups", "there is no column 'night'"),
    ("", {"fairness": {"groups": ["night"], "favorable": "late"}}, InvalidSpec, "fairness.favorable", "no effect on a regres"),
    ("", {"threshold": {}}, InvalidSpec, "threshold", "this is a regression: remove it"),
]  # fmt: skip


@pytest.mark.parametrize(("without", "options", "error", "field", "words"), WITHOUT, ids=lambda v: str(v)[:30])
def test_what_is_wrong_is_named_and_nothing_is_stored(
    lab: Lab,
    shop: Lab,
    model: TrainResult,
    without: str,
    options: Document,
    error: type[TaskError],
    field: str,
    words: str,
) -> None:
    columns = {name: values for name, values in complete(60).items() if name != without}
    data = dataset_of(lab, columns, split={"random": {"test": 0.5}})
    with pytest.raises(error) as caught:
        shop.run(task(shop, model, data, evaluation=options, root=f"{lab.root}/evaluations"))
    assert caught.value.field == f"spec.evaluation.{field}"
    assert caught.value.message.startswith(f"spec.evaluation.{field}")
    assert words in caught.value.message
    assert 64 <= caught.value.exit_code <= 78, "another try would find the same"
    assert not lab.list("evaluations")


def test_a_split_without_labelled_rows_judges_nothing(lab: Lab, shop: Lab, model: TrainResult) -> None:
    data = dataset_of(lab, complete(60), split={"random": {"validation": 0.5, "test": 0}})
    with pytest.raises(DatasetEmpty) as caught:
        shop.run(task(shop, model, data))
    assert caught.value.message == (
        "spec.evaluation.dataset: the test split of Dataset fresh has no labelled row to judge mine-v1 by: give it one with "
        "the Dataset's spec.split, or wait for labels before it is prepared"
    )


def test_shapley_values_need_rows_to_stand_beside(lab: Lab, shop: Lab, model: TrainResult, fresh: Document) -> None:
    tables = {split: lab.get_table(f"{fresh['uri']}/{split}.parquet") for split in ("train", "validation", "test")}
    context = lab.context()
    place = context.folder("emptied")
    for split, table in {**tables, "train": tables["train"].slice(0, 0)}.items():
        pq.write_table(table, place / f"{split}.parquet")
    document = task(shop, model, fresh, evaluation={"explain": {"method": "SHAP"}})
    asked = TASK.validate_python({"owner": OWNER, **document})
    emptied = publish(context, asked, kind="dataset", folder=place, root=f"{lab.root}/datasets/emptied")
    with pytest.raises(InvalidSpec, match=r"^spec.evaluation.explain.method: SHAP explains .* choose Permutation$"):
        shop.run({**document, "dataset": emptied.model_dump()})


@pytest.mark.parametrize("part", ["model", "dataset"])
def test_an_artifact_that_is_gone(shop: Lab, model: TrainResult, fresh: Document, part: str) -> None:
    document = task(shop, model, fresh)
    document[part] = {**document[part], "uri": f"{shop.root}/nowhere"}
    with pytest.raises(ObjectNotFound, match=f"{part} {shop.root}/nowhere does not exist"):
        shop.run(document)


def test_a_model_that_says_nothing_of_a_target(lab: Lab) -> None:
    """An imported one: there is nothing to hold its answers against."""
    made = publish_raw(lab, linear(FEATURES), complete(60))
    signature = lab.get_json(f"{made.artifact.uri}/signature.json")
    assert signature.pop("target") == "arr_delay"
    artifact = republished(lab, made, signature)
    data = dataset_of(lab, complete(60))
    with pytest.raises(InvalidData, match="the signature of mine-v1 names no target column"):
        lab.run({**task(lab, made, data), "model": {**artifact, "name": "mine-v1"}})


def republished(lab: Lab, made: TrainResult, signature: Document) -> Document:
    """The model with another signature, as a store has it."""
    context = lab.context()
    place = context.folder("other")
    (place / "model.onnx").write_bytes(lab.get(f"{made.artifact.uri}/model.onnx"))
    (place / "signature.json").write_text(json.dumps(signature))
    document = {"owner": OWNER, **task(lab, made, made.artifact.model_dump())}
    root = f"{lab.root}/models/other"
    reference: Document = publish(
        context, TASK.validate_python(document), kind="model", folder=place, root=root
    ).model_dump()
    return reference
