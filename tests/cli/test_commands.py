"""The commands as they are typed, against an API server (a double; end to end the real one) and a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.api import Api
from tests.cli.conftest import Tidemill, Training
from tests.cli.objects import job, run, secret, stalled, succeeded, training, version
from tests.cli.test_page import Checked
from tests.worker.lab import ACCESS, SECRET, Seaweed, free_ports

Trainings = tuple[Training, Training]


MAE = {"test": {"mae": 12.5}}


@pytest.fixture
def store_secret(api: Api, seaweed: Seaweed) -> None:
    """What the namespace's pods have: keys, and here the endpoint too."""
    api.add(
        secret(
            "tidemill-store",
            AWS_ACCESS_KEY_ID=ACCESS,
            AWS_SECRET_ACCESS_KEY=SECRET,
            AWS_ENDPOINT_URL=seaweed.endpoint,
        )
    )


def add_trained(api: Api, name: str, training: Training, **spec: object) -> None:
    """The object of a run that was really trained, and its folder where its UID leads."""
    result = training.result
    status = succeeded(
        result.metrics, uri=result.artifact.uri, dataset=training.data["digest"], artifactDigest=result.artifact.digest
    )
    made = api.add(run(name, trainer={"tabularRegression": training.trainer}, status=status, **spec))
    training.copy_to(api.namespace, name, made["metadata"]["uid"])


@pytest.mark.usefixtures("store_secret")
def test_compare_draws_the_curves_of_two_real_trainings(
    api: Api, tidemill: Tidemill, trainings: Trainings, tmp_path: Path
) -> None:
    for name, each in zip(("fast", "slow"), trainings, strict=True):
        add_trained(api, name, each)
    said = tidemill("compare", "fast", "slow", "-o", "html", "--out", str(tmp_path / "page.html"))
    assert (said.status, said.out, said.err) == (0, "", "")
    text = (tmp_path / "page.html").read_text()
    page = Checked(text)
    assert page.row("learningRate") == ["0.02", "0.001"]
    assert page.row("hiddenLayers") == ["[16]", "[32,16]"]
    assert page.row("image") == ["worker@sha256:test"] * 2
    mae = [f"{each.result.metrics['test']['mae']:.6g}" for each in trainings]
    assert [value.startswith(wanted) for value, wanted in zip(page.row("test/mae"), mae, strict=False)] == [True, True]
    for each, name in zip(trainings, ("fast", "slow"), strict=True):
        last = json.loads(each.lab.get(f"{each.folder}/metrics.jsonl").decode().splitlines()[-1])
        assert f"<title>{name}: loss {last['loss']:.6g} at step 8</title>" in text
    tidemill("compare", "fast", "slow", "-o", "html", "--out", str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "page.html").read_bytes()

    table = tidemill("compare", "fast", "slow").out
    assert "learningRate" in table
    assert "PARAMETERS (2 differ" in table
    document = json.loads(tidemill("compare", "fast", "slow", "-o", "json").out)
    assert [len(points) for points in document["curves"]["loss"]] == [8, 8]


@pytest.mark.usefixtures("store_secret")
def test_a_file_that_cannot_be_read_takes_away_its_own_runs_curves_only(
    api: Api, tidemill: Tidemill, trainings: Trainings
) -> None:
    add_trained(api, "whole", trainings[0])
    result = trainings[1].result
    made = api.add(run("torn", status=succeeded(result.metrics, uri=result.artifact.uri)))
    folder = trainings[1].copy_to(api.namespace, "torn", made["metadata"]["uid"])
    client, key = trainings[1].lab.seaweed.client, trainings[1].lab.key(f"{folder}/metrics.jsonl")
    client.put_object(Bucket="tidemill", Key=key, Body=b'{"step": 1, "loss": 2.0}\n{"step": ')
    said = tidemill("compare", "whole", "torn", "-o", "json")
    assert said.status == 0
    assert [len(points) for points in json.loads(said.out)["curves"]["loss"]] == [8, 0]
    assert f"run torn: learning curves and intervals are missing: {folder}/metrics.jsonl: line 2" in said.err


