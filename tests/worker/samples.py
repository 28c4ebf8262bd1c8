"""Datasets, models and task documents that several tests use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tidemill.contract.results import TrainResult

from .lab import Lab

Document = dict[str, Any]


def rows(number: int, start: int = 0) -> dict[str, Any]:
    return {
        "id": list(range(start, start + number)),
        "carrier": [("AA", "UA", "DL", None)[i % 4] for i in range(number)],
        "delay": [None if i % 10 == 3 else i * 0.5 - 7 for i in range(number)],
    }


def prepare(lab: Lab, *inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "PrepareDataset",
        "root": f"{lab.root}/datasets/flights",
        "inputs": list(inputs),
        "split": {"random": {"validation": 0.2, "test": 0.1, "seed": 1}},
        **more,
    }


def s3(name: str, uri: str, form: str = "parquet") -> dict[str, Any]:
    return {"name": name, "s3": {"uri": uri, "format": form}}


CSV = "id;carrier;delay\n" + "".join(f"{i};{'AA' if i % 2 else 'UA'};{i / 4}\n" for i in range(50))
JSONL = "".join(json.dumps({"id": i, "carrier": "AA", "delay": i / 4}) + "\n" for i in range(50))


CARRIERS = np.array(["AA", "UA", "DL", "B6"])


def flights(number: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    delay, distance = rng.normal(5, 20, number), rng.integers(100, 3000, number)
    carrier = rng.integers(0, 4, number)
    arrival = delay * 0.9 + np.array([0, 5, -5, 10])[carrier] - distance / 500 + rng.normal(0, 2, number)
    return {
        "dep_delay": [None if i % 17 == 0 else float(v) for i, v in enumerate(delay)],
        "distance": distance.tolist(),
        "night": (rng.random(number) < 0.3).tolist(),
        "carrier": [None if i % 23 == 0 else str(CARRIERS[c]) for i, c in enumerate(carrier)],
        "arr_delay": arrival.tolist(),
        "late": ["late" if v > 15 else "on time" for v in arrival],
        "_tidemill_request_id": [f"r{i}" for i in range(number)],
    }


def dataset(lab: Lab, number: int = 3000, **more: Any) -> dict[str, Any]:
    columns = {**flights(number), **more}
    uri = lab.put_table("raw.parquet", columns)
    result = lab.run(
        {
            "type": "PrepareDataset",
            "root": f"{lab.root}/datasets/flights",
            "inputs": [{"name": "raw", "s3": {"uri": uri}}],
            "split": {"random": {"validation": 0.2, "test": 0.2}},
        }
    )
    reference: dict[str, Any] = result.artifact.model_dump()
    return reference


def train(lab: Lab, data: dict[str, Any], kind: str = "Regression", run: str = "run", **more: Any) -> dict[str, Any]:
    trainer = {
        "target": "arr_delay" if kind == "Regression" else "late",
        "exclude": ["late"] if kind == "Regression" else ["arr_delay"],
        "epochs": 8,
        "hiddenLayers": [32, 16],
        "batchSize": 128,
        "learningRate": 0.01,
        "seed": 3,
        **more.pop("trainer", {}),
    }
    return {
        "type": "TrainModel",
        "task": kind,
        "dataset": data,
        "trainer": trainer,
        "runRoot": f"{lab.root}/runs/{run}/uid",
        "modelRoot": f"{lab.root}/models/delay/{run}-uid",
        **more,
    }


def boost(lab: Lab, data: dict[str, Any], kind: str = "Regression", run: str = "run", **more: Any) -> dict[str, Any]:
    """A training of boosted trees: 60 of them, six epochs."""
    trainer = {
        "target": "arr_delay" if kind == "Regression" else "late",
        "exclude": ["late"] if kind == "Regression" else ["arr_delay"],
        "trees": 60,
        "learningRate": 0.1,
        "seed": 3,
        **more.pop("trainer", {}),
    }
    document = {
        "type": "TrainModel",
        "task": kind,
        "dataset": data,
        "family": "boosted",
        "trainer": trainer,
        "runRoot": f"{lab.root}/runs/{run}/uid",
        "modelRoot": f"{lab.root}/models/delay/{run}-uid",
    }
    return {**document, **more}


def publish_raw(
    lab: Lab, body: bytes, columns: Document | None = None, *, task: Document | None = None, **more: Any
) -> TrainResult:
    """What a user's container left in the output folder becomes a model artifact."""
    work = lab.environment.work_dir
    (work / "output").mkdir(exist_ok=True)
    (work / "output/model.onnx").write_bytes(body)
    data = dataset(lab, 300) if columns is None else dataset_of(lab, columns)
    result = lab.run(
        {
            "type": "PublishModel",
            "dataset": data,
            "trainer": {"image": "mine", "target": "arr_delay", **more},
            "runRoot": f"{lab.root}/runs/mine/run-uid",
            "modelRoot": f"{lab.root}/models/mine/run-uid",
            **(task or {}),
        }
    )
    assert isinstance(result, TrainResult)
    return result


def dataset_of(lab: Lab, columns: Document, **more: Any) -> Document:
    uri = lab.put_table("raw.parquet", columns)
    document = {
        "type": "PrepareDataset",
        "root": f"{lab.root}/datasets/own",
        "inputs": [{"name": "raw", "s3": {"uri": uri}}],
        "split": {"random": {}},
        **more,
    }
    reference: Document = lab.run(document).artifact.model_dump()
    return reference


def linear(inputs: list[str], *, matrix: bool = False, kind: int = TensorProto.FLOAT, batch: Any = "n") -> bytes:
    width = len(inputs)
    weights = helper.make_tensor("w", kind, [width, 1], [0.5] * width)
    if matrix:
        values = [helper.make_tensor_value_info("x", kind, [batch, width])]
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    else:
        values = [helper.make_tensor_value_info(name, kind, [batch, 1]) for name in inputs]
        nodes = [helper.make_node("Concat", inputs, ["x"], axis=1), helper.make_node("MatMul", ["x", "w"], ["y"])]
    output = helper.make_tensor_value_info("y", kind, [batch, 1])
    graph = helper.make_graph(nodes, "linear", values, [output], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@dataclass
class Studio:
    """A dataset, a regression and a classification."""

    lab: Lab
    data: Document
    regression: TrainResult
    classification: TrainResult
