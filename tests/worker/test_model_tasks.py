"""Verify, optimise, export, score, compare and edge bundles, on models trained once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest

from tidemill.contract.results import TrainResult
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import (
    ArtifactCorrupt,
    ColumnMissing,
    GateNotPassed,
    InvalidSpec,
    ObjectNotFound,
)
from tidemill_worker.model.predictor import Predictor

from .lab import Lab
from .samples import Document, Studio, dataset_of, linear, publish_raw, train


def copy_artifact(studio: Studio, result: TrainResult, lab: Lab) -> Document:
    """The artifact at another place, to be damaged there."""
    source = result.artifact.uri.removeprefix(studio.lab.root + "/")
    for name in studio.lab.list(source + "/"):
        lab.put("copy" + name.removeprefix(source), studio.lab.get(f"{studio.lab.root}/{name}"))
    return {"uri": f"{lab.root}/copy", "digest": result.artifact.digest}


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_verify(studio: Studio, kind: str) -> None:
    model = getattr(studio, kind)
    result = studio.lab.run({"type": "VerifyModel", "artifact": model.artifact.model_dump()})
    assert (result.opset, result.outputs) == (17, 1 if kind == "regression" else 2)
    assert result.inputs == (4 if kind == "regression" else 5)
    assert result.size_bytes > model.size_bytes


@pytest.mark.parametrize(
    "name", ["model.onnx", "signature.json", "baseline.json", "calibration.parquet", "manifest.json"]
)
def test_one_changed_byte_is_refused_and_named(studio: Studio, lab: Lab, name: str) -> None:
    ref = copy_artifact(studio, studio.regression, lab)
    body = bytearray(lab.get(f"{lab.root}/copy/{name}"))
    body[len(body) // 3] ^= 1
    lab.put(f"copy/{name}", bytes(body))
    with pytest.raises(ArtifactCorrupt) as caught:
        lab.run({"type": "VerifyModel", "artifact": ref})
    assert f"/copy/{name}" in caught.value.message
    assert caught.value.exit_code == 69
    assert caught.value.reason == "ArtifactCorrupt"


def test_missing_artifacts_and_files(studio: Studio, lab: Lab) -> None:
    ref = copy_artifact(studio, studio.regression, lab)
    lab.seaweed.client.delete_object(Bucket="tidemill", Key=lab.key(f"{lab.root}/copy/baseline.json"))
    with pytest.raises(ArtifactCorrupt, match=r"baseline\.json is listed in the manifest but does not exist"):
        lab.run({"type": "VerifyModel", "artifact": ref})
    with pytest.raises(ObjectNotFound, match=r"has no manifest\.json"):
        lab.run({"type": "VerifyModel", "artifact": {**ref, "uri": f"{lab.root}/nowhere"}})


def optimise(studio: Studio, model: TrainResult, place: str, **more: Any) -> Document:
    return {
        "type": "OptimiseModel",
        "artifact": model.artifact.model_dump(),
        "dataset": studio.data,
        "optimisation": {"name": "int8", "tolerance": {"maxErrorIncrease": 0.05, "maxLatencyRatio": 10}},
        "root": f"{studio.lab.root}/{place}",
        **more,
    }


def test_int8_is_smaller_close_and_servable(studio: Studio) -> None:
    result = studio.lab.run(optimise(studio, studio.regression, "variants/a"))
    report = result.report
    assert report.accepted, report
    assert report.size_bytes_after < report.size_bytes_before
    assert report.metric == "mae"
    assert report.metric_before == pytest.approx(studio.regression.metrics["test"]["mae"], rel=1e-6)
    assert report.error_increase == pytest.approx(
        (report.metric_after - report.metric_before) / report.metric_before, rel=1e-4
    )
    assert report.latency_ms_before > 0
    assert report.latency_ms_after > 0
    proto = onnx.load_from_string(studio.lab.get(f"{result.artifact.uri}/model.onnx"))
    kinds = {node.op_type for node in proto.graph.node}
    assert "QuantizeLinear" in kinds
    assert "LabelEncoder" in kinds
    assert studio.lab.get_json(f"{result.artifact.uri}/report.json")["accepted"] is True
    assert studio.lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()}).inputs == 4
    assert studio.lab.run(optimise(studio, studio.regression, "variants/a")) == result


def test_int8_of_a_classification(studio: Studio) -> None:
    tolerance = {"maxErrorIncrease": 0.5, "maxLatencyRatio": 10}
    more = {"optimisation": {"name": "int8", "calibrationRows": 64, "tolerance": tolerance}}
    result = studio.lab.run(optimise(studio, studio.classification, "variants/b", **more))
    assert result.report.metric == "accuracy"
    assert result.report.accepted


def test_a_variant_outside_its_tolerances_is_stored_but_not_accepted(studio: Studio) -> None:
    more = {"optimisation": {"name": "int8", "tolerance": {"maxErrorIncrease": 0, "maxLatencyRatio": 0.0001}}}
    report = studio.lab.run(optimise(studio, studio.regression, "variants/c", **more)).report
    assert not report.accepted
    assert "maxLatencyRatio 0.0001" in report.reason
    assert f"{report.latency_ms_after:.3g} ms" in report.reason


def test_without_a_dataset_outputs_are_compared(studio: Studio) -> None:
    document = optimise(studio, studio.regression, "variants/d")
    del document["dataset"]
    report = studio.lab.run(document).report
    assert report.metric_before == 0
    assert 0 < report.error_increase < 0.2


def test_a_model_without_matrices_has_no_variant(lab: Lab, studio: Studio) -> None:
    mine = publish_raw(lab, linear(["night", "distance"]))
    document = optimise(studio, mine, "variants/e", root=f"{lab.root}/variants/e")
    del document["dataset"]
    report = lab.run(document).report
    assert not report.accepted
    assert "nothing to quantize" in report.reason


def test_weights_beside_a_model_that_cannot_be_quantized_are_kept(lab: Lab, studio: Studio) -> None:
    model = onnx.load_from_string(linear(["night", "distance"]))
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(weights), "w"))
    output = lab.environment.work_dir / "output"
    output.mkdir(exist_ok=True)
    onnx.save(model, output / "model.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    mine = publish_raw(lab, (output / "model.onnx").read_bytes())
    document = optimise(studio, mine, "variants/f", root=f"{lab.root}/variants/f")
    del document["dataset"]
    result = lab.run(document)
    assert not result.report.accepted
    assert "nothing to quantize" in result.report.reason
    assert result.report.size_bytes_before == result.report.size_bytes_after > len((output / "model.onnx").read_bytes())
    assert lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()}).inputs == 2


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_openvino_export_agrees_and_explains_itself(studio: Studio, kind: str, tmp_path: Path) -> None:
    model = getattr(studio, kind)
    document = {
        "type": "ExportModel",
        "artifact": model.artifact.model_dump(),
        "export": {"name": "edge"},
        "root": f"{studio.lab.root}/exports/{kind}",
    }
    result = studio.lab.run(document)
    assert result.report.accepted
    assert result.report.max_abs_error < 1e-3
    assert result.report.rows_compared == 512
    graph = onnx.load_from_string(studio.lab.get(f"{model.artifact.uri}/model.onnx"))
    assert result.report.size_bytes_before == graph.ByteSize() == model.size_bytes
    assert result.report.latency_ms_before > 0
    assert result.report.latency_ms > 0
    assert result.report.latency_ms_before != result.report.latency_ms
    folder = result.artifact.uri
    for name in ("model.xml", "model.bin", "preprocessing.json", "signature.json", "baseline.json"):
        (tmp_path / name).write_bytes(studio.lab.get(f"{folder}/{name}"))
    steps = json.loads((tmp_path / "preprocessing.json").read_text())
    row = {"dep_delay": 12.0, "distance": 800.0, "night": 1.0, "carrier": "B6", "late": "late", "arr_delay": 9.0}
    feed: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    for step in steps["inputs"]:
        value = row[step["name"]]
        if step["kind"] == "category":
            feed[step["name"]] = np.array([[step["categories"].get(value, step["default"])]], np.int64)
            raw[step["name"]] = np.array([[value]], dtype=object)
        else:
            feed[step["name"]] = raw[step["name"]] = np.array([[value]], np.float32)
    # As the bundle's page says: on a CPU with bfloat16 OpenVINO would compute in that.
    answer = ov.Core().compile_model(tmp_path / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(feed)
    expected = Predictor.of(Artifact(studio.lab.context(), model.artifact, name="model")).run_feed(raw)
    if kind == "regression":
        assert float(answer[0][0, 0]) == pytest.approx(float(expected["prediction"][0, 0]), abs=1e-3)
    else:
        label = steps["outputs"]["label"]
        assert label["classes"][int(np.argmax(answer[label["of"]]))] == expected["label"][0, 0]


def test_an_export_outside_its_tolerance_is_not_accepted_and_not_bundled(studio: Studio) -> None:
    export = {
        "type": "ExportModel",
        "artifact": studio.regression.artifact.model_dump(),
        "export": {"name": "edge", "maxAbsError": 1e-30},
        "root": f"{studio.lab.root}/exports/strict",
    }
    result = studio.lab.run(export)
    assert not result.report.accepted
    assert "more than 1e-30" in result.report.reason
    with pytest.raises(GateNotPassed, match="was not accepted"):
        studio.lab.run(_edge(studio, result))


def _edge(studio: Studio, export: Any) -> Document:
    return {
        "type": "PublishEdge",
        "model": "delay",
        "version": 3,
        "export": export.artifact.model_dump(),
        "format": "OpenVINO",
        "root": f"{studio.lab.root}/edge/gate",
    }


def test_edge_bundle(studio: Studio) -> None:
    export = studio.lab.run(
        {
            "type": "ExportModel",
            "artifact": studio.regression.artifact.model_dump(),
            "export": {"name": "edge"},
            "root": f"{studio.lab.root}/exports/bundle",
        }
    )
    result = studio.lab.run(_edge(studio, export))
    bundle = studio.lab.get_json(f"{result.artifact.uri}/bundle.json")
    assert (bundle["model"], bundle["version"], bundle["format"]) == ("delay", 3, "OpenVINO")
    assert {"model.xml", "model.bin", "preprocessing.json"} <= {f["path"] for f in bundle["files"]}
    manifest = studio.lab.get_json(f"{result.artifact.uri}/manifest.json")
    assert len(manifest["files"]) == result.files
    assert sum(f["size"] for f in manifest["files"]) == result.size_bytes


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_batch_scores_stand_beside_the_rows(studio: Studio, kind: str) -> None:
    model = getattr(studio, kind)
    document = {
        "type": "ScoreBatch",
        "artifact": model.artifact.model_dump(),
        "dataset": studio.data,
        "splits": ["validation", "test"],
        "root": f"{studio.lab.root}/batch/{kind}",
    }
    result = studio.lab.run(document)
    table = studio.lab.get_table(f"{result.artifact.uri}/test.parquet")
    rows = table.num_rows + studio.lab.get_table(f"{result.artifact.uri}/validation.parquet").num_rows
    assert result.rows == rows
    assert "_tidemill_request_id" in table.column_names
    if kind == "regression":
        error = np.abs(table["prediction.prediction"].to_numpy() - table["arr_delay"].to_numpy()).mean()
        assert error == pytest.approx(model.metrics["test"]["mae"], rel=1e-5)
    else:
        assert set(table["prediction.label"].to_pylist()) <= {"AA", "B6", "DL", "UA"}
        assert all(abs(sum(p) - 1) < 1e-5 for p in table["prediction.probabilities"].to_pylist())
    again = studio.lab.run({**document, "root": f"{studio.lab.root}/batch/again-{kind}"})
    assert again.artifact.digest == result.artifact.digest


def test_champion_and_challenger(studio: Studio) -> None:
    worse = studio.lab.run(train(studio.lab, studio.data, run="worse", trainer={"epochs": 1}))
    document = {
        "type": "CompareModels",
        "champion": worse.artifact.model_dump(),
        "challenger": studio.regression.artifact.model_dump(),
        "dataset": studio.data,
        "metric": "mae",
        "root": f"{studio.lab.root}/drift/policy",
    }
    result = studio.lab.run(document)
    champion, challenger = worse.metrics["test"]["mae"], studio.regression.metrics["test"]["mae"]
    assert (result.champion, result.challenger) == (pytest.approx(champion), pytest.approx(challenger))
    assert result.improvement == pytest.approx((champion - challenger) / champion)
    assert result.improvement > 0
    turned = {**document, "champion": document["challenger"], "challenger": document["champion"], "metric": "r2"}
    other = studio.lab.run(turned)
    assert other.improvement == pytest.approx((other.challenger - other.champion) / other.champion)
    assert other.improvement < 0
    assert studio.lab.get_json(f"{result.artifact.uri}/report.json")["rows"] == result.rows
    with pytest.raises(InvalidSpec, match="is not one of"):
        studio.lab.run({**document, "metric": "nosuch"})
    with pytest.raises(InvalidSpec, match="there is no accuracy"):
        studio.lab.run({**document, "metric": "accuracy"})


def test_a_dataset_without_the_models_columns(studio: Studio, lab: Lab) -> None:
    data = dataset_of(lab, {"distance": list(range(50)), "arr_delay": list(range(50))})
    document = {
        "type": "ScoreBatch",
        "artifact": studio.regression.artifact.model_dump(),
        "dataset": data,
        "root": f"{lab.root}/batch/x",
    }
    with pytest.raises(ColumnMissing, match="no column 'dep_delay'"):
        lab.run(document)