def test_compare_without_the_store_shows_what_the_api_server_has(api: Api, tidemill: Tidemill) -> None:
    api.add(run("a", status=succeeded(MAE)))
    api.add(run("b", status=training()))
    (port,) = free_ports(1)
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    api.add(secret("tidemill-store", **keys))
    said = tidemill("compare", "a", "b")
    assert said.status == 0
    assert "test/mae" in said.out
    assert f"learning curves and intervals are missing: the store http://127.0.0.1:{port} does not answer" in said.err
    assert "run b has no metrics yet: Running, epoch 3/15" in said.err
    quiet = tidemill("compare", "a", "b", "--no-store")
    assert quiet.out == said.out
    assert "store" not in quiet.err


def test_the_store_is_found_by_a_job_and_keys_of_the_environment_win(
    api: Api, tidemill: Tidemill, trainings: Trainings, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trained(api, "fast", trainings[0])
    api.add(secret("tidemill-store", AWS_ACCESS_KEY_ID="reader", AWS_SECRET_ACCESS_KEY="reader-secret"))
    api.add(job("fast-train", TIDEMILL_STORE_ENDPOINT=seaweed.endpoint, TIDEMILL_STORE_REGION="us-east-1"))
    refused = tidemill("compare", "fast", "-o", "json")
    assert "AccessDenied" in refused.err
    assert f"with the keys of Secret tidemill-store of namespace {api.namespace}" in refused.err
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    said = tidemill("compare", "fast", "-o", "json")
    assert said.err == ""
    assert len(json.loads(said.out)["curves"]["loss"][0]) == 8


def test_a_namespace_without_keys_says_what_must_hold_them(api: Api, tidemill: Tidemill, seaweed: Seaweed) -> None:
    api.add(run("a", status=succeeded(MAE)))
    said = tidemill("compare", "a", "--endpoint", seaweed.endpoint)
    assert said.status == 0
    assert f"there are no keys for the store {seaweed.endpoint}" in said.err
    assert f"Secret tidemill-store of namespace {api.namespace} must hold AWS_ACCESS_KEY_ID" in said.err


def test_a_name_that_only_pods_resolve_is_explained(api: Api, tidemill: Tidemill) -> None:
    api.add(run("a", status=succeeded(MAE)))
    api.add(secret("tidemill-store", AWS_ACCESS_KEY_ID="k", AWS_SECRET_ACCESS_KEY="s"))
    said = tidemill("compare", "a", "--endpoint", "http://store.tidemill-store.svc.invalid:8333")
    assert said.status == 0
    assert "if only pods reach it, use kubectl port-forward and name what it prints by --endpoint" in said.err
    assert "is no URL such as https://s3.example.org" in tidemill("compare", "a", "--endpoint", "store:8333").err


def test_whoever_may_not_read_secrets_is_told_the_right_and_the_way_around(
    api: Api, tidemill: Tidemill, seaweed: Seaweed, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trained(api, "fast", trainings[0])
    limited = api.kubeconfig({"trainingruns.tidemill.dev": "get,list"})
    said = tidemill("compare", "fast", kubeconfig=limited)
    assert said.status == 0
    assert "test/mae" in said.out
    assert f"you may not get secrets in namespace {api.namespace}: ask for a Role with the verb 'get'" in said.err
    assert "or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and name the store by --endpoint" in said.err
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert tidemill("compare", "fast", "--endpoint", seaweed.endpoint, kubeconfig=limited).err == ""


def test_runs_are_chosen_by_label_and_model(api: Api, tidemill: Tidemill) -> None:
    api.add(run("a", labels={"sweep": "one"}, status=succeeded({"test": {"mae": 3.0}})))
    api.add(run("b", labels={"sweep": "one"}, status=succeeded({"test": {"mae": 2.0}})))
    api.add(run("c", model="other", labels={"sweep": "two"}, status=stalled("GateNotPassed", "too bad")))

    def names(*arguments: str) -> list[str]:
        return [found["name"] for found in json.loads(tidemill(*arguments, "-o", "json").out)]

    assert names("runs") == ["c", "a", "b"]
    assert names("runs", "-l", "sweep=one") == ["a", "b"]
    assert names("runs", "--model", "other") == ["c"]
    lines = tidemill("runs").out.splitlines()
    assert lines[0].split() == ["NAME", "MODEL", "VERSION", "DATASET", "STATUS", "METRIC", "DURATION", "STARTED"]
    assert "GateNotPassed" in lines[1]
    assert "test/mae 3" in lines[2]
    chosen = json.loads(tidemill("compare", "-l", "sweep=one", "--no-store", "-o", "json").out)
    assert chosen["metrics"][0]["best"] == ["b"]
    nothing = tidemill("runs", "--model", "third", "-l", "sweep=one")
    assert nothing.status == 1
    assert nothing.err == (
        f"error: no TrainingRun with labels sweep=one and of model third in namespace {api.namespace}: there are runs of "
        "delay\n"
    )


def test_lists_longer_than_a_page_are_read_to_the_end(
    api: Api, tidemill: Tidemill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill_cli.cluster._PAGE", 2)
    for number in range(5):
        api.add(run(f"r{number}"))
    assert [found["name"] for found in json.loads(tidemill("runs", "-o", "json").out)] == [f"r{i}" for i in range(5)]


@pytest.mark.usefixtures("store_secret")
def test_lineage_leads_from_a_version_to_the_raw_file(api: Api, tidemill: Tidemill, trainings: Trainings) -> None:
    training = trainings[0]
    add_trained(api, "fast", training)
    artifact = training.result.artifact
    origin = {"trainingRun": "fast", "datasetUri": training.data["uri"], "datasetDigest": training.data["digest"]}
    api.add(version("delay-v1", digest=artifact.digest, uri=artifact.uri, dataset="flights", **origin))
    said = tidemill("lineage", "delay-v1")
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == f"ModelVersion delay-v1  {artifact.digest[:19]}"
    assert [line.split()[1] for line in lines if "─ " in line] == ["TrainingRun", "Dataset", "File"]
    assert "seed 3" in said.out
    raw = f"{training.lab.root}/raw.parquet"
    assert lines[-1].strip().startswith(f"└─ File {raw}  sha256:")
    document = json.loads(tidemill("lineage", "delay-v1", "-o", "json").out)
    file = document["inputs"][0]["inputs"][0]["inputs"][0]
    assert (file["kind"], file["uri"]) == ("File", raw)


def test_lineage_without_the_store_says_so_once(api: Api, tidemill: Tidemill) -> None:
    api.add(
        version("delay-v1", trainingRun="gone", dataset="flights", datasetUri="s3://tidemill/team/datasets/flights/x")
    )
    (port,) = free_ports(1)
    said = tidemill("lineage", "delay-v1", "--endpoint", f"http://127.0.0.1:{port}")
    assert said.status == 0
    assert said.err.count("only what the API server knows") == 1
    assert "object deleted" in said.out
    assert "Dataset flights" in said.out


@pytest.mark.parametrize("command", [(), ("runs",), ("compare",), ("lineage",)])
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    program = Path(sys.executable).with_name("kubectl-tidemill")
    done = subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith(f"usage: kubectl tidemill {' '.join(command)}".rstrip())


@pytest.mark.e2e
def test_kubectl_finds_the_plugin(real_cluster: object, api: Api) -> None:
    """As users type it: kubectl takes `kubectl-tidemill` from the PATH."""
    api.add(run("a", status=succeeded(MAE)))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "KUBECONFIG": str(api.kubeconfig())}
    done = subprocess.run(
        ["kubectl", "tidemill", "runs"], env=variables, capture_output=True, text=True, check=True, timeout=120
    )
    assert "test/mae 12.5" in done.stdout
    assert real_cluster
