"""Training by several processes: the same model as by one, whoever is lost on the way, and one of them speaks."""

from __future__ import annotations

import signal
import urllib.error
from typing import Any

import numpy as np
import pytest
import torch

from tidemill.contract.results import FetchResult, TaskFailure, TrainResult
from tidemill_worker.context import Stop
from tidemill_worker.distributed.group import ProcessGroup
from tidemill_worker.distributed.pod import Pod

from .lab import Lab, progress_of
from .pods import Training, distributed, predictions, with_signal
from .samples import Document, dataset, linear
from .samples import train as train_with_report

TOLERANCE = 2e-4
"""Minutes of delay, whose standard deviation is 18: in every step the sums of other shares are rounded otherwise."""
LONG = {"epochs": 40, "patience": 30, "batchSize": 64}


NO_REPORT = {"html": False, "pictures": False, "confidence": {"resamples": 0}, "explain": {"method": "None"}}


def train(lab: Lab, data: Document, **more: Any) -> Document:
    """A report is written by one process, as always, and takes longer than these trainings."""
    return train_with_report(lab, data, evaluation=NO_REPORT, **more)


def published(training: Training, *pods: int) -> TrainResult:
    """The result that pod 0 alone tells, when all have ended well."""
    codes = [training.pods[pod].wait() for pod in pods]
    assert set(codes) == {0}, "\n".join(pod.log() for pod in training.pods)
    results = [training.pods[pod].result() for pod in pods]
    assert isinstance(results[0], TrainResult)
    assert results[1:] == [None] * (len(pods) - 1), "only pod 0 leaves a termination message"
    return results[0]


def assert_same_model(lab: Lab, one: TrainResult, other: TrainResult) -> None:
    difference = np.abs(predictions(lab, one.artifact.uri) - predictions(lab, other.artifact.uri))
    assert difference.max() < TOLERANCE
    assert one.epochs == other.epochs


@pytest.mark.parametrize(("nodes", "processes", "strategy"), [(2, 1, "DDP"), (1, 3, "DDP"), (1, 2, "FSDP")])
def test_several_processes_train_the_model_that_one_trains(lab: Lab, nodes: int, processes: int, strategy: str) -> None:
    """With three, shares of a batch differ by a row; a last batch of one row leaves two of them without any."""
    data = dataset(lab, 1000)
    rows = lab.get_table(f"{data['uri']}/train.parquet").num_rows
    size = next(size for size in range(128, 64, -1) if rows % size == 1)
    trainer = {"batchSize": size, "patience": 5}
    alone = lab.run(train(lab, data, run="alone", trainer=trainer))
    with distributed(
        lab, train(lab, data, trainer=trainer), nodes=str(nodes), processes=processes, strategy=strategy
    ) as training:
        for index in range(nodes):
            training.start(index)
        together = published(training, *range(nodes))
        formed = [line for pod in training.pods for line in pod.lines("group formed")]
    assert {line["processes"] for line in formed} == {nodes * processes}
    assert len({line["leader"] for line in formed}) == 1
    assert_same_model(lab, alone, together)
    assert together.metrics["test"]["mae"] == pytest.approx(alone.metrics["test"]["mae"], rel=1e-4)
    losses = [lab.get(f"{lab.root}/runs/{run}/uid/metrics.jsonl").decode().count("\n") for run in ("alone", "run")]
    assert losses[0] == losses[1] == alone.epochs


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [1, 2, 5, 64])
def test_shares_of_a_batch_have_its_mean_whatever_their_sizes(rows: int, size: int) -> None:
    values, mean, seen = torch.arange(float(rows)) ** 2, 0.0, []
    for rank in range(size):
        pod = Pod(
            index=0, nodes=1, min_nodes=1, processes=size, strategy="DDP", max_restarts=0, join_timeout=1, host="", port=0,
            address=None, process=rank,
        )  # fmt: skip
        group = ProcessGroup(pod, Stop())
        group.size, group.rank = size, rank
        share, weight = group.share(rows)
        mean += float(values[share].mean()) * weight / size
        seen += list(range(rows))[share] if weight else []
    assert mean == pytest.approx(float(values.mean()))
    assert seen == list(range(rows)), "every row once"


def test_only_the_first_process_of_pod_0_serves_its_progress(lab: Lab) -> None:
    document = train(lab, dataset(lab, 500), trainer={"epochs": 100_000})
    with distributed(lab, document) as training:
        first = training.start(0)
        training.until(lambda: bool(first.lines("Waiting")))
        waiting = progress_of(first.port)
        assert (waiting["phase"], waiting["message"]) == ("Waiting", "until 2 pods have met")
        second = training.start(1)
        training.until(lambda: training.stored_epoch() > 1)
        assert progress_of(first.port)["epoch"] > 0
        with pytest.raises(urllib.error.URLError):
            progress_of(second.port)


