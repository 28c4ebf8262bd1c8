"""Small tabular models as artifacts in a real store: y = scale · (distance + hour) + a number for the carrier."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tidemill.contract.manifest import MANIFEST, FileEntry, Manifest
from tidemill.contract.model import Baseline, FeatureBaseline, Signature, TensorSpec

CARRIERS = ("AA", "DL", "UA")
EDGES = tuple(float(edge) for edge in range(100, 1000, 100))
HOURS = (6.0, 9.0, 12.0, 18.0)


def onnx_model(scale: float, *, padding: int = 0, nan: bool = False) -> bytes:
    """The graph. `padding` adds so many bytes of weights; `nan` makes every answer NaN."""
    column = ("N", 1)
    nodes = [
        helper.make_node("Cast", ["hour"], ["hour_f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["distance", "hour_f"], ["sum"]),
        helper.make_node("Mul", ["sum", "scale"], ["scaled"]),
        helper.make_node(
            "LabelEncoder",
            ["carrier"],
            ["bonus"],
            domain="ai.onnx.ml",
            keys_strings=list(CARRIERS),
            values_floats=[1.0, 2.0, 3.0],
            default_float=0.0,
        ),
        helper.make_node("Add", ["scaled", "bonus"], ["plain"]),
        helper.make_node("Add", ["plain", "zero"], ["delay"]),
    ]
    zero = np.full((1,), np.nan if nan else 0.0, dtype=np.float32)
    initializers = [
        onnx.numpy_helper.from_array(np.full((1,), scale, dtype=np.float32), "scale"),
        onnx.numpy_helper.from_array(zero, "zero"),
    ]
    if padding:
        nodes.append(helper.make_node("Slice", ["padding", "start", "end"], ["none"]))
        nodes.append(helper.make_node("ReduceSum", ["none"], ["nothing"], keepdims=0))
        nodes[5] = helper.make_node("Add", ["plain", "zero"], ["almost"])
        nodes.append(helper.make_node("Add", ["almost", "nothing"], ["delay"]))
        noise = np.random.default_rng(0).normal(size=padding // 4).astype(np.float32)
        initializers += [
            onnx.numpy_helper.from_array(noise, "padding"),
            onnx.numpy_helper.from_array(np.array([0], dtype=np.int64), "start"),
            onnx.numpy_helper.from_array(np.array([0], dtype=np.int64), "end"),
        ]
    graph = helper.make_graph(
        nodes,
        "delay",
        [
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, column),
            helper.make_tensor_value_info("hour", TensorProto.INT64, column),
            helper.make_tensor_value_info("carrier", TensorProto.STRING, column),
        ],
        [helper.make_tensor_value_info("delay", TensorProto.FLOAT, column)],
        initializers,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def expected(scale: float, distance: float, hour: int, carrier: str) -> float:
    """What the model answers."""
    return scale * (distance + hour) + (CARRIERS.index(carrier) + 1.0 if carrier in CARRIERS else 0.0)


def signature() -> Signature:
    """Of every model here."""
    return Signature(
        task="Regression",
        inputs=(
            TensorSpec(name="distance", datatype="FP32", shape=(-1, 1), column="distance"),
            TensorSpec(name="hour", datatype="INT64", shape=(-1, 1), column="hour"),
            TensorSpec(name="carrier", datatype="BYTES", shape=(-1, 1), column="carrier"),
        ),
        outputs=(TensorSpec(name="delay", datatype="FP32", shape=(-1, 1), column="delay"),),
        target="delay",
        example={"distance": [250.5], "hour": [7], "carrier": ["DL"]},
    )


def baseline() -> Baseline:
    """Of every model here."""
    return Baseline(
        rows=1000,
        features=(
            FeatureBaseline(name="distance", kind="numeric", edges=EDGES, counts=(100,) * 10),
            FeatureBaseline(name="hour", kind="numeric", edges=HOURS, counts=(200,) * 5),
            FeatureBaseline(
                name="carrier", kind="categorical", categories=CARRIERS, counts=(400, 300, 200, 80), missing=20
            ),
        ),
        predictions=(FeatureBaseline(name="prediction.delay", kind="numeric", edges=EDGES, counts=(100,) * 10),),
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact in the store."""

    uri: str
    digest: str
    files: dict[str, bytes]

    def spec(self) -> dict[str, Any]:
        """The part of a placement's spec that names it."""
        return {"artifactUri": self.uri, "artifactDigest": self.digest}


def publish(client: Any, bucket: str, key: str, model: bytes, *, extra: dict[str, bytes] | None = None) -> Stored:
    """Upload a model as an artifact under `s3://<bucket>/<key>`."""
    files = {
        "model.onnx": model,
        "signature.json": signature().to_json().encode(),
        "baseline.json": baseline().to_json().encode(),
        # The key makes the content, and so the digest, unique: an equal artifact would already be in the pod's cache.
        "evaluation.json": json.dumps({"metrics": {"test": {"mae": 1.0}}, "of": key}).encode(),
        **(extra or {}),
    }
    entries = tuple(
        FileEntry(path=path, size=len(body), sha256=hashlib.sha256(body).hexdigest())
        for path, body in sorted(files.items())
    )
    manifest = Manifest(kind="model", files=entries)
    for path, body in files.items():
        client.put_object(Bucket=bucket, Key=f"{key}/{path}", Body=body)
    client.put_object(Bucket=bucket, Key=f"{key}/{MANIFEST}", Body=manifest.canonical())
    return Stored(f"s3://{bucket}/{key}", manifest.digest, files)
