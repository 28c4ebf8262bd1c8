"""Which resources hear of a change."""

from __future__ import annotations

from tests.unit.runtime.objects import raw

from tidemill.reconcile.plan import Key
from tidemill.reconcile.triggers import triggered
from tidemill.runtime.indices import Indices

SPEC = {"dataset": {"name": "d"}, "model": {"name": "m"}}
USED = Key(kind="Deployment", namespace="ns", name="used")
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


def test_a_deployment_hears_of_a_new_version_of_what_it_is_evaluated_on() -> None:
    indices = Indices()
    spec = {"model": {"name": "m"}, "mode": "Online", "online": {"pool": "p"}, "evaluation": {"dataset": "d"}}
    indices.upsert(raw("Deployment", "used", spec=spec))
    assert USED in set(triggered(raw("Dataset", "d", status={"digest": "sha256:1"}), indices))
    assert USED not in set(triggered(raw("Dataset", "other", status={"digest": "sha256:1"}), indices))
    plain = {key: value for key, value in spec.items() if key != "evaluation"}
    indices.upsert(raw("Deployment", "used", version=2, spec=plain))
    assert USED not in set(triggered(raw("Dataset", "d", status={"digest": "sha256:1"}), indices))