@pytest.mark.slow
def test_a_process_that_is_killed_is_started_again_and_changes_nothing(lab: Lab) -> None:
    data = dataset(lab, 2000)
    smooth = lab.run(train(lab, data, run="smooth", trainer=LONG))
    with distributed(lab, train(lab, data, trainer=LONG)) as training:
        pods = [training.start(0), training.start(1)]
        training.until(lambda: training.stored_epoch() >= 3)
        with_signal(pods[1].children()[0], signal.SIGKILL)
        rough = published(training, 0, 1)
        assert all(len(pod.lines("group formed")) == 2 for pod in pods)
        assert all(pod.lines("resumed from checkpoint") for pod in pods)
    assert_same_model(lab, smooth, rough)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_pod_that_is_killed_comes_again_and_changes_nothing(lab: Lab, victim: int) -> None:
    """Pods meet at pod 0: while it is away the others wait for it, and none of them ends."""
    data = dataset(lab, 2000)
    smooth = lab.run(train(lab, data, run="smooth", trainer=LONG))
    with distributed(lab, train(lab, data, trainer=LONG), restarts=0) as training:
        pods = [training.start(0), training.start(1)]
        training.until(lambda: training.stored_epoch() >= 3)
        pods[victim].kill()
        again = training.start(victim)
        order = (2, 1) if victim == 0 else (0, 2)
        rough = published(training, *order)
        assert again.lines("resumed from checkpoint")
    assert_same_model(lab, smooth, rough)


@pytest.mark.slow
def test_a_training_goes_on_with_fewer_pods_and_with_more(lab: Lab) -> None:
    """From two pods to an ordinary one: the checkpoint says nothing of their number."""
    data = dataset(lab, 2000)
    smooth = lab.run(train(lab, data, run="smooth", trainer=LONG))
    document = train(lab, data, trainer=LONG)
    with distributed(lab, document, strategy="FSDP") as training:
        training.start(0)
        training.start(1)
        training.until(lambda: training.stored_epoch() >= 3)
    rough = lab.run(document)
    assert 3 <= training.stored_epoch() <= rough.epochs
    assert_same_model(lab, smooth, rough)


@pytest.mark.slow
def test_with_min_nodes_it_does_not_wait_for_pods_that_are_missing(lab: Lab) -> None:
    """One pod begins, a second one joins it and is lost for good."""
    data = dataset(lab, 2000)
    trainer = {**LONG, "epochs": 400, "patience": None, "learningRate": 0.001}
    smooth = lab.run(train(lab, data, run="smooth", trainer=trainer))
    with distributed(lab, train(lab, data, trainer=trainer), nodes="1:2") as training:
        first = training.start(0)
        training.until(lambda: training.stored_epoch() >= 3)
        assert first.lines("group formed")[-1]["processes"] == 1
        second = training.start(1)
        training.until(lambda: bool(second.lines("epoch")))
        second.kill()
        rough = published(training, 0)
        assert [line["processes"] for line in first.lines("group formed")] == [1, 2, 1]
    # ten thousand steps whose sums are rounded in another order: not the same weights any more, but as good a model
    for metric, value in smooth.metrics["test"].items():
        assert rough.metrics["test"][metric] == pytest.approx(value, rel=0.1), metric


def test_sigterm_keeps_the_last_epoch_and_ends_every_pod(lab: Lab) -> None:
    trainer = {"epochs": 100_000, "batchSize": 64}
    document = train(lab, dataset(lab, 1000), trainer=trainer, checkpoint={"everyEpochs": 5})
    with distributed(lab, document) as training:
        pods = [training.start(0), training.start(1)]
        training.until(lambda: training.stored_epoch() >= 5)
        for pod in pods:
            pod.process.send_signal(signal.SIGTERM)
        assert [pod.wait() for pod in pods] == [143, 143], pods[0].log()
        assert [pod.result() for pod in pods] == [None, None]
        last = pods[0].lines("epoch")[-1]["epoch"]
    assert training.stored_epoch() == last


def test_what_the_user_did_wrong_is_told_once_and_not_tried_again(lab: Lab) -> None:
    document = train(lab, dataset(lab, 300), trainer={"target": "nowhere", "exclude": []})
    with distributed(lab, document) as training:
        pods = [training.start(0), training.start(1)]
        assert [pod.wait() for pod in pods] == [64, 64], pods[0].log()
        failure = pods[0].result()
        assert isinstance(failure, TaskFailure)
        assert failure.reason == "ColumnMissing"
        assert "nowhere" in failure.message
        assert pods[1].result() == failure
        assert [len(pod.lines("task")) for pod in pods] == [1, 1], "no process was started a second time"


