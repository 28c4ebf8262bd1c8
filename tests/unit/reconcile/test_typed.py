"""Objects of the cache as models: the same for the same object, another for what replaces it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.reconcile import typed as module
from tidemill.reconcile.typed import typed

POOL = {"metadata": {"name": "p", "uid": "u", "resourceVersion": "1"}, "spec": {"replicas": 1}, "status": {}}
WRONG = {**POOL, "spec": {"replicas": "many"}}


def test_an_object_is_read_once() -> None:
    assert typed(ServingPool, POOL) is typed(ServingPool, POOL)


def test_what_replaces_an_object_is_read_anew_whatever_its_version_says() -> None:
    other = {**POOL, "spec": {"replicas": 2}}
    assert (typed(ServingPool, POOL).spec.replicas, typed(ServingPool, other).spec.replicas) == (1, 2)


def test_a_wrong_object_is_refused_every_time() -> None:
    for _ in range(2):
        with pytest.raises(ValidationError, match="replicas"):
            typed(ServingPool, WRONG)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT", 8)
    kept = [{**POOL, "spec": {"replicas": number}} for number in range(20)]
    assert [typed(ServingPool, obj).spec.replicas for obj in kept] == list(range(20))
    assert len(module._read) <= 8
