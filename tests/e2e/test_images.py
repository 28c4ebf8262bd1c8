"""Each of the project's images runs as Pod Security `restricted` wants it, and has in it what its program needs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.cluster import ROOT, Cluster
from tests.e2e.pods import apply, finished, pod, ready

pytestmark = pytest.mark.e2e

WORKER = """
import boto3, duckdb, jinja2, matplotlib.pyplot, numpy, onnx, onnxruntime, onnxruntime.quantization, openvino
import dulwich.client, dulwich.repo, prometheus_client, pyarrow.parquet, pydantic
from onnx import TensorProto, helper
boto3.client("s3", endpoint_url="http://store", region_name="x", aws_access_key_id="x", aws_secret_access_key="x")
matplotlib.pyplot.plot([1, 2]); matplotlib.pyplot.savefig("/tmp/plot.png")
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2])
graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", [value("x")], [value("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
onnx.save(model, "/tmp/model.onnx")
x = numpy.array([[1, 2]], numpy.float32)
by_onnxruntime = onnxruntime.InferenceSession("/tmp/model.onnx").run(None, {"x": x})[0]
openvino.save_model(openvino.convert_model("/tmp/model.onnx"), "/tmp/model.xml")
by_openvino = openvino.Core().compile_model("/tmp/model.xml", "CPU")(x)[0]
print(by_onnxruntime.tolist(), by_openvino.tolist(), duckdb.sql("select 40 + 2").fetchall()[0][0])
"""
TRAINER = """
import io, onnxruntime, torch
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
x = torch.randn(64, 4); y = x.sum(1, keepdim=True)
for step in range(200):
    loss = torch.nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
torch.onnx.export(model, (x[:1],), "/tmp/model.onnx", dynamo=True)
session = onnxruntime.InferenceSession("/tmp/model.onnx")
out = session.run(None, {session.get_inputs()[0].name: x[:1].numpy()})[0]
print(loss.item() < 0.5, abs(float(out[0, 0]) - model(x[:1]).item()) < 1e-4, torch.cuda.is_available())
"""
AGENT = """
import aiohttp, boto3, numpy, orjson, prometheus_client, pyarrow.parquet, pydantic, tidemill.contract, tidemill_agent
print("agent")
"""
LANGUAGE = """
import torch, peft, transformers
from huggingface_hub import constants
from tidemill_worker.language import causal, trained
from tidemill.contract.trainers.finetuning import Lora, Scratch
model = causal.new(Scratch(layers=1, width=8, heads=2), vocabulary=30, tokens=4, field="")
tuned = causal.merged(causal.with_adapters(model, Lora(rank=2)))
print(tuple(tuned(input_ids=torch.ones((1, 2), dtype=torch.int64)).logits.shape), "no hub" if constants.HF_HUB_OFFLINE else "")
"""
TRITON = """
mkdir -p /tmp/models
exec tritonserver --model-repository /tmp/models --backend-directory "$TIDEMILL_BACKENDS" --model-control-mode explicit
"""


@pytest.mark.parametrize(
    ("image", "command", "expected"),
    [
        ("operator", ("python3", "-c", "import kopf, tidemill.runtime; print('operator')"), "operator"),
        ("worker", ("python3", "-c", WORKER), "[[2.0, 4.0]] [[2.0, 4.0]] 42"),
        ("trainer", ("python3", "-c", TRAINER), "True True False"),
        ("ray", ("/bin/bash", "-c", "ulimit -n 1024; ray --version"), "ray, version 2."),
        ("language", ("python3", "-c", LANGUAGE), "(1, 2, 30) no hub"),
        ("serving", ("python3", "-c", AGENT), "agent"),
        ("store", ("weed", "version"), "version"),
        ("prometheus", ("promtool", "--version"), "promtool, version"),
        ("prometheus", ("prometheus-alertmanager", "--version"), "alertmanager, version"),
    ],
)
def test_an_image_has_what_its_program_needs(
    cluster: Cluster, namespace: str, image: str, command: tuple[str, ...], expected: str
) -> None:
    apply(namespace, pod("program", cluster.image(image), *command))
    assert expected in finished(namespace, "program", seconds=180)


def test_triton_starts_and_says_that_it_is_ready(cluster: Cluster, namespace: str) -> None:
    one = pod("triton", cluster.image("serving"), "sh", "-c", TRITON)
    probe = {"httpGet": {"path": "/v2/health/ready", "port": 8000}, "periodSeconds": 1}
    one["spec"]["containers"][0]["readinessProbe"] = probe
    apply(namespace, one)
    ready(namespace, "triton")
    log = eventually("Triton's log", lambda: kubectl("-n", namespace, "logs", "triton"), seconds=10)
    assert "Started HTTPService" in log


def test_building_again_changes_nothing() -> None:
    _images("build")
    before = json.loads(_images("digests"))
    _images("build")
    assert json.loads(_images("digests")) == before


def test_a_layer_made_twice_has_the_same_bytes(tmp_path: Path) -> None:
    blobs = []
    for name in ("first", "second"):
        environment = {**os.environ, "TIDEMILL_CACHE": str(tmp_path / name), "TIDEMILL_IMAGES": "packages"}
        subprocess.run([ROOT / "hack/images", "build", "operator"], env=environment, check=True, timeout=300)
        folder = tmp_path / name / "images" / "blobs" / "sha256"
        blobs.append(sorted(path.name for path in folder.iterdir()))
    assert blobs[0] == blobs[1]
    assert len(blobs[0]) == 6  # four layers, the configuration, the manifest


def _images(*arguments: str) -> str:
    command = [ROOT / "hack/images", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=True).stdout
