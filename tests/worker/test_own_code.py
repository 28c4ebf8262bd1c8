"""A user's own code from its source to a model: the example, the guide, and a distributed script."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tidemill.api.v1alpha1.trainingrun import TrainingRun
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.build.trainer import training_job
from tidemill.contract.tasks import ArtifactRef
from tidemill.contract.tracking import read_measurements
from tidemill_worker.own import watch as watch_module
from tidemill_worker.own.checkpoint import CheckpointFolder

from .lab import Lab, free_ports
from .own_lab import kept_metrics, pod, publishing, run_example, tell, watcher
from .samples import dataset, linear

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/own-code/train.py"
GUIDE = ROOT / "docs/own-code.md"


def test_the_example_from_its_config_map_to_a_model_and_over_the_end_of_its_pod(lab: Lab) -> None:
    data, text = dataset(lab, 400), EXAMPLE.read_text()
    (lab.environment.task_file.parent / "code").mkdir()
    (lab.environment.task_file.parent / "code/train.py").write_text(text)
    script = {"configMap": {"name": "own-code"}, "target": "arr_delay"}
    fetch = {"type": "FetchDataset", "dataset": data, "script": script, "runRoot": f"{lab.root}/runs/own/uid"}

    first = pod(lab)
    code = first.run(fetch).code
    assert run_example(first, epochs=60) == ""
    watch, context = watcher(first)
    watch.turn()
    assert context.tracker.current.epoch == 60
    assert context.tracker.current.fraction == 1
    time.sleep(watch_module.SETTLED + 0.1)
    watch.turn()  # epoch 50 is kept; the pod is lost

    second = pod(lab)
    assert second.run(fetch).code == code
    assert run_example(second, epochs=120) == "resumed after epoch 50\n"
    result = second.run(publishing(second, data, **script))
    lines = kept_metrics(lab)
    assert [line["step"] for line in lines] == list(range(1, 121)), "the first pod's to 50, the second's from there on"
    assert lines[-1]["loss"] < lines[0]["loss"] / 5
    assert result.epochs == 120
    assert result.metrics["validation"]["mse"] == pytest.approx(lines[-1]["validationLoss"])
    assert result.metrics["test"]["mae"] < 10
    uri = result.artifact.uri
    assert lab.get(f"{uri}/train.py").decode() == text
    inputs = lab.get_json(f"{uri}/provenance.json")["inputs"]
    assert inputs["configmap:team/own-code/train.py"] == code
    assert not {"metrics.jsonl", "metrics.json"} & {n.rsplit("/", 1)[1] for n in lab.list("models/")}
    record = lab.get_json(f"{lab.root}/runs/own/uid/run.json")
    assert record["parameters"]["trainer"] == "container", "as the watch of this test was told"
    assert record["datasetDigest"] == "sha256:" + "0" * 64
    read_measurements(lab.get(f"{lab.root}/runs/own/uid/metrics.jsonl").decode())


def test_the_same_run_gives_the_same_model(lab: Lab) -> None:
    data, text = dataset(lab, 200), EXAMPLE.read_text()
    (lab.environment.task_file.parent / "code").mkdir()
    (lab.environment.task_file.parent / "code/train.py").write_text(text)
    script = {"configMap": {"name": "own-code"}, "target": "arr_delay"}
    digests = []
    for name in ("one", "two"):
        here = pod(lab)
        root = f"{lab.root}/runs/{name}/uid"
        here.run({"type": "FetchDataset", "dataset": data, "script": script, "runRoot": root})
        run_example(here, epochs=5)
        document = publishing(here, data, **script)
        digests.append(
            here.run({**document, "runRoot": root, "modelRoot": f"{lab.root}/models/{name}"}).artifact.digest
        )
    assert digests[0] == digests[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_smallest_one_in_the_guide_becomes_a_model(lab: Lab) -> None:
    (text,) = (block for block in blocks("python") if "model.onnx" in block)
    data = dataset(lab, 200)
    (lab.environment.task_file.parent / "code").mkdir()
    (lab.environment.task_file.parent / "code/train.py").write_text(text)
    script = {"configMap": {"name": "own-code"}, "target": "arr_delay"}
    lab.run({"type": "FetchDataset", "dataset": data, "script": script, "runRoot": f"{lab.root}/runs/own/uid"})
    run_example(lab, scale=1.0)
    result = lab.run(publishing(lab, data, **script))
    assert result.metrics["test"]["r2"] == pytest.approx(0, abs=0.2), "the mean explains nothing"
    assert lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()}).inputs == 1


def test_the_guides_lines_and_checkpoints_are_as_it_says(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, context = watcher(lab)
    (line,) = blocks("json")
    tell(lab, line.strip())
    watch.turn()
    now = context.tracker.current
    assert (now.fraction, now.loss, now.validation_loss) == (12 / 500, 0.25, 0.3)
    assert kept_metrics(lab)[0]["learningRate"] == 0.001
    folder = tmp_path / "kept"
    folder.mkdir()
    monkeypatch.setenv("TIDEMILL_CHECKPOINT", str(folder))
    (text,) = (block for block in blocks("python") if "def save" in block)
    names: dict[str, Any] = {}
    exec(text, names)
    assert names["load"]() == (0, [0.0])
    names["save"](3, [1.5])
    assert names["load"]() == (3, [1.5])
    assert list(CheckpointFolder(folder).look()) == ["state.json"]


def test_a_script_whose_code_was_never_recorded_is_not_published(lab: Lab) -> None:
    lab.environment.output.mkdir()
    (lab.environment.output / "model.onnx").write_bytes(linear(["distance"]))
    with pytest.raises(Exception, match="never recorded"):
        lab.run(publishing(lab, dataset(lab, 50), configMap={"name": "own-code"}))


@pytest.mark.slow
def test_torchrun_starts_a_distributed_script_in_every_process(tmp_path: Path) -> None:
    """The command that the pod has, with what the kubelet puts in."""
    meta = {"name": "wide", "namespace": "team", "uid": "0123456789"}
    script = {"configMap": {"name": "own-code"}, "target": "y", "args": ["--all"], "parameters": {"rate": "0.5"}}
    spec = {"dataset": {"name": "d"}, "model": {"name": "m"}, "trainer": {"script": script}}
    run = TrainingRun.model_validate(
        {"metadata": meta, "spec": {**spec, "distribution": {"nodes": 1, "processesPerNode": 2}}}
    )
    images = Images(worker="worker:1", trainer="trainer:1", serving="serving:1")
    dataset_ = ArtifactRef(uri="s3://b/d", digest="sha256:" + "0" * 64)
    job = training_job(run, dataset_, BuildSettings(images=images, store=Store(bucket="b")))
    (container,) = (c for c in job["spec"]["template"]["spec"]["initContainers"] if c["name"] == "script")
    (port,) = free_ports(1)
    environment = {e["name"]: e.get("value", "127.0.0.1") for e in container["env"]}
    environment |= {"TIDEMILL_RENDEZVOUS": f"127.0.0.1:{port}", "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    text = "import json, os, pathlib, sys\npathlib.Path(os.environ['RANK']).write_text(json.dumps([os.environ['WORLD_SIZE'],"
    (tmp_path / "train.py").write_text(f"{text} sys.argv[1:], json.loads(os.environ['TIDEMILL_PARAMETERS'])]))\n")
    command = [re.sub(r"\$\((\w+)\)", lambda m: environment[m[1]], word) for word in container["command"]]
    command = [sys.executable, *(word.replace("/tidemill/work/code", str(tmp_path)) for word in command[1:])]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads((tmp_path / rank).read_text()) for rank in ("0", "1")] == [["2", ["--all"], {"rate": 0.5}]] * 2
