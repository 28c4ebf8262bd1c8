"""The pod of a user's own code: what runs in it is an init container, and a sidecar says nothing of how it ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.reconcile.test_jobs import ended, job, pod, read, waiting

from tidemill.contract.results import FetchResult, TaskFailure
from tidemill.reconcile.podstate import failure_of, fetched_code, has_started
from tidemill.runtime.indices import Indices

FETCHED = FetchResult(files=3, code="sha256:" + "c" * 64)
RUNS: dict[str, Any] = {"running": {}}


def init(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "image": f"{name}:1", "state": state}


def own(*containers: dict[str, Any], phase: str = "Pending", n: int = 0) -> dict[str, Any]:
    return pod(phase, n=n, initContainerStatuses=list(containers))


FETCH, WATCH = init("fetch", ended(0, FETCHED.to_json())), init("watch", RUNS)


@pytest.mark.parametrize("name", ["trainer", "script"])
def test_a_users_code_that_runs_is_a_pod_that_runs(name: str) -> None:
    made = own(FETCH, WATCH, init(name, RUNS))
    outcome = read(job(active=1), made)
    assert (outcome.phase, outcome.pod, outcome.message) == ("Running", "p0", "pod p0 is running")
    indices = Indices()
    indices.upsert(made)
    assert [entry.state for entry in indices.all("Pod")] == ["Running"], "so that its progress is asked for"


def test_before_that_the_pod_is_starting() -> None:
    outcome = read(job(active=1), own(init("fetch", RUNS), init("watch", waiting("PodInitializing", ""))))
    assert (outcome.phase, outcome.message) == ("Pending", "pod p0 is starting")


def test_an_image_that_cannot_be_pulled_is_named_with_its_field_though_the_sidecar_runs() -> None:
    stuck = own(FETCH, WATCH, init("script", waiting("ErrImagePull", "not found")))
    outcome = read(job(active=1), stuck)
    assert (outcome.phase, outcome.reason) == ("Pending", "ImagePullFailed")
    assert (
        "spec.trainer.script.image (by default images.trainer in the values of the tidemill chart)" in outcome.message
    )
    assert not has_started(stuck), "what shapes its pod may still change"
    assert has_started(own(FETCH, WATCH, init("script", RUNS)))


@pytest.mark.parametrize("killed", [ended(137), ended(1, "lost the store"), ended(143)])
def test_how_the_sidecar_ended_explains_nothing(killed: dict[str, Any]) -> None:
    made = own(FETCH, init("watch", killed), init("script", ended(1, "KeyError: 'delay'")), phase="Failed")
    reason, message = failure_of(made)
    assert reason == "ContainerFailed"
    assert message == "container script ended with exit code 1: KeyError: 'delay'"


def test_a_users_code_says_itself_why_it_ended() -> None:
    said = TaskFailure(reason="LabelsMissing", message="no row has a label").to_json()
    assert json.loads(said) == {"type": "Failure", "reason": "LabelsMissing", "message": "no row has a label"}, (
        "as in the guide"
    )
    made = own(FETCH, init("script", ended(65, said)), phase="Failed")
    assert failure_of(made) == ("LabelsMissing", "no row has a label")


def test_what_runs_is_what_any_pod_fetched() -> None:
    broken = own(init("fetch", ended(1, TaskFailure(reason="StoreUnavailable", message="m").to_json())), phase="Failed")
    assert fetched_code([broken]) is None
    assert fetched_code([broken, own(FETCH, n=1)]) == FETCHED.code
    assert fetched_code([own(init("fetch", RUNS))]) is None
