"""Trainings with preprocessing: what is served, what is learnt of which rows, and what can be made of the model."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import onnx
import pytest

from tidemill.contract.model import Signature
from tidemill.contract.results import TrainResult
from tidemill_worker.model.quantize import layers

from .lab import Lab
from .samples import Document, dataset_of, flights, train

REMARKS = ("Crew late, again", "de-icing", "on time", "", "Störung: Gepäck", "late crew")


def remarked(number: int, seed: int = 0) -> Document:
    """Flights with a free text that tells something, and a high-cardinality text that tells nothing."""
    rng = np.random.default_rng(seed)
    remark = rng.integers(0, len(REMARKS), number)
    columns = flights(number, seed)
    delay = np.array(columns["arr_delay"]) + np.where(np.isin(remark, (0, 5)), 40, 0)
    return {
        **columns,
        "remark": [REMARKS[r] for r in remark],
        "tail": [f"N{t}" for t in rng.integers(0, number // 2, number)],
        "month": rng.integers(1, 13, number).tolist(),
        "arr_delay": delay.tolist(),
        "late": ["late" if v > 15 else "on time" for v in delay],
    }


ALL = [
    {"columns": ["dep_delay"], "impute": {"strategy": "Mean", "indicator": True}},
    {"columns": ["dep_delay"], "scale": {"method": "Quantile"}},
    {"columns": ["distance"], "bucketize": {"quantiles": 8}},
    {"columns": ["month"], "oneHot": {}},
    {"columns": ["tail"], "targetEncode": {}},
    {"columns": ["remark"], "embedText": {"dimensions": 4}},
    {"columns": ["carrier"], "hash": {"buckets": 16}},
]
NUMERIC = [entry for entry in ALL if not {"hash", "embedText"} & set(entry)]
NUMERIC += [{"columns": ["carrier"], "impute": {"strategy": "MostFrequent"}}, {"columns": ["carrier"], "ordinal": {}}]


def graph_of(lab: Lab, result: TrainResult) -> bytes:
    return lab.get(f"{result.artifact.uri}/model.onnx")


@pytest.mark.parametrize("kind", ["Regression", "Classification"])
def test_a_model_of_all_transforms_takes_the_raw_columns(lab: Lab, kind: str) -> None:
    data = dataset_of(lab, remarked(3000), split={"random": {"validation": 0.2, "test": 0.2}})
    result = lab.run(train(lab, data, kind, trainer={"preprocessing": ALL}))
    signature = Signature.model_validate(lab.get_json(f"{result.artifact.uri}/signature.json"))
    assert {i.name: i.datatype for i in signature.inputs} == {
        "dep_delay": "FP32", "distance": "FP32", "night": "FP32", "month": "FP32",
        "carrier": "BYTES", "remark": "BYTES", "tail": "BYTES",
    }  # fmt: skip
    metrics = result.metrics["test"]
    assert metrics["r2"] > 0.85 if kind == "Regression" else metrics["accuracy"] > 0.85
    again = lab.run(train(lab, data, kind, run="again", trainer={"preprocessing": ALL}))
    assert again.artifact.digest == result.artifact.digest
    verified = lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()})
    assert verified.inputs == 7


def test_only_the_embedded_text_tells_of_the_crew(lab: Lab) -> None:
    data = dataset_of(lab, remarked(3000), split={"random": {"validation": 0.2, "test": 0.2}})
    error = {}
    for name, more in (("with", {}), ("without", {"exclude": ["late", "remark"]})):
        spec = [entry for entry in ALL if name == "with" or entry["columns"] != ["remark"]]
        error[name] = lab.run(train(lab, data, run=name, trainer={"preprocessing": spec, **more})).metrics["test"][
            "mae"
        ]
    assert error["with"] < error["without"] / 2, error


def test_nothing_is_learnt_of_test_rows(lab: Lab) -> None:
    """Other test rows, and more of them, of other sizes, categories and targets: the same bytes of the graph."""
    columns = remarked(1200)
    graphs = []
    for changed in (False, True):
        shown: dict[str, list[Any]] = {name: list(values) for name, values in columns.items()}
        shown["time"] = list(range(1200))
        if changed:
            for row in range(1000, 1200):
                shown["dep_delay"][row], shown["distance"][row], shown["month"][row] = 1e6, None, 99
                shown["carrier"][row], shown["remark"][row], shown["tail"][row] = "ZZ", "unheard of", "new"
                shown["arr_delay"][row] = 1e6
        split = {"byTime": {"column": "time", "testRows": 200, "validation": 0.2, "validationRows": "Newest"}}
        data = dataset_of(lab, shown, split=split)
        spec = {"preprocessing": ALL, "exclude": ["late", "time"]}
        result = lab.run(train(lab, data, run=f"changed-{changed}", trainer=spec))
        assert len(lab.get_table(f"{data['uri']}/test.parquet")) == 200
        graphs.append(hashlib.sha256(graph_of(lab, result)).hexdigest())
    assert graphs[0] == graphs[1]


def test_of_validation_rows_only_the_best_epoch_is_learnt(lab: Lab) -> None:
    """Without patience there is none."""
    columns = remarked(1200)
    graphs = []
    for changed in (False, True):
        shown: dict[str, list[Any]] = {name: list(values) for name, values in columns.items()}
        shown["time"] = list(range(1200))
        for row in range(900, 1200) if changed else ():
            shown["carrier"][row], shown["remark"][row], shown["distance"][row] = "ZZ", "unheard of", 7
        split = {"byTime": {"column": "time", "testRows": 100, "validation": 0.2, "validationRows": "Newest"}}
        data = dataset_of(lab, shown, split=split)
        assert min(lab.get_table(f"{data['uri']}/validation.parquet")["time"].to_pylist()) < 900
        spec = {"preprocessing": ALL, "exclude": ["late", "time"]}
        graphs.append(graph_of(lab, lab.run(train(lab, data, run=f"changed-{changed}", trainer=spec))))
    assert graphs[0] == graphs[1]


def test_columns_without_an_entry_are_treated_as_ever(lab: Lab) -> None:
    data = dataset_of(lab, remarked(500), split={"random": {"validation": 0.2, "test": 0.2}})
    spec = [{"columns": ["tail"], "targetEncode": {}}, {"columns": ["month"], "oneHot": {}}]
    result = lab.run(train(lab, data, trainer={"preprocessing": spec, "epochs": 2}))
    names = {node.name for node in onnx.load_from_string(graph_of(lab, result)).graph.node}
    assert {"pre/scaled", "pre/text/0/code", "pre/text/1/code", "pre/0/targetEncode/0/code"} <= names
    assert "pre/1/oneHot/0/one-hot" in names
    plain = onnx.load_from_string(graph_of(lab, lab.run(train(lab, data, run="plain", trainer={"epochs": 2}))))
    assert {o.domain for o in plain.opset_import} == {"", "ai.onnx.ml"}


def test_variants_keep_off_the_preprocessing_and_edge_exports_agree(lab: Lab) -> None:
    data = dataset_of(lab, remarked(2000), split={"random": {"validation": 0.2, "test": 0.2}})
    spec = {"preprocessing": NUMERIC, "exclude": ["late", "remark"], "hiddenLayers": [64, 64]}
    model = lab.run(train(lab, data, trainer=spec))
    assert all(name.startswith("net/") for name in layers(onnx.load_from_string(graph_of(lab, model))))
    artifact = model.artifact.model_dump()
    export = {"type": "ExportModel", "artifact": artifact, "export": {"name": "edge"}, "root": f"{lab.root}/exports"}
    report = lab.run(export).report
    assert report.accepted
    assert report.max_abs_error < 1e-3
    assert report.rows_compared == 512


def test_a_model_with_text_inside_can_be_quantized(lab: Lab) -> None:
    data = dataset_of(lab, remarked(2000), split={"random": {"validation": 0.2, "test": 0.2}})
    spec = [{**e, "embedText": {"maxTerms": 64, "dimensions": 10}} if "embedText" in e else e for e in ALL]
    model = lab.run(train(lab, data, trainer={"preprocessing": spec, "hiddenLayers": [64, 64]}))
    optimise = {
        "type": "OptimiseModel",
        "artifact": model.artifact.model_dump(),
        "dataset": data,
        "optimisation": {"name": "int8", "tolerance": {"maxErrorIncrease": 0.1, "maxLatencyRatio": 10}},
        "root": f"{lab.root}/variants",
    }
    result = lab.run(optimise)
    assert result.report.accepted, result.report
    proto = onnx.load_from_string(lab.get(f"{result.artifact.uri}/model.onnx"))
    kinds = {node.name: node.op_type for node in proto.graph.node}
    assert "QuantizeLinear" in kinds.values()
    assert kinds["pre/5/embedText/0/reduced"] == "MatMul", "the singular vectors are left alone"
