"""A search from dataset to model: by one pod, killed, and by several; chosen by hand and automatically; as code."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.contract.results import PartResult, TrainResult
from tidemill.contract.tasks import TASK, SearchModel
from tidemill_worker.errors import InvalidSpec, Terminated
from tidemill_worker.train import boosting

from .lab import Lab
from .samples import boost, dataset, train

PARAMETERS = [
    {"name": "learningRate", "float": {"min": 0.001, "max": 0.1, "log": True}},
    {"name": "hiddenLayers", "choices": ["[]", "[16]", "[32, 16]"]},
]


def search(
    lab: Lab, data: dict[str, Any], kind: str = "Regression", run: str = "search", **more: Any
) -> dict[str, Any]:
    training = train(
        lab, data, kind, run=run, trainer={"epochs": 4, **more.pop("trainer", {})}, **more.pop("training", {})
    )
    wish = {"parameters": PARAMETERS, "metric": "rmse", "trials": 5, "seed": 2, **more.pop("search", {})}
    return {"type": "SearchModel", "training": {"owner": more.pop("owner", OWNER), **training}, "search": wish, **more}


OWNER = {"kind": "TrainingRun", "namespace": "team", "name": "search", "uid": "u-1", "generation": 0}


@pytest.fixture(scope="module")
def data(studio: Any) -> dict[str, Any]:
    found: dict[str, Any] = studio.data
    return found


def test_the_best_of_all_trials_becomes_the_model(lab: Lab, data: dict[str, Any]) -> None:
    result = lab.run(search(lab, data))
    assert isinstance(result, TrainResult)
    assert result.search is not None
    assert (result.search.trials, result.search.metric) == (5, "rmse")
    assert result.search.best[0].value == min(trial.value for trial in result.search.best)
    assert result.metrics["validation"]["rmse"] == pytest.approx(result.search.best[0].value, rel=1e-9)
    told = lab.get_json(f"{result.artifact.uri}/search/trials.json")
    assert len(told["trials"]) == 5
    assert [t["number"] for t in told["trials"]] == list(range(5))
    names = {name.split("/", 3)[3] for name in lab.list("models/") if name.count("/") >= 3}
    assert {f"search/{name}" for name in ("trials.json", "history.png", "parameters.png")} <= names
    folders = {name.split("/")[3 + 1] for name in lab.list("runs/search/uid/trials/")}
    assert folders == {f"{n:04d}" for n in range(5)}, "every trial keeps its curve and checkpoints"
    again = lab.run(search(lab, data))
    assert again == result, "a task that has been done is not done again"


def test_the_winner_is_what_its_parameters_alone_would_train(lab: Lab, data: dict[str, Any]) -> None:
    """The same graph, byte for byte, as a plain training with the winning parameters: a search adds nothing to the model."""
    result = lab.run(search(lab, data))
    config = yaml.safe_load(lab.get(f"{result.artifact.uri}/config.yaml"))
    plain = train(lab, data, run="plain", trainer=config["trainer"])
    alone = lab.run(plain)
    assert lab.get(f"{alone.artifact.uri}/model.onnx") == lab.get(f"{result.artifact.uri}/model.onnx")


def test_the_script_that_it_leaves_comes_to_the_same_metrics(lab: Lab, data: dict[str, Any], tmp_path: Path) -> None:
    result = lab.run(search(lab, data))
    for name in ("train.py", "config.yaml"):
        (tmp_path / name).write_bytes(lab.get(f"{result.artifact.uri}/{name}"))
    downloaded = tmp_path / "data"
    downloaded.mkdir()
    for name in ("manifest.json", "train.parquet", "validation.parquet", "test.parquet"):
        (downloaded / name).write_bytes(lab.get(f"{data['uri']}/{name}"))
    done = reproduce(tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout[done.stdout.index('{\n "found"') :])
    assert told["found"]["validation"]["rmse"] == pytest.approx(told["expected"]["validation"]["rmse"], rel=1e-9)
    assert told["found"].keys() == {"validation", "test"}
    assert (tmp_path / "model.onnx").read_bytes() == lab.get(f"{result.artifact.uri}/model.onnx")
    (downloaded / "train.parquet").write_bytes(b"other rows")
    changed = reproduce(tmp_path)
    assert changed.returncode != 0
    assert "train.parquet" in changed.stderr


def reproduce(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script as a person would, without any store."""
    command = [sys.executable, "train.py", "--data", "data", "--out", "model.onnx"]
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_search_that_is_killed_ends_as_if_it_had_not_been(
    lab: Lab, data: dict[str, Any], seaweed: Any, tmp_path: Path
) -> None:
    """SIGTERM in the third trial's second epoch: the next pod goes on in that trial, and all ends the same."""
    document = search(lab, data, trainer={"epochs": 6})
    context = lab.context()
    seen: list[tuple[str, int]] = []
    real = context.tracker.epoch

    def epoch(**told: Any) -> None:
        real(**told)
        seen.append((context.tracker.current.message, told["epoch"]))
        if len(seen) == 14:
            context.stop.event.set()

    context.tracker.epoch = epoch  # type: ignore[method-assign]
    with pytest.raises(Terminated):
        lab.run(document, context)
    assert "trial 3 of 5" in seen[-1][0]
    second = lab.context()
    rest: list[tuple[str, int]] = []
    others = second.tracker.epoch

    def count(**told: Any) -> None:
        others(**told)
        rest.append((second.tracker.current.message, told["epoch"]))

    second.tracker.epoch = count  # type: ignore[method-assign]
    result = lab.run(document, second)
    assert rest[0][1] == seen[-1][1] + 1, "the trial began anew"
    assert "trial 3 of 5" in rest[0][0]
    from .lab import make_lab

    folder = tmp_path / "other"
    folder.mkdir()
    other = make_lab(seaweed, folder)
    undisturbed = other.run(search(other, data, trainer={"epochs": 6}))
    assert undisturbed.search == result.search
    assert undisturbed.artifact.digest == result.artifact.digest


