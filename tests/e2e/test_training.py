"""A training that is interrupted: killed, its pod deleted, suspended, queued. It goes on from its checkpoint."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from tests.e2e import story
from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.stand import BUCKET, SPACE, Stand, apply, awaited, condition, content, get, listed, put_table, ready
from tests.e2e.story import dataset, trained

from tidemill.contract.layout import run_root
from tidemill.contract.names import LABEL_QUEUE, LABEL_RUN

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EPOCHS, EVERY = 120, 4
"""Epochs of a tenth of a second, and how many of them lie between two checkpoints."""
QUEUE = "team-queue"


@pytest.fixture(scope="module")
def data(tidemill: Stand) -> Stand:
    """One dataset for all runs."""
    with tidemill.s3() as s3:
        put_table(s3, "training.parquet", story.rows())
    apply(dataset("training", "training.parquet"))
    ready("tmds", "training")
    return tidemill


@pytest.mark.parametrize("name", ["killed", "deleted"])
def test_a_training_whose_pod_dies_goes_on_from_its_checkpoint(data: Stand, name: str) -> None:
    """Epoch and loss are in status meanwhile; another pod takes up the last checkpoint, and no epoch is left out."""
    before = under_way(name)
    progress = before["status"]["progress"]
    assert progress["epochs"] == EPOCHS
    assert progress["loss"] > 0
    first = running_pod(name)
    if name == "killed" and data.cluster.is_ours:
        data.cluster.sigkill(first["status"]["containerStatuses"][0]["containerID"])
    else:
        kubectl("delete", "pod", "-n", SPACE, first["metadata"]["name"], "--wait=false")
    run = ready("tmrun", name)
    assert run["status"]["attempts"] == 2
    second = next(p for p in pods_of(name) if p["metadata"]["uid"] != first["metadata"]["uid"])
    resumed, epochs = story_of(second["metadata"]["name"])
    assert resumed > progress["epoch"] - EVERY
    assert epochs == list(range(resumed + 1, EPOCHS + 1))
    if name == "killed" and data.cluster.is_ours:
        assert resumed % EVERY == 0
        ended = json.loads(kubectl("get", "pod", first["metadata"]["name"], "-n", SPACE, "-o", "json"))
        assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    assert history_of(data, run) == list(range(1, EPOCHS + 1))


def test_a_suspended_training_goes_on_later(data: Stand) -> None:
    """Suspending takes the pod away and says so; resuming ends the training, with no epoch left out or done again."""
    seen = under_way("suspended")["status"]["progress"]["epoch"]
    suspend("suspended", True)
    run = awaited("tmrun", "suspended", lambda o: condition(o, "Ready").get("reason") == "Suspended", "Suspended")
    assert "spec.suspend" in condition(run, "Ready")["message"]
    assert job_of("suspended")["spec"]["suspend"] is True
    eventually("the pods to go", lambda: not pods_of("suspended"), seconds=120)
    suspend("suspended", False)
    run = ready("tmrun", "suspended")
    (pod,) = pods_of("suspended")
    resumed, epochs = story_of(pod["metadata"]["name"])
    assert resumed >= seen
    assert epochs == list(range(resumed + 1, EPOCHS + 1))
    assert history_of(data, run) == list(range(1, EPOCHS + 1))


def test_a_queued_training_waits_for_kueue(data: Stand) -> None:
    """The Job is Kueue's: labelled, made suspended, and not touched by the operator, whatever `spec.suspend` says."""
    del data
    apply(trained("queued", of="training", model={"name": "queued"}, trainer={}, queueName=QUEUE))
    awaited("tmrun", "queued", lambda o: condition(o, "Ready").get("reason") == "Queued", "Queued")
    job = job_of("queued")
    assert job["metadata"]["labels"][LABEL_QUEUE] == QUEUE
    assert job["spec"]["suspend"] is True
    for wanted in (True, False):
        generation = suspend("queued", wanted)
        run = awaited("tmrun", "queued", partial(observed, generation), "the operator has seen the change")
        assert any("Kueue" in warning for warning in run["status"].get("warnings", ())) is wanted
        assert job_of("queued")["metadata"]["generation"] == job["metadata"]["generation"]
    assert pods_of("queued") == []
    admitted = {"spec": {"suspend": False}}  # what Kueue does on admission
    kubectl("patch", "job", "-n", SPACE, job["metadata"]["name"], "--type=merge", "-p", json.dumps(admitted))
    assert ready("tmrun", "queued")["status"]["modelVersion"] == {"name": "queued-v1", "version": 1}
    assert job_of("queued")["metadata"]["uid"] == job["metadata"]["uid"]


def under_way(name: str) -> dict[str, Any]:
    """A new run, once a few checkpoints are behind it and much is still to do."""
    long = {"epochs": EPOCHS, "batchSize": 8, "hiddenLayers": [32, 32]}
    apply(trained(name, of="training", model={"name": name}, trainer=long, checkpoint={"everyEpochs": EVERY}))

    def moving(run: dict[str, Any]) -> bool:
        progress = run.get("status", {}).get("progress") or {}
        return bool(progress.get("epoch", 0) >= 2 * EVERY)

    run = awaited("tmrun", name, moving, "epochs in status.progress")
    assert run["status"]["progress"]["epoch"] < EPOCHS, "the training was over before it could be interrupted"
    return run


def observed(generation: int, run: dict[str, Any]) -> bool:
    """Whether the operator has seen this generation."""
    return bool(run["status"]["observedGeneration"] == generation)


def suspend(name: str, value: bool) -> int:
    """Set a run's spec.suspend; its new generation."""
    patch = json.dumps({"spec": {"suspend": value}})
    kubectl("patch", "tmrun", "-n", SPACE, name, "--type=merge", "-p", patch)
    return int(get("tmrun", name)["metadata"]["generation"])


def job_of(name: str) -> dict[str, Any]:
    """The run's one Job."""
    (job,) = listed("jobs", f"{LABEL_RUN}={name}")
    return job


def pods_of(name: str) -> list[dict[str, Any]]:
    """The run's pods."""
    return listed("pods", f"{LABEL_RUN}={name}")


def running_pod(name: str) -> dict[str, Any]:
    """The pod that trains."""
    (pod,) = (p for p in pods_of(name) if p["status"]["phase"] == "Running")
    return pod


def story_of(pod: str) -> tuple[int, list[int]]:
    """What a pod logged: the epoch of the checkpoint that it took up, 0 if none, and the epochs that it did."""
    lines = [json.loads(line) for line in kubectl("logs", "-n", SPACE, pod).splitlines() if line.startswith("{")]
    resumed = [line["epoch"] for line in lines if line.get("message") == "resumed from checkpoint"]
    return (resumed[0] if resumed else 0), [line["epoch"] for line in lines if line.get("message") == "epoch"]


def history_of(stand: Stand, run: dict[str, Any]) -> list[int]:
    """The epochs in the run's metrics in the store."""
    meta = run["metadata"]
    with stand.s3() as s3:
        text = content(s3, f"{run_root(BUCKET, SPACE, meta['name'], meta['uid'])}/metrics.jsonl").decode()
    return [json.loads(line)["epoch"] for line in text.splitlines()]
