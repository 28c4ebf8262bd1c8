"""What a training leaves of an evaluation, for built-in trainers and for users' models, and what it is worth as a gate."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidemill.contract.evaluation import Explanation
from tidemill.contract.model import Evaluation
from tidemill.contract.results import TrainResult
from tidemill_worker.errors import GateNotPassed

from .lab import Lab
from .samples import Document, Studio, dataset, linear, publish_raw, train

EVERYTHING: Document = {
    "slices": ["carrier", "distance", "night"],
    "fairness": {"groups": ["carrier", "night"], "favorable": "on time"},
    "confidence": {"resamples": 200},
    "explain": {"method": "SHAP", "rows": 300, "shapRows": 20},
    "threshold": {"choose": "MinRecall", "atLeast": 0.9, "positive": "late"},
}


def evaluation_of(lab: Lab, result: TrainResult) -> Evaluation:
    return Evaluation.model_validate(lab.get_json(f"{result.artifact.uri}/evaluation.json"))


def explanation_of(lab: Lab, result: TrainResult) -> Explanation:
    return Explanation.model_validate(lab.get_json(f"{result.artifact.uri}/explanation.json"))


def files_of(lab: Lab, result: TrainResult) -> set[str]:
    return {entry["path"] for entry in lab.get_json(f"{result.artifact.uri}/manifest.json")["files"]}


def test_a_regression_with_everything(lab: Lab) -> None:
    options = {**EVERYTHING, "fairness": {"groups": ["night"]}}
    del options["threshold"]
    result = lab.run(train(lab, dataset(lab), evaluation=options))
    found = evaluation_of(lab, result)
    assert found.metrics == result.metrics
    assert found.confidence == 0.95
    assert set(found.details) == {"validation", "test"}
    details = found.details["test"]
    assert set(details.intervals) == set(found.metrics["test"])
    for name, (low, high) in details.intervals.items():
        assert low <= found.metrics["test"][name] <= high, name
    assert {s.column for s in details.slices} == set(options["slices"])
    parts = {s.value: s for s in details.slices if s.column == "carrier"}
    assert set(parts) == {"AA", "B6", "DL", "UA", "(missing)"}
    assert sum(s.rows for s in parts.values()) == found.rows["test"]
    quarters = [s for s in details.slices if s.column == "distance"]
    assert [s.value for s in quarters] == ["Q1", "Q2", "Q3", "Q4"]
    assert quarters[0].high == quarters[1].low
    assert details.residuals is not None
    assert details.confusion is None
    assert {g.value for g in details.fairness[0].groups} == {"false", "true"}
    explanation = explanation_of(lab, result)
    assert explanation.split == "validation"
    assert {i.column for i in explanation.importances} == {"dep_delay", "distance", "night", "carrier"}
    assert explanation.importances[0].column == "dep_delay"
    assert explanation.shapley is not None
    assert len(explanation.shapley.rows) == 20
    assert explanation.shapley.columns[0] == "dep_delay"
    for row in explanation.shapley.rows:
        assert row.output == pytest.approx(row.base + sum(row.shares), abs=0.01)
    assert files_of(lab, result) >= {
        "evaluation.html", "explanation.json", "evaluation/residuals.png", "evaluation/bands.png", "evaluation/slices.png",
        "evaluation/importance.png", "evaluation/shapley.png", "evaluation/fairness-0.png",
    }  # fmt: skip


def test_a_classification_with_everything(lab: Lab) -> None:
    result = lab.run(train(lab, dataset(lab), "Classification", evaluation=EVERYTHING))
    body = lab.get(f"{result.artifact.uri}/evaluation.json")
    found = Evaluation.model_validate_json(body)
    details = found.details["test"]
    assert {c.name for c in details.classes} == {"late", "on time"}
    assert details.confusion is not None
    assert np.sum(details.confusion.counts) == found.rows["test"]
    assert details.calibration is not None
    assert details.curves is not None
    assert details.curves.positive == "on time"
    assert {f.column for f in details.fairness} == {"carrier", "night"}
    assert {"demographicParityDifference", "equalOpportunityDifference"} <= set(details.fairness[0].measures)
    threshold = found.threshold
    assert threshold is not None
    assert threshold.threshold is not None
    recall = threshold.chosen["validation"].recall
    assert recall is not None
    assert recall >= 0.9
    assert explanation_of(lab, result).metric == "logLoss"
    assert len(body) < 200_000
    page = lab.get(f"{result.artifact.uri}/evaluation.html").decode()
    assert page.count("<svg") == page.count("</svg>") == 8
    for words in ("Threshold for late", "Groups of carrier", "Slices", "Which columns matter", "95 % interval"):
        assert words in page
    assert "http://" not in page.replace("http://www.w3.org/", ""), "nothing is loaded from anywhere"
    assert "<script" not in page
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names)), "pictures do not disturb each other"
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', page)) <= set(names)
    picture = lab.get(f"{result.artifact.uri}/evaluation/confusion.png")
    assert picture.startswith(b"\x89PNG")


def test_the_report_stays_small_with_as_much_as_can_be_asked_for(lab: Lab) -> None:
    random = np.random.default_rng(0)
    more = {
        f"a_rather_long_column_name_{k}": [f"value {v} of it" for v in random.integers(0, 40, 2500)] for k in range(16)
    }
    data = dataset(lab, 2500, **more)
    options = {
        "slices": list(more),
        "confidence": {"resamples": 20},
        "explain": {"method": "None"},
        "fairness": {"groups": ["carrier"], "favorable": "on time"},
    }
    trainer = {"epochs": 1, "exclude": ["arr_delay", *more]}
    result = lab.run(train(lab, data, "Classification", trainer=trainer, evaluation=options))
    body = lab.get(f"{result.artifact.uri}/evaluation.json")
    slices = json.loads(body)["details"]["test"]["slices"]
    assert len(slices) == 16 * 11, "ten values and all others"
    assert len(body) < 200_000
    assert "explanation.json" not in files_of(lab, result)


def test_equal_runs_leave_equal_bytes(lab: Lab) -> None:
    data = dataset(lab, 800)
    first, second = (lab.run(train(lab, data, run=run, evaluation=EVERYTHING, kind="Classification")) for run in "ab")
    assert first.artifact.digest == second.artifact.digest


def test_nothing_is_drawn_or_explained_when_that_is_not_wanted(lab: Lab) -> None:
    options = {
        "html": False,
        "pictures": False,
        "explain": {"method": "None"},
        "confidence": {"resamples": 0},
    }
    result = lab.run(train(lab, dataset(lab, 300), evaluation=options))
    assert not {name for name in files_of(lab, result) if name.startswith(("evaluation/", "evaluation.html", "expl"))}
    found = evaluation_of(lab, result)
    assert found.confidence is None
    assert found.details["test"].intervals == {}


def test_a_column_called_like_markup_is_only_a_name(lab: Lab) -> None:
    name = "<b>$x_1^</b>&"
    columns = {name: [f"<i>{i % 3}" for i in range(300)]}
    options = {"slices": [name], "confidence": {"resamples": 20}, "explain": {"method": "SHAP", "shapRows": 5}}
    result = lab.run(train(lab, dataset(lab, 300, **columns), evaluation=options))
    page = lab.get(f"{result.artifact.uri}/evaluation.html").decode()
    assert name not in page
    assert "&lt;b&gt;$x_1^&lt;/b&gt;&amp;" in page


def test_gates_on_slices_and_groups(lab: Lab) -> None:
    data, options = dataset(lab, 1500), {**EVERYTHING, "explain": {"method": "None"}, "pictures": False}
    gates = [
        {"metric": "accuracy", "min": 0.99, "slice": {"column": "distance", "value": "Q4"}},
        {"metric": "accuracy", "min": 0.5, "slice": {"column": "carrier", "value": "AA"}, "split": "validation"},
        {"metric": "demographicParityDifference", "max": 0.01, "group": "carrier"},
        {"metric": "demographicParityRatio", "min": 0.2, "group": "night"},
    ]
    with pytest.raises(GateNotPassed) as caught:
        lab.run(train(lab, data, "Classification", evaluation=options, gates=gates))
    assert "test accuracy where distance is Q4 is" in caught.value.message
    assert "test demographicParityDifference between the groups of carrier is" in caught.value.message
    assert "AA" not in caught.value.message
    assert "Ratio" not in caught.value.message
    assert caught.value.field == "spec.gates[0]"
    assert not lab.list("models/")


def test_a_users_model_is_explained_like_any_other(lab: Lab) -> None:
    options = {"explain": {"method": "SHAP", "shapRows": 10}, "slices": ["carrier"], "confidence": {"resamples": 50}}
    result = publish_raw(lab, linear(["night", "distance"]), task={"evaluation": options})
    explanation = explanation_of(lab, result)
    assert [i.column for i in explanation.importances] == ["distance", "night"]
    assert explanation.shapley is not None
    assert explanation.shapley.columns[0] == "distance"
    assert evaluation_of(lab, result).details["test"].slices
    assert "evaluation.html" in files_of(lab, result)


def production(result: TrainResult) -> Document:
    return {"name": "delay-v1", "uri": result.artifact.uri, "digest": result.artifact.digest}


def test_the_new_model_beside_the_one_in_production(studio: Studio) -> None:
    lab = studio.lab
    document = train(lab, studio.data, run="beside", trainer={"epochs": 1}, production=production(studio.regression))
    result = lab.run(document)
    found = evaluation_of(lab, result).production
    assert found is not None
    assert (found.champion, found.split, found.rows) == ("delay-v1", "test", evaluation_of(lab, result).rows["test"])
    mae = found.improvements["mae"]
    assert mae.champion == pytest.approx(studio.regression.metrics["test"]["mae"])
    assert mae.challenger == pytest.approx(result.metrics["test"]["mae"])
    assert mae.improvement < 0
    assert mae.interval is not None
    assert mae.interval[0] < mae.improvement < mae.interval[1] < 0
    assert mae.better == 0
    assert "of delay-v1 on" in result.comparison
    assert f"{mae.improvement:+.2%} [" in result.comparison
    assert "Beside delay-v1" in lab.get(f"{result.artifact.uri}/evaluation.html").decode()
    assert lab.run(document) == result


@pytest.mark.parametrize("which", ["classification", "gone"])
def test_a_production_that_cannot_be_compared_is_a_warning(studio: Studio, which: str) -> None:
    lab = studio.lab
    other = production(studio.classification)
    if which == "gone":
        other = {**other, "uri": f"{lab.root}/nowhere"}
    result = lab.run(train(lab, studio.data, run=f"odd-{which}", trainer={"epochs": 1}, production=other))
    (warning,) = result.warnings
    assert "spec.evaluation.compareWith: delay-v1, which is in Production, is not compared" in warning
    assert ("it is a Classification of carrier" if which == "classification" else "does not exist") in warning
    assert evaluation_of(lab, result).production is None
    assert result.comparison == ""


def test_a_variant_does_not_carry_the_page_of_the_original(studio: Studio) -> None:
    lab = studio.lab
    assert "evaluation.html" in files_of(lab, studio.regression)
    tolerance = {"maxErrorIncrease": 1, "maxLatencyRatio": 10}
    document = {
        "type": "OptimiseModel",
        "artifact": studio.regression.artifact.model_dump(),
        "optimisation": {"name": "int8", "tolerance": tolerance},
        "root": f"{lab.root}/variants/plain",
    }
    result: Any = lab.run(document)
    names = files_of(lab, result)
    assert "model.onnx" in names
    assert not {name for name in names if name.startswith(("evaluation.html", "evaluation/", "explanation"))}


def test_the_page_needs_no_file_beside_it(studio: Studio, tmp_path: Path) -> None:
    page = studio.lab.get(f"{studio.classification.artifact.uri}/evaluation.html")
    (tmp_path / "evaluation.html").write_bytes(page)
    assert b"src=" not in page
    assert b'xlink:href="http' not in page
    assert len(page) < 600_000
