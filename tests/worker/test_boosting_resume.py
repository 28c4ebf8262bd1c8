"""Boosted trees that are interrupted end as if they had not been."""

from __future__ import annotations

import json
import random
import signal
import subprocess

import pytest

from tidemill.contract.results import TrainResult

from .boosting_cases import lines_of
from .interrupting import wait_for_epoch
from .lab import Lab
from .samples import boost, dataset


def test_the_same_bytes_for_any_number_of_threads_and_any_cadence_of_checkpoints(lab: Lab) -> None:
    data = dataset(lab, 3000)
    sampled = {"subsample": 0.7, "featureFraction": 0.7}
    first = lab.run(boost(lab, data, run="a", trainer=sampled))
    threads = lab.with_environment(cpus=3).run(boost(lab, data, run="b", trainer=sampled))
    rare = lab.run(boost(lab, data, run="c", trainer=sampled, checkpoint={"everyEpochs": 4}))
    assert threads.artifact.digest == rare.artifact.digest == first.artifact.digest
    assert lab.run(boost(lab, data, run="d", trainer={**sampled, "seed": 4})).artifact.digest != first.artifact.digest


LONG = {"trees": 240, "subsample": 0.8, "featureFraction": 0.8, "patience": 50}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Regression", "Classification"])
def test_killed_at_random_epochs_it_ends_as_if_nothing_had_happened(lab: Lab, kind: str) -> None:
    data = dataset(lab, 3000)
    more = LONG if kind == "Regression" else {**LONG, "target": "carrier", "exclude": []}
    smooth = lab.run(boost(lab, data, kind, run="smooth", trainer=more))
    document = boost(lab, data, kind, run="rough", trainer=more)
    command, variables, log = lab.command(document)
    for epoch in sorted(random.Random(7).sample(range(2, 12), 2)):
        process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_epoch(lab, "rough", epoch, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert not log.exists()
    code, rough, output = lab.process(document)
    assert code == 0, output
    assert isinstance(rough, TrainResult)
    assert "resumed from checkpoint" in output
    assert (rough.metrics, rough.epochs) == (smooth.metrics, smooth.epochs)
    assert rough.artifact.digest == smooth.artifact.digest


def test_sigterm_saves_the_last_epoch_and_exits_143(lab: Lab) -> None:
    data = dataset(lab, 2000)
    document = boost(lab, data, trainer={"trees": 10_000}, checkpoint={"everyEpochs": 3})
    command, variables, log = lab.command(document)
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for_epoch(lab, "run", 6, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 143
    assert not log.exists()
    last = [json.loads(line) for line in errors.splitlines() if b'"epoch"' in line]
    assert last[-1]["message"] == "checkpoint kept for the next pod"
    latest = lab.get_json(f"{lab.root}/runs/run/uid/checkpoints/latest.json")
    assert latest["epoch"] == last[-1]["epoch"] >= 6
    assert lines_of(lab)[-1]["epoch"] == latest["epoch"]
