"""The pure parts of the measurement beside the peers: audit lines, first children, latencies, the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.bench.peers import figures
from tests.bench.peers.audit import Log, Request, parse
from tests.bench.peers.table import read, tables

CONTROLLER = "peer-tidemill"
KCM = "system:serviceaccount:kube-system:job-controller"


def event(**changes: Any) -> dict[str, Any]:
    """A line of the audit log, as the API server writes it."""
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "stage": "ResponseComplete",
        "verb": "patch",
        "user": {"username": CONTROLLER, "groups": ["peers"]},
        "objectRef": {
            "resource": "trainingruns",
            "namespace": "load-0",
            "name": "o-00001",
            "apiGroup": "tidemill.dev",
            "apiVersion": "v1alpha1",
            "subresource": "status",
        },
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": "2026-01-01T00:00:01.500000Z",
        "stageTimestamp": "2026-01-01T00:00:01.750000Z",
        **changes,
    }


def request(at: float, user: str, verb: str, resource: str, name: str = "", code: int = 200) -> Request:
    """A request that took a tenth of a second."""
    return Request(received=at, answered=at + 0.1, user=user, verb=verb, resource=resource, name=name, code=code)


def created(at: float, index: int) -> Request:
    """An object made by the loader."""
    return request(at, "loader", "create", "trainingruns.tidemill.dev", f"o-{index:05d}", 201)


def test_a_line_is_a_request_with_group_and_subresource() -> None:
    found = parse(json.dumps(event()))
    assert (found.user, found.call, found.name) == (CONTROLLER, "patch trainingruns.tidemill.dev/status", "o-00001")
    assert found.answered - found.received == pytest.approx(0.25)
    assert found.accepted
    assert found.works


def test_a_line_of_the_core_group_without_a_name_or_an_answer() -> None:
    found = parse(json.dumps(event(verb="create", objectRef={"resource": "pods"}, responseStatus=None)))
    assert (found.call, found.name, found.code) == ("create pods", "", 0)
    assert not found.accepted


@pytest.mark.parametrize(
    ("verb", "resource", "works"),
    [
        ("create", "jobs.batch", True),
        ("patch", "jobs.batch/status", True),
        ("get", "jobs.batch", False),
        ("create", "events", False),
        ("patch", "events.events.k8s.io", False),
        ("update", "leases.coordination.k8s.io", False),
    ],
)
def test_work_is_every_write_but_events_and_leases(verb: str, resource: str, works: bool) -> None:
    assert request(1, CONTROLLER, verb, resource).works is works


def test_a_log_is_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    first, second = json.dumps(event()), json.dumps(event(verb="create"))
    path.write_text(f"{first}\n{second[:50]}")
    log = Log(path)
    assert log.mark() == 1
    with path.open("a") as file:
        file.write(f"{second[50:]}\n")
    assert [r.verb for r in log.since(1)] == ["create"]
    assert log.last_work() == parse(first).answered
    log.close()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("o-00012", "o-00012"),
        ("o-00012-train-abcde", "o-00012"),
        ("job-o-00012-0f3a1", "o-00012"),
        ("flights", ""),
        ("", ""),
    ],
)
def test_a_child_names_its_object(name: str, wanted: str) -> None:
    assert figures.object_of(name) == wanted


def test_a_load_is_timed_from_the_first_object_to_the_first_write_of_each_last_one() -> None:
    status = "trainingruns.tidemill.dev/status"
    requests = [
        created(10.0, 0),
        created(10.5, 1),
        request(11.0, CONTROLLER, "create", "jobs.batch", "o-00000-train", 409),
        request(11.2, CONTROLLER, "create", "jobs.batch", "o-00000-train", 201),
        request(12.0, CONTROLLER, "create", "jobs.batch", "o-00001-train", 201),
        request(12.1, CONTROLLER, "patch", status, "o-00000"),
        request(12.5, CONTROLLER, "patch", status, "o-00001"),
        request(14.0, CONTROLLER, "patch", status, "o-00001"),
        request(15.0, KCM, "update", "jobs.batch/status", "o-00001-train"),
        request(20.0, CONTROLLER, "create", "events", "o-00001.1"),
        request(21.0, "somebody", "patch", "jobs.batch", "o-00001-train"),
    ]
    found = figures.loaded(requests, child="jobs.batch", status="trainingruns.tidemill.dev", users=[CONTROLLER])
    assert (found["created"], found["created_s"]) == (2, 0.6)
    assert (found["children"], found["children_s"], found["children_per_s"]) == (2, 2.1, 1.0)
    assert (found["statuses"], found["statuses_s"], found["settled_s"]) == (2, 2.6, 5.1)
    assert found["conflicts"] == 1


def test_a_change_is_timed_to_the_first_write_after_it() -> None:
    requests = [
        request(5.0, CONTROLLER, "patch", "jobs.batch", "o-00000-train"),
        request(10.0, "loader", "patch", "trainingruns.tidemill.dev", "o-00000"),
        request(10.2, CONTROLLER, "patch", "jobs.batch", "o-00001-train"),
        request(10.3, CONTROLLER, "patch", "jobs.batch", "o-00000-train"),
        request(10.4, KCM, "update", "jobs.batch/status", "o-00000-train"),
        request(10.9, CONTROLLER, "patch", "trainingruns.tidemill.dev/status", "o-00000"),
        request(11.0, "loader", "patch", "trainingruns.tidemill.dev", "o-00002"),
    ]
    found = figures.changed(requests, child="jobs.batch", status="trainingruns.tidemill.dev")
    assert found["changes"] == 2
    assert found["child_ms"] == {"count": 1, "p50Ms": 300.0, "p99Ms": 300.0, "maxMs": 300.0}
    assert found["status_ms"] == {"count": 1, "p50Ms": 900.0, "p99Ms": 900.0, "maxMs": 900.0}


def test_calls_leave_out_leases_and_what_the_measurement_causes() -> None:
    requests = [
        request(1, CONTROLLER, "create", "jobs.batch"),
        request(2, CONTROLLER, "list", "jobs.batch"),
        request(3, CONTROLLER, "update", "leases.coordination.k8s.io"),
        request(4, CONTROLLER, "create", "tokenreviews.authentication.k8s.io"),
        request(5, KCM, "create", "pods"),
    ]
    found = figures.calls(requests, CONTROLLER)
    assert found == {"create jobs.batch": 1, "list jobs.batch": 1}
    assert figures.writes(found) == {"create jobs.batch": 1}


def line(contender: str, **changes: Any) -> dict[str, Any]:
    """A contender's figures."""
    return {
        "contender": contender,
        "what": "A → B",
        "objects": 100,
        "machine": {
            "cores": 2,
            "cpu": "C",
            "memoryGiB": 24,
            "kernel": "6",
            "python": "3.11",
            "loadBefore": [1.0, 2, 3],
        },
        "loadAfter": [2.5, 2, 3],
        "versions": {"kubernetes": "1.35.4", contender: "1.0"},
        "create": {
            "created_s": 0.5,
            "children": 100,
            "children_s": 2.0,
            "children_per_s": 50.0,
            "statuses": 99,
            "statuses_s": 3.0,
            "settled_s": 4.0,
        },
        "calls": {contender: {"create jobs.batch": 100, "patch things.tidemill.dev/status": 150}},
        "cpu_s": {contender: 1.2, "kube-apiserver": 3.0},
        "rss_mb": {
            contender: {"before": 50.0, "after": 60.0, "max": 70.4},
            "kube-apiserver": {"before": 1, "after": 1, "max": 1},
        },
        "change": {
            "changes": 10,
            "child_ms": {"count": 10, "p50Ms": 20.0, "p99Ms": 291.4, "maxMs": 300.0},
            "status_ms": {"count": 0},
        },
        "restart": {"ready_s": 1.5, "first_pass_s": None, "writes": {}},
        "idle": {
            "seconds": 180.0,
            "writes": {contender: {"create events": 2}},
            "cpu_s": {contender: 0.1, "kube-apiserver": 9},
        },
        "unsettled": [],
        "seconds": 90,
        **changes,
    }


def test_the_table_shows_each_contender_and_what_is_missing() -> None:
    text = tables([line("jobset"), line("tidemill", unsettled=["create"])])
    assert "| jobset | A → B | 100 | 0.5 | 2 (50) | 3, only 99 | 4 |" in text
    assert "| jobset | 2.5 | patch things/status 1.5, create jobs 1 | 12.0 | 30.0 | 50 → 60 (70) |" in text
    assert "| jobset | 20 / 291 | – / – (0 of 10) | 1.5 | – | 0 | 180 | 2 create events | 0.1 |" in text
    assert "Load average 1.0 to 2.5" in text
    assert "Not settled within the limit: tidemill (create)" in text
    assert "kubernetes 1.35.4, jobset 1.0, tidemill 1.0" in text


def test_of_two_lines_for_a_contender_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "peers.jsonl"
    path.write_text("".join(json.dumps(line("jobset", seconds=n)) + "\n" for n in (1, 2)))
    assert [found["seconds"] for found in read(path)] == [2]
