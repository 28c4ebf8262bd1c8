"""Warnings of a run: as many as its status takes."""

from __future__ import annotations

from tidemill.api.v1alpha1.trainingrun import TrainingRun, TrainingRunStatus
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import ArtifactRef
from tidemill.reconcile.jobs import Outcome
from tidemill.reconcile.trainingrun import _warnings


def test_more_warnings_than_the_schema_takes_do_not_keep_a_run_from_ending() -> None:
    run = TrainingRun.model_validate(
        {
            "metadata": {"name": "a", "namespace": "team"},
            "spec": {
                "dataset": {"name": "d"},
                "model": {"name": "m"},
                "trainer": {"tabularRegression": {"target": "y"}},
                "queueName": "gpus",
                "suspend": True,
            },
        }
    )
    result = TrainResult(
        artifact=ArtifactRef(uri="s3://b/m", digest="sha256:" + "0" * 64),
        metrics={},
        warnings=tuple(f"warning {number}" for number in range(20)),
    )
    found = _warnings(run, Outcome(phase="Succeeded", reason="Succeeded", message="", result=result))
    assert found[0].startswith("spec.suspend has no effect")
    assert TrainingRunStatus(warnings=found).warnings == found
    assert len(found) == 10
