"""Which resources hear of a change."""

from __future__ import annotations

from tests.unit.runtime.objects import raw

from tidemill.reconcile.plan import Key
from tidemill.reconcile.triggers import triggered
from tidemill.runtime.indices import Indices

SPEC = {"dataset": {"name": "d"}, "model": {"name": "m"}}
VERSION = Key(kind="ModelVersion", namespace="ns", name="m-v1")


def test_a_version_hears_of_its_runs_metrics_however_late_they_are_written() -> None:
    indices = Indices()
    indices.upsert(raw("ModelVersion", "m-v1", spec={"model": "m", "origin": {"trainingRunUid": "u-run"}}))
    running = raw("TrainingRun", "r", uid="u-run", version=1, spec=SPEC, status={"progress": {"epoch": 1}})
    assert VERSION not in set(triggered(running, indices))
    ended = raw("TrainingRun", "r", uid="u-run", version=2, spec=SPEC, status={"metrics": {"test": {"mae": 1.0}}})
    assert VERSION in set(triggered(ended, indices))
    other = raw("TrainingRun", "r", uid="u-other", version=3, spec=SPEC, status={"metrics": {"test": {"mae": 1.0}}})
    assert VERSION not in set(triggered(other, indices))
