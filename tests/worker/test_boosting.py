"""Boosted trees against a real store: quality, exact parity, resume, the same bytes everywhere, what follows them."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pytest

from tidemill.contract.model import Baseline, Signature
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import TASK, TrainModel
from tidemill_worker.context import Context
from tidemill_worker.errors import ModelInvalid
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.train import boosting, graph
from tidemill_worker.train import data as training_data
from tidemill_worker.train.boosting import FittedForest, forest
from tidemill_worker.train.data import TrainingData
from tidemill_worker.train.trained import train as train_once

from .lab import OWNER, Lab
from .samples import CARRIERS, boost, dataset, dataset_of

Document = dict[str, Any]


def lines_of(lab: Lab, run: str = "run") -> list[Document]:
    text = lab.get(f"{lab.root}/runs/{run}/uid/metrics.jsonl").decode()
    return [json.loads(line) for line in text.splitlines()]


def parsed(document: Document) -> TrainModel:
    task = TASK.validate_python({"owner": OWNER, **document})
    assert isinstance(task, TrainModel)
    return task


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


HARD = 10_000
CODES = [f"c{i}" for i in range(80)]


def hard(number: int, seed: int) -> Document:
    """Columns of all magnitudes, with missing values and many categories."""
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=number) * 10.0 ** rng.integers(-6, 7, number)
    wide[rng.random(number) < 0.1] = np.nan
    full, share = rng.integers(0, 1000, number).astype(float), rng.random(number)
    code, kind = rng.integers(0, len(CODES), number), rng.integers(0, 5, number)
    target = np.nan_to_num(np.sign(wide) * np.log1p(np.abs(wide))) + full / 300 + np.sin(code) * 3
    target += (kind == 2) * share * 4 + rng.normal(size=number) * 0.3
    return {
        "wide": wide.tolist(),
        "full": full.tolist(),
        "share": share.tolist(),
        "code": [None if i % 20 == 0 else CODES[c] for i, c in enumerate(code)],
        "kind": [f"k{k}" for k in kind],
        "target": target.tolist(),
        "side": np.where(target > np.quantile(target, 0.8), "high", "low").tolist(),
        "quarter": [f"q{q}" for q in np.digitize(target, np.quantile(target, [0.25, 0.5, 0.75]))],
    }


def nasty(number: int, thresholds: np.ndarray) -> pa.Table:
    """Rows unlike those of training: unseen categories, infinities, extremes, denormals, values on the very thresholds."""
    columns = hard(number, seed=99)
    edge = np.resize(thresholds, number)
    for name in ("wide", "full", "share"):
        values = np.array(columns[name], dtype=np.float64)
        for offset, value in enumerate((np.inf, -np.inf, np.nan, 3e38, -3e38, 1e300, 1e-42, -1e-42, 0.0, -0.0)):
            values[offset::97] = value
        values[20::97] = edge[20::97]
        values[21::97] = np.nextafter(edge[21::97], np.float32(np.inf))
        values[22::97] = np.nextafter(edge[22::97], np.float32(-np.inf))
        columns[name] = values.tolist()
    columns["code"][::13] = ["never seen"] * len(columns["code"][::13])
    columns["kind"][::17] = [""] * len(columns["kind"][::17])
    return pa.table(columns)


def fit(lab: Lab, document: Document) -> tuple[FittedForest, TrainingData, Context]:
    """Training alone, without export."""
    task, context = parsed(document), lab.context()
    data = training_data.read(task, context)
    return boosting.fit(data, task, context, lambda _epoch, _loss: None), data, context


OBJECTIVES: list[tuple[str, Document]] = [
    ("Regression", {"target": "target"}),
    ("Regression", {"target": "target", "loss": "AbsoluteError"}),
    ("Regression", {"target": "target", "loss": "Huber", "l1": 0.1, "l2": 1.0, "maxDepth": 4}),
    ("Regression", {"target": "target", "loss": "Quantile", "quantile": 0.9}),
    ("Classification", {"target": "side"}),
    ("Classification", {"target": "side", "classWeights": "Balanced"}),
    ("Classification", {"target": "quarter", "trees": 30}),
]


@pytest.mark.parametrize(
    ("kind", "trainer"), OBJECTIVES, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)
def test_every_row_takes_the_same_way_in_onnx_as_in_lightgbm(lab: Lab, kind: str, trainer: Document) -> None:
    """10,000 rows of the worst kind; a single wrong turn would show as the difference between two leaves."""
    data = dataset_of(lab, hard(HARD, seed=1))
    features = {
        "features": ["wide", "full", "share", "code", "kind"],
        "exclude": [],
        "subsample": 0.8,
        "featureFraction": 0.8,
    }
    fitted, read, context = fit(lab, boost(lab, data, kind, trainer={**features, **trainer}))
    trees = fitted.trees()
    assert sum(bool(codes) for tree in trees for codes in tree.codes) > 20, "categories are split on"
    assert max(len(codes) for tree in trees for codes in tree.codes) > 8, "and not one by one"
    thresholds = np.concatenate([tree.threshold for tree in trees])
    rows = nasty(10_000, thresholds[np.isfinite(thresholds)])
    place = context.folder("model") / "model.onnx"
    graph.save(fitted.export(), place)
    wanted = fitted.target.decode(fitted.raw(rows))
    unit = fitted.target.scale if kind == "Regression" else 1.0
    leaf = np.concatenate([np.abs(np.diff(np.unique(tree.leaf))) for tree in trees])
    predictor = Predictor(place, read.signature())
    for threads in (1, 3):  # a server may use several
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        predictor.session = ort.InferenceSession(str(place), options)
        name = "prediction" if kind == "Regression" else "probabilities"
        found = predictor.run(rows)[name]
        error = np.max(np.abs(found.reshape(wanted.shape) - wanted)) / unit
        assert error < 5e-6, f"{error:.3g} of the target's deviation, {threads} threads"
        assert error < np.median(leaf) / 50, "two leaves differ by far more"
        single = np.concatenate([predictor.run(rows.slice(i, 1))[name] for i in range(100)])
        np.testing.assert_allclose(single, found[:100], rtol=1e-5, atol=1e-5 * unit)


def test_thresholds_are_rounded_down() -> None:
    exact = np.array([0.1, 1.0, -0.1, 1e-50, -1e-50, 1e300, -1e300, 16777217.0])
    rounded = forest.round_down(exact)
    limit = np.finfo(np.float32).max
    assert (rounded.astype(np.float64)[:5] <= exact[:5]).all()
    assert (np.nextafter(rounded[:5], np.float32(np.inf)).astype(np.float64) > exact[:5]).all()
    assert (rounded[1], rounded[5], rounded[7]) == (1.0, limit, 16777216.0)
    assert rounded[6] == -np.inf, "below every finite number"


def test_the_same_bytes_for_any_number_of_threads_and_any_cadence_of_checkpoints(lab: Lab) -> None:
    data = dataset(lab, 3000)
    sampled = {"subsample": 0.7, "featureFraction": 0.7}
    first = lab.run(boost(lab, data, run="a", trainer=sampled))
    threads = lab.with_environment(cpus=3).run(boost(lab, data, run="b", trainer=sampled))
    rare = lab.run(boost(lab, data, run="c", trainer=sampled, checkpoint={"everyEpochs": 4}))
    assert threads.artifact.digest == rare.artifact.digest == first.artifact.digest
    assert lab.run(boost(lab, data, run="d", trainer={**sampled, "seed": 4})).artifact.digest != first.artifact.digest


def _wait_for_epoch(lab: Lab, run: str, epoch: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if f"runs/{run}/uid/checkpoints/latest.json" in lab.list(f"runs/{run}/"):
            latest = lab.get_json(f"{lab.root}/runs/{run}/uid/checkpoints/latest.json")
            if latest["epoch"] >= epoch:
                return
        time.sleep(0.01)
    assert process.poll() is None, "the training ended before it could be interrupted"
    raise AssertionError("no checkpoint in 90 seconds")


LONG = {"trees": 240, "subsample": 0.8, "featureFraction": 0.8, "patience": 50}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Regression", "Classification"])
def test_killed_at_random_epochs_it_ends_as_if_nothing_had_happened(lab: Lab, kind: str) -> None:
    data = dataset(lab, 3000)
    more = LONG if kind == "Regression" else {**LONG, "target": "carrier", "exclude": []}
    smooth = lab.run(boost(lab, data, kind, run="smooth", trainer=more))
    document = boost(lab, data, kind, run="rough", trainer=more)
    command, variables, log = lab.command(document)
    for epoch in sorted(random.Random(7).sample(range(2, 12), 2)):
        process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_epoch(lab, "rough", epoch, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert not log.exists()
    code, rough, output = lab.process(document)
    assert code == 0, output
    assert isinstance(rough, TrainResult)
    assert "resumed from checkpoint" in output
    assert (rough.metrics, rough.epochs) == (smooth.metrics, smooth.epochs)
    assert rough.artifact.digest == smooth.artifact.digest


def test_sigterm_saves_the_last_epoch_and_exits_143(lab: Lab) -> None:
    data = dataset(lab, 2000)
    document = boost(lab, data, trainer={"trees": 10_000}, checkpoint={"everyEpochs": 3})
    command, variables, log = lab.command(document)
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _wait_for_epoch(lab, "run", 6, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 143
    assert not log.exists()
    last = [json.loads(line) for line in errors.splitlines() if b'"epoch"' in line]
    assert last[-1]["message"] == "checkpoint kept for the next pod"
    latest = lab.get_json(f"{lab.root}/runs/run/uid/checkpoints/latest.json")
    assert latest["epoch"] == last[-1]["epoch"] >= 6
    assert lines_of(lab)[-1]["epoch"] == latest["epoch"]


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
    assert [epoch for epoch, _ in heard] == [1, 2, 3, 4, 5, 6], "it went on from the checkpoint"
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