def test_an_error_of_one_pod_alone_ends_that_pod_with_its_code(lab: Lab) -> None:
    """Kubernetes then ends the others: the Job's failure policy knows the code."""
    document = train(lab, dataset(lab, 300))
    with distributed(lab, document) as training:
        first, second = training.start(0), training.start(1, AWS_SECRET_ACCESS_KEY="wrong")
        assert second.wait() == 67, second.log()
        failure = second.result()
        assert isinstance(failure, TaskFailure)
        assert failure.reason == "AccessDenied"
        first.process.send_signal(signal.SIGTERM)
        assert first.wait() == 143, first.log()


@pytest.mark.slow
def test_a_process_that_dies_again_and_again_ends_the_pod(lab: Lab) -> None:
    document = train(lab, dataset(lab, 500), trainer={"epochs": 100_000})
    with distributed(lab, document, nodes="1", processes=2, restarts=2) as training:
        pod, killed = training.start(0), set[int]()

        def second() -> int | None:
            children = pod.children()
            return children[1] if len(children) == 2 and children[1] not in killed else None

        for epochs in range(3):
            training.until(lambda: second() is not None and len(pod.lines("group formed")) == 2 * (len(killed) + 1))
            victim = second()
            assert victim is not None, epochs
            killed.add(victim)
            with_signal(victim, signal.SIGKILL)
        assert pod.wait() == 1
        failure = pod.result()
    assert isinstance(failure, TaskFailure)
    assert failure.reason == "RetriesExhausted"
    assert failure.message == (
        "process 1 of pod 0 was killed by SIGKILL: most likely the memory did not suffice, raise spec.resources.memory (the "
        "last of 3 failures, spec.distribution.maxRestarts is 2)"
    )


@pytest.mark.parametrize(
    ("index", "words"), [(0, "fewer than 2 of 2 pods came within 3 seconds"), (1, "pod 0 cannot be reached")]
)
def test_pods_do_not_wait_for_ever(lab: Lab, index: int, words: str) -> None:
    document = train(lab, {"uri": f"{lab.root}/d", "digest": "sha256:" + "0" * 64})
    with distributed(lab, document) as training:
        pod = training.start(index, TIDEMILL_JOIN_TIMEOUT="3")
        assert pod.wait() == 1, pod.log()
        failure = pod.result()
    assert isinstance(failure, TaskFailure)
    assert failure.reason == "PeersLost"
    assert words in failure.message


def test_a_model_that_is_there_needs_no_other_pod(lab: Lab) -> None:
    """The others may have ended, when pod 0 is lost with the result on its lips."""
    document = train(lab, dataset(lab, 300), trainer={"epochs": 2})
    done = lab.run(document)
    with distributed(lab, document) as training:
        training.start(0)
        assert published(training, 0) == done


def test_of_a_containers_pods_each_fetches_the_dataset_and_pod_0_alone_publishes(lab: Lab) -> None:
    data = dataset(lab, 300)
    with distributed(
        lab, {"type": "FetchDataset", "dataset": data, "runRoot": f"{lab.root}/runs/mine/uid"}
    ) as fetching:
        fetching.start(0)
        fetching.start(1)
        assert [pod.wait() for pod in fetching.pods] == [0, 0]
        assert [type(pod.result()) for pod in fetching.pods] == [FetchResult, FetchResult]
        folders = [fetching.folder(index) for index in (0, 1)]
    assert all((folder / "input/train.parquet").exists() for folder in folders)
    document = {
        "type": "PublishModel",
        "dataset": data,
        "trainer": {"image": "mine", "target": "arr_delay"},
        "runRoot": f"{lab.root}/runs/mine/uid",
        "modelRoot": f"{lab.root}/models/mine/run-uid",
    }
    with distributed(lab, document) as publishing:
        for index in (0, 1):
            output = publishing.folder(index) / "output"
            output.mkdir(parents=True)
            (output / "model.onnx").write_bytes(linear(["distance"]))
        second = publishing.start(1)
        publishing.until(lambda: bool(second.lines("pod 0 publishes what all have trained")))
        first = publishing.start(0)
        assert first.wait() == 0, first.log()
        assert isinstance(first.result(), TrainResult)
        assert second.process.poll() is None, "Kubernetes stops it when pod 0 is done"
        second.process.send_signal(signal.SIGTERM)
        assert (second.wait(), second.result()) == (143, None)
