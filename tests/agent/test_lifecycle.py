"""Restarts, watches that break, servers that come back empty, and silence when nothing happens."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest
from tests.agent.conftest import Api
from tests.agent.models import expected, onnx_model
from tests.agent.placing import eventually
from tests.agent.pod import Pod, pause

ROW = (250.0, 7, "DL")


def test_a_restarted_agent_takes_over_what_is_loaded(pod: Pod, artifacts: Callable[..., Any]) -> None:
    stays, changes, goes = (
        pod.placing.create(deployment, version=1, **artifacts(onnx_model(1.0)).spec())
        for deployment in ("stays", "changes", "goes")
    )
    for name in (stays, changes, goes):
        pod.placing.reached(name, "Loaded")
    before = pod.placing.get(stays)
    pod.kill_agent(signal.SIGKILL)
    pod.placing.change(changes, version=2, **artifacts(onnx_model(2.0)).spec())
    pod.placing.delete(goes)
    loads = pod.triton.log.count("successfully loaded 'stays'")
    pod.start_agent()
    pod.placing.reached(changes, "Loaded", version=2)
    eventually("what is no longer placed is gone", lambda: pod.loaded("goes") == set())
    assert pod.loaded("stays", "changes") == {("stays", 1), ("changes", 2)}
    assert pod.triton.log.count("successfully loaded 'stays'") == loads == 1
    assert pod.placing.get(stays) == before, "a status that is still true is not written again"
    assert pod.infer("stays", [ROW]) == [expected(1.0, *ROW)]


def test_a_restarted_triton_is_loaded_again(pod: Pod, artifacts: Callable[..., Any]) -> None:
    name = pod.placing.create("again", version=1, **artifacts(onnx_model(1.0)).spec())
    first = pod.placing.reached(name, "Loaded")
    pod.restart_triton()
    eventually("the model answers again", lambda: pod.serves("again") == 1)
    eventually("the agent is ready", lambda: pod.http("/readyz")[0] == 200)
    status = pod.placing.reached(name, "Loaded")
    assert status["serving"]["loadedAt"] >= first["serving"]["loadedAt"]


def test_readiness_waits_for_triton(pod: Pod) -> None:
    pod.door.close()
    try:
        eventually("not ready without Triton", lambda: pod.http("/readyz")[0] == 503)
        assert "Triton" in pod.http("/readyz")[1]
        assert pod.http("/healthz")[0] == 200
    finally:
        pod.door.open()
    eventually("ready again", lambda: pod.http("/readyz")[0] == 200)


def test_one_lost_model_does_not_take_the_others_out_of_service(pod: Pod, artifacts: Callable[..., Any]) -> None:
    spec = artifacts(onnx_model(1.0)).spec()
    name = pod.placing.create("lost", version=1, **spec)
    pod.placing.reached(name, "Loaded")
    eventually("the agent is ready", lambda: pod.http("/readyz")[0] == 200)
    pod.store.close()  # it cannot be loaded anew either
    try:
        shutil.rmtree(pod.models / ".cache" / spec["artifactDigest"].removeprefix("sha256:"))
        pod.triton.unload("lost")
        found: set[int] = set()

        def dropped() -> bool:
            found.add(pod.http("/readyz")[0])
            return "serving" not in pod.placing.status(name)

        eventually("its placement says that it is not served", dropped)
        assert found == {200}
    finally:
        pod.store.open()
    eventually("it answers again", lambda: pod.serves("lost") == 1)


def test_a_leftover_check_model_and_folder_are_removed(pod: Pod, artifacts: Callable[..., Any]) -> None:
    name = pod.placing.create("tidy", version=1, **artifacts(onnx_model(1.0)).spec())
    pod.placing.reached(name, "Loaded")
    pod.kill_agent()
    config = (pod.models / "tidy" / "config.pbtxt").read_text().replace('"tidy"', '"tidy.check"')
    pod.triton.add("tidy.check", onnx_model(1.0), config=config)
    pod.triton.load("tidy.check")
    (pod.models / "left-behind" / "1").mkdir(parents=True)
    pod.start_agent()
    eventually("the check model is gone", lambda: pod.loaded("tidy") == {("tidy", 1)})
    assert not (pod.models / "left-behind").exists()


def test_a_failed_load_is_tried_again_when_the_store_is_back(pod: Pod, artifacts: Callable[..., Any]) -> None:
    stored = artifacts(onnx_model(1.0))
    pod.store.close()
    try:
        name = pod.placing.create("later", version=1, **stored.spec())
        status = pod.placing.reached(name, "Failed")
        assert "store does not answer" in status["message"]
    finally:
        pod.store.open()
    pod.placing.reached(name, "Loaded", seconds=60)


def test_nothing_is_written_when_nothing_happens(pod: Pod, artifacts: Callable[..., Any]) -> None:
    name = pod.placing.create("idle", version=1, **artifacts(onnx_model(1.0)).spec())
    pod.placing.reached(name, "Loaded")
    pause(2)  # until the last report is out
    before = (pod.placing.get(name), pod.samples("tidemill_agent_status_writes_total"))
    pause(5)
    assert (pod.placing.get(name), pod.samples("tidemill_agent_status_writes_total")) == before


def test_a_status_that_somebody_else_changed_is_put_right(pod: Pod, artifacts: Callable[..., Any]) -> None:
    name = pod.placing.create("meddled", version=1, **artifacts(onnx_model(1.0)).spec())
    good = pod.placing.reached(name, "Loaded")
    pod.placing.meddle(name, state="Failed", message="nonsense")
    eventually("the status is right again", lambda: pod.placing.status(name) == good)


def test_an_agent_without_its_settings_says_which(pod: Pod) -> None:
    pod.kill_agent()
    log = len(pod.log)
    pod.start_agent(ready=False, TIDEMILL_POD_UID="")
    assert pod.agent is not None
    assert pod.agent.wait(60) == 64
    assert "TIDEMILL_POD_UID" in pod.log[log:][-1]["reason"]
    pod.start_agent()


@pytest.mark.slow
def test_an_expired_watch_is_listed_again(
    make_pod: Callable[..., Pod], double: Api, artifacts: Callable[..., Any]
) -> None:
    assert double.double is not None
    server, pod = double.double, make_pod(double)
    kept = pod.placing.create("kept", version=1, **artifacts(onnx_model(1.0)).spec())
    hidden = pod.placing.create("hidden", version=1, **artifacts(onnx_model(1.0)).spec())
    pod.placing.reached(kept, "Loaded")
    pod.placing.reached(hidden, "Loaded")
    lists = server.lists
    server.hide_event(hidden)
    eventually("what only a list can tell is noticed", lambda: pod.loaded("kept", "hidden") == {("kept", 1)})
    assert server.lists == lists + 1
    writes = len(server.writes)
    server.cut_watches()
    later = pod.placing.create("after-the-cut", version=1, **artifacts(onnx_model(1.0)).spec())
    pod.placing.reached(later, "Loaded")
    assert server.lists == lists + 1, "a cut watch goes on from where it was"
    assert {name for name, _ in server.writes[writes:]} == {later}
