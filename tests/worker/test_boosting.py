"""Boosted trees against a real store: quality, exact parity, resume, the same bytes everywhere, what follows them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tidemill.contract.model import Baseline, Signature
from tidemill.contract.results import TrainResult
from tidemill_worker.errors import ModelInvalid
from tidemill_worker.train import data as training_data
from tidemill_worker.train.trained import train as train_once

from .boosting_cases import Document, fit, hard, lines_of, parsed
from .lab import Lab
from .samples import CARRIERS, boost, dataset, dataset_of


def test_regression_learns_and_publishes_a_complete_model(lab: Lab) -> None:
    data = dataset(lab)
    result = lab.run(boost(lab, data))
    assert isinstance(result, TrainResult)
    assert (result.epochs, result.device, result.warnings) == (6, "cpu", ())
    assert result.metrics["test"]["mae"] < 5
    assert result.metrics["test"]["r2"] > 0.85
    model = result.artifact.uri
    signature = Signature.model_validate(lab.get_json(f"{model}/signature.json"))
    assert [(i.name, i.datatype) for i in signature.inputs] == [
        ("dep_delay", "FP32"), ("distance", "FP32"), ("night", "FP32"), ("carrier", "BYTES"),
    ]  # fmt: skip
    assert [o.name for o in signature.outputs] == ["prediction"]
    baseline = Baseline.model_validate(lab.get_json(f"{model}/baseline.json"))
    assert [f.name for f in baseline.features] == ["dep_delay", "distance", "night", "carrier"]
    assert baseline.predictions[0].name == "prediction.prediction"
    lines = lines_of(lab)
    assert [line["epoch"] for line in lines] == list(range(1, 7))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["validationLoss"] < lines[0]["validationLoss"]
    provenance = lab.get_json(f"{model}/provenance.json")
    assert provenance["seed"] == 3
    assert provenance["versions"]["lightgbm"]
    assert provenance["task"]["trainer"]["maxLeaves"] == 31
    assert lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()}).inputs == 4


def test_the_graph_takes_raw_columns_missing_and_unknown_values_included(lab: Lab) -> None:
    result = lab.run(boost(lab, dataset(lab)))
    session = ort.InferenceSession(lab.get(f"{result.artifact.uri}/model.onnx"))

    def predict(delay: float, carrier: str, distance: float = 1000.0) -> float:
        column = {"dep_delay": delay, "distance": distance, "night": 0.0}
        feed: Document = {k: np.array([[v]], np.float32) for k, v in column.items()}
        feed["carrier"] = np.array([[carrier]], dtype=object)
        return float(session.run(["prediction"], feed)[0][0, 0])

    known = {c: predict(5.0, c) for c in CARRIERS}
    assert known["B6"] - known["DL"] == pytest.approx(15, abs=4)
    assert min(known.values()) - 5 < predict(5.0, "never seen") < max(known.values()) + 5
    assert np.isfinite(predict(float("nan"), ""))
    assert predict(float("nan"), "AA") == predict(float("inf"), "AA") != predict(0.0, "AA")
    # training shows no missing distance: it becomes the median, not a zero that lies below all distances
    assert predict(5.0, "AA", float("nan")) == pytest.approx(predict(5.0, "AA", 1550.0), abs=1)
    assert predict(5.0, "AA", float("nan")) < predict(5.0, "AA", 0.0) - 1


@pytest.mark.parametrize("target", ["late", "carrier", "night"])
def test_classification(lab: Lab, target: str) -> None:
    data = dataset(lab)
    result = lab.run(boost(lab, data, "Classification", trainer={"target": target, "exclude": []}))
    found = result.metrics["test"]
    assert ("rocAuc" in found) == (target != "carrier")
    if target == "late":
        assert found["accuracy"] > 0.9
        assert found["rocAuc"] > 0.9
    signature = Signature.model_validate(lab.get_json(f"{result.artifact.uri}/signature.json"))
    classes = {"late": ("late", "on time"), "carrier": ("AA", "B6", "DL", "UA"), "night": ("false", "true")}[target]
    assert signature.classes == classes
    assert [o.name for o in signature.outputs] == ["label", "probabilities"]


def test_patience_stops_early_and_drops_the_trees_after_the_best_epoch(lab: Lab) -> None:
    data = dataset(lab, 400)
    result = lab.run(boost(lab, data, trainer={"trees": 5000, "patience": 3, "learningRate": 0.3}))
    lines = lines_of(lab)
    best = min(lines, key=lambda line: line["validationLoss"])
    assert result.epochs == len(lines) == best["epoch"] + 3
    short = lab.run(boost(lab, data, run="short", trainer={"trees": 10 * best["epoch"], "learningRate": 0.3}))
    assert lab.get(f"{result.artifact.uri}/model.onnx") == lab.get(f"{short.artifact.uri}/model.onnx")


def test_the_number_of_trees_is_kept_to(lab: Lab) -> None:
    data = dataset(lab, 500)
    for kind, trainer, trees in (
        ("Regression", {"trees": 23}, 23),
        ("Classification", {"trees": 3}, 3),
        ("Classification", {"trees": 12, "target": "carrier", "exclude": []}, 48),
    ):
        result = lab.run(boost(lab, data, kind, run=f"r{trees}", trainer=trainer))
        model = onnx.load_from_string(lab.get(f"{result.artifact.uri}/model.onnx"))
        (node,) = (n for n in model.graph.node if n.op_type == "TreeEnsembleRegressor")
        found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert len(set(found["nodes_treeids"])) == trees
        assert result.epochs == -(-trainer["trees"] // 10)


def test_losses_estimate_what_they_say(lab: Lab) -> None:
    data = dataset_of(lab, hard(4000, seed=2), split={"random": {"validation": 0.2, "test": 0.2}})
    features = {"features": ["wide", "full", "share", "kind"], "exclude": [], "target": "target"}
    test = lab.get_table(f"{data['uri']}/test.parquet")

    def below(trainer: Document, run: str) -> float:
        result = lab.run(boost(lab, data, run=run, trainer={**features, **trainer}))
        scores = lab.run(
            {
                "type": "ScoreBatch",
                "artifact": result.artifact.model_dump(),
                "dataset": data,
                "splits": ["test"],
                "root": f"{lab.root}/batch/{run}",
            }
        )
        predicted = lab.get_table(f"{scores.artifact.uri}/test.parquet")["prediction.prediction"].to_numpy()
        return float(np.mean(test["target"].to_numpy() < predicted))

    assert below({"loss": "Quantile", "quantile": 0.9}, "high") == pytest.approx(0.9, abs=0.07)
    assert below({"loss": "Quantile", "quantile": 0.1}, "low") == pytest.approx(0.1, abs=0.07)
    assert below({"loss": "AbsoluteError"}, "median") == pytest.approx(0.5, abs=0.1)


def test_balanced_classes_find_more_of_the_rare_one(lab: Lab) -> None:
    columns = hard(4000, seed=3)
    columns["side"] = ["rare" if v == "high" and i % 6 == 0 else "usual" for i, v in enumerate(columns["side"])]
    data = dataset_of(lab, columns, split={"random": {"validation": 0.2, "test": 0.2}})
    features = {"features": ["wide", "full", "share", "code", "kind"], "exclude": [], "target": "side"}
    features["trees"] = 40  # many more learn each training row by heart, whatever it weighs
    mean = {}
    for weights in ("None", "Balanced"):
        document = boost(
            lab, data, "Classification", run=weights.lower(), trainer={**features, "classWeights": weights}
        )
        fitted, read, _ = fit(lab, document)
        probability = fitted.target.decode(fitted.raw(read.train.rows))
        mean[weights] = float(probability[:, 0].mean())
    share = float(np.mean(read.train.target == 0))
    assert mean["None"] == pytest.approx(share, abs=0.02), "probabilities are frequencies"
    assert mean["Balanced"] > 2 * share


def test_trees_cannot_be_quantized_or_exported_and_it_is_said_why(lab: Lab) -> None:
    data = dataset(lab, 500)
    model = lab.run(boost(lab, data)).artifact.model_dump()
    optimise = {"type": "OptimiseModel", "artifact": model, "dataset": data, "root": f"{lab.root}/variants"}
    report = lab.run({**optimise, "optimisation": {"name": "int8"}}).report
    assert not report.accepted
    assert report.reason == (
        "nothing to quantize: the model is an ensemble of trees, which compares and adds up and has no matrices"
    )
    export = {"type": "ExportModel", "artifact": model, "export": {"name": "edge"}, "root": f"{lab.root}/exports"}
    with pytest.raises(
        ModelInvalid, match=r"OpenVINO has no operator for decision trees \(TreeEnsembleRegressor\)"
    ) as caught:
        lab.run(export)
    assert caught.value.exit_code == 69, "no other pod could do better"
    assert not lab.list("exports/")


class Enough(Exception):
    """What a search raises when a trial is hopeless."""


def test_a_search_trains_without_publishing_and_hears_of_every_epoch(lab: Lab) -> None:
    task, context = parsed(boost(lab, dataset(lab, 500), gates=[{"metric": "mae", "max": 0.0001}])), lab.context()
    data = training_data.read(task, context)
    heard: list[tuple[int, float]] = []

    def report(epoch: int, loss: float) -> None:
        heard.append((epoch, loss))
        if epoch == 2 and len(heard) == 2:
            raise Enough

    with pytest.raises(Enough):
        train_once(task, data, context, report)
    trained = train_once(task, data, context, report)
    assert [epoch for epoch, _ in heard] == [1, 2, 2, 3, 4, 5, 6], (
        "from the checkpoint on, whose epoch may not have been heard"
    )
    assert heard[1] == heard[2]
    assert heard[-1][1] < heard[0][1]
    fewer = task.model_copy(
        update={"trainer": task.trainer.model_copy(update={"trees": 20}), "run_root": f"{lab.root}/other"}
    )
    assert train_once(fewer, data, context).epochs == 2
    assert trained.epochs == 6
    assert not lab.list("models/"), "nothing is published, and no gate is asked"


def test_flights_are_learnt_better_than_by_a_constant_and_saved_small(lab: Lab) -> None:
    """The whole way once more, with the defaults."""
    data = dataset(lab, 3000)
    document = boost(lab, data)
    document["trainer"] = {"target": "arr_delay", "exclude": ["late"]}
    result = lab.run(document)
    assert result.epochs == 30
    assert result.metrics["test"]["mae"] < 3
    assert result.size_bytes < 2_000_000