def test_pods_share_a_search(lab: Lab, data: dict[str, Any], seaweed: Any, tmp_path: Path) -> None:
    from .lab import make_lab

    document = search(lab, data, search={"trials": 6, "parallel": 2})
    results: dict[int, Any] = {}
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    labs = [make_lab(seaweed, folder).with_environment(pod_index=index) for index, folder in enumerate(folders)]

    def pod(index: int) -> None:
        results[index] = labs[index].run(document)

    pods = [threading.Thread(target=pod, args=(index,)) for index in range(2)]
    for each in pods:
        each.start()
    for each in pods:
        each.join()
    assert isinstance(results[1], PartResult)
    assert results[0].search.trials == 6
    told = lab.get_json(f"{results[0].artifact.uri}/search/trials.json")
    assert sorted(t["number"] for t in told["trials"]) == list(range(6))
    assert {t["state"] for t in told["trials"]} <= {"COMPLETE", "PRUNED"}


def test_an_automatic_trainer_tries_the_families_that_it_may(lab: Lab, data: dict[str, Any]) -> None:
    training = train(lab, data, "Classification", run="auto")
    auto = {"target": "late", "exclude": ["arr_delay"], "trials": 6, "families": ["Linear", "Boosting"], "seed": 4}
    result = lab.run({"type": "SearchModel", "training": {"owner": OWNER, **training}, "auto": auto})
    assert result.search is not None
    assert result.search.metric == "logLoss"
    tried = {
        trial["parameters"]["family"] for trial in lab.get_json(f"{result.artifact.uri}/search/trials.json")["trials"]
    }
    assert tried == {"Linear", "Boosting"}
    assert result.metrics["test"]["accuracy"] > 0.8
    config = yaml.safe_load(lab.get(f"{result.artifact.uri}/config.yaml"))
    assert (config["family"], config["trainer"]["target"]) in {("tabular", "late"), ("boosted", "late")}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"metric": "accuracy"}, "spec.search.metric: there is no accuracy for this task; there are "),
        ({"metric": "speed"}, "spec.search.metric: there is no metric speed; there are "),
        (
            {"parameters": [{"name": "depth", "int": {"min": 1, "max": 2}}]},
            "spec.search.parameters: the trainer has no depth; it has ",
        ),
    ],
)
def test_what_cannot_be_searched_is_said(lab: Lab, data: dict[str, Any], wish: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        lab.run(search(lab, data, search=wish))
    assert str(raised.value).startswith(said)
    assert lab.list("models/") == []
    assert lab.list("runs/search/uid/trials/") == [], "it is said before the first trial"


def test_a_metric_that_the_data_does_not_have_is_said_before_the_first_trial(lab: Lab, data: dict[str, Any]) -> None:
    wish = search(lab, data, "Classification", trainer={"target": "carrier"}, search={"metric": "rocAuc"})
    with pytest.raises(InvalidSpec, match="rocAuc needs a target of two classes") as raised:
        lab.run(wish)
    assert raised.value.field == "spec.search.metric"
    assert lab.list("runs/search/uid/trials/") == []


def test_parameters_that_cannot_be_trained_together_fail_their_trial_only(
    lab: Lab, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many trees of many leaves are too many for a file; each bound for itself is what the trainer takes."""
    monkeypatch.setattr(boosting, "MOST_NODES", 100_000)  # so that few rows suffice
    training = boost(lab, data, run="search", trainer={"minRowsPerLeaf": 1, "learningRate": 0.3})
    parameters = [{"name": "trees", "choices": ["10", "10000"]}, {"name": "maxLeaves", "choices": ["4", "4096"]}]
    wish = {"parameters": parameters, "metric": "rmse", "trials": 4, "sampler": "Grid"}
    short = {**training, "trainer": {**training["trainer"], "patience": 1}}
    result = lab.run({"type": "SearchModel", "training": {"owner": OWNER, **short}, "search": wish})
    told = lab.get_json(f"{result.artifact.uri}/search/trials.json")
    failed = [trial for trial in told["trials"] if trial["state"] == "FAIL"]
    assert [trial["parameters"] for trial in failed] == [{"trees": "10000", "maxLeaves": "4096"}]
    assert "are too many for one ONNX file: lower trees or maxLeaves" in failed[0]["message"]
    assert result.search.failed == 1


def test_a_search_needs_validation_rows(lab: Lab) -> None:
    without = dataset(lab, 200)  # then without a validation split
    table = lab.put_table("few.parquet", {"x": [1.0, 2.0, 3.0], "arr_delay": [1.0, 2.0, 3.0], "late": ["a", "b", "a"]})
    prepared = lab.run(
        {
            "type": "PrepareDataset",
            "root": f"{lab.root}/datasets/few",
            "inputs": [{"name": "raw", "s3": {"uri": table}}],
            "split": {"random": {"validation": 0, "test": 0}},
        }
    )
    assert without["digest"] != prepared.artifact.digest
    with pytest.raises(InvalidSpec, match="a search needs a validation split"):
        lab.run(search(lab, prepared.artifact.model_dump()))


def test_the_task_comes_back_from_json(lab: Lab, data: dict[str, Any]) -> None:
    document = {"owner": OWNER, **search(lab, data)}
    task = TASK.validate_python(document)
    assert isinstance(task, SearchModel)
    assert TASK.validate_json(task.to_json()) == task
    assert len(task.to_json()) < 10_000
