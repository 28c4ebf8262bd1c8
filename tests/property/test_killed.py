"""The operator is killed once, after every single effect in turn, from the first Dataset to the change in production.

Either it starts anew with a fresh list, or another replica takes over whose cache has not seen the last effects and which
does the same pass again. The end is the same as if nothing had happened.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.property import manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import FakeCluster
from tests.property.invariants import check_rest
from tests.property.once_killed import OnceKilled


def story(*, kill_at: int | None = None, stale: bool = False) -> OnceKilled:
    """Two runs of a model, one after the other; the second takes over production; the data changes and changes back."""
    cluster = OnceKilled(kill_at=kill_at, stale=stale)
    data = cluster.create(manifests.dataset())
    cluster.create(manifests.run("first", template={"stage": "Production"}))
    cluster.settle()
    cluster.api.tick(60)
    cluster.create(manifests.run("second", template={"stage": "Production"}))
    cluster.api.patch_spec(data, manifests.dataset(uri="s3://data/more.parquet")["spec"])
    cluster.settle()
    check_rest(cluster)
    return cluster


def essence(cluster: FakeCluster) -> list[Any]:
    """What a user would compare: objects, conditions, stages, log."""
    return [_essence(obj) for kind in ("Dataset", "TrainingRun", "ModelVersion") for obj in cluster.api.all(kind)]


def _essence(obj: Raw) -> Any:
    status = obj["status"]
    conditions = [(c["type"], c["status"], c["reason"]) for c in status["conditions"]]
    log = [(t["from"], t["to"], t["reason"], t["by"]) for t in status.get("transitions", ())]
    kept = [status.get(field) for field in ("rows", "modelVersion", "stage", "metrics")]
    states = [(v["name"], v["state"]) for v in (*status.get("variants", ()), *status.get("exports", ()))]
    return obj["kind"], obj["metadata"]["name"], conditions, log, kept, states


UNDISTURBED = story()


def test_the_story_is_long_enough_to_be_interrupted() -> None:
    assert UNDISTURBED.effects > 30
    assert {k.kind for k in UNDISTURBED.api.objects} >= {"Dataset", "TrainingRun", "ModelVersion", "Job"}


@pytest.mark.slow
@pytest.mark.parametrize("stale", [False, True], ids=["fresh", "stale"])
def test_killed_after_every_effect(stale: bool) -> None:
    wanted = essence(UNDISTURBED)
    for moment in range(1, UNDISTURBED.effects + 1):
        cluster = story(kill_at=moment, stale=stale)
        assert cluster.kills == 1, f"nobody was killed at effect {moment}"
        assert essence(cluster) == wanted, f"killed after effect {moment}"
        created = [key for verb, key in cluster.api.writes if verb == "create" and key.kind != "Pod"]
        assert len(created) == len(set(created)), f"killed after effect {moment}: something was made twice"
