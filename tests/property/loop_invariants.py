"""What must hold of serving and of retraining at every moment, and when all has come to rest."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from tests.property.fake_api import Raw, controller_uid
from tests.property.loop_cluster import LoopCluster, answers

from tidemill.api.durations import parse_time, seconds
from tidemill.api.v1alpha1 import KINDS
from tidemill.build.endpointslice import ANNOTATION_ENDPOINTS
from tidemill.build.retraining import LABEL_ATTEMPT

OURS = ("Deployment", "DriftPolicy", "ServingPool")
ENDED = ("Promoted", "Kept", "Failed")


def conditions(obj: Raw) -> dict[str, Raw]:
    """An object's conditions by type."""
    return {c["type"]: c for c in (obj.get("status") or {}).get("conditions", ())}


def check_status_write(before: Raw, after: Raw) -> None:
    """What every write of a status must keep."""
    if after["kind"] not in OURS:
        return
    KINDS[after["kind"]].model_validate(after)
    old, new = conditions(before), conditions(after)
    assert "Ready" in new
    assert not {"Reconciling", "Stalled"} <= set(new), "not both"
    for type_, condition in new.items():
        if type_ in old and old[type_]["status"] == condition["status"]:
            assert old[type_]["lastTransitionTime"] == condition["lastTransitionTime"]
    if after["kind"] == "Deployment":
        _check_transitions(before.get("status") or {}, after["status"])
    if after["kind"] == "DriftPolicy":
        _check_attempts(before, after)


def _check_transitions(old: Raw, new: Raw) -> None:
    log, was = new.get("transitions") or [], old.get("transitions") or []
    if log == was:
        serving = new.get("serving")
        assert serving is None or log[0]["to"] == serving["name"], "another version serves without an entry in the log"
        return
    assert log[1:] == was[:9], "the log grows by one entry, and nothing else of it changes"
    assert log[0]["from"] == (was[0]["to"] if was else ""), "no transition is lost"
    assert log[0]["to"] == new["serving"]["name"]


def _attempts(status: Raw) -> list[Raw]:
    """All that status knows of, newest first."""
    current = status.get("current")
    return [*([current] if current else []), *(status.get("attempts") or [])]


def _check_attempts(before: Raw, after: Raw) -> None:
    old, new = before.get("status") or {}, after["status"]
    spec, known = after["spec"], _attempts(new)
    count = new.get("attemptCount", 0)
    assert [a["number"] for a in known] == list(range(count, count - len(known), -1)), "numbers without gaps"
    assert all(a["phase"] in ENDED and a["finishedAt"] for a in new.get("attempts") or ())
    finished = [a for a in old.get("attempts") or () if a not in (new.get("attempts") or ())]
    assert len(finished) <= 1, "an attempt that has ended never changes"
    if count == old.get("attemptCount", 0):
        return
    assert count == old.get("attemptCount", 0) + 1
    assert not old.get("current"), "one at a time"
    begun = parse_time(known[0]["triggeredAt"])
    day = [start for start in new["runsStarted"] if parse_time(start) > begun - timedelta(hours=24)]
    assert len(day) <= spec["maxRunsPerDay"], "never more than maxRunsPerDay"
    for earlier in known[1:]:
        pause = (begun - parse_time(earlier["finishedAt"])).total_seconds()
        assert pause >= seconds(after["spec"]["cooldown"]), "never within the cooldown"
    assert not spec.get("suspend"), "never while suspended"


def check_cluster(cluster: LoopCluster) -> None:
    """What holds of all objects together at every moment."""
    for policy in cluster.api.all("DriftPolicy"):
        uid, status = policy["metadata"]["uid"], policy.get("status") or {}
        for kind in ("Dataset", "TrainingRun"):
            numbers = [
                int(o["metadata"]["labels"][LABEL_ATTEMPT]) for o in cluster.api.all(kind) if controller_uid(o) == uid
            ]
            assert all(count == 1 for count in Counter(numbers).values()), "an attempt has one child of a kind"
            assert all(n <= status.get("attemptCount", 0) for n in numbers), (
                "no child before its attempt stands in status"
            )
    for deployment in cluster.api.all("Deployment"):
        pods = [
            p["spec"]["pod"]
            for p in cluster.api.all("ModelPlacement")
            if controller_uid(p) == deployment["metadata"]["uid"]
        ]
        assert len(pods) == len(set(pods)), "one placement a pod"


def check_rest(cluster: LoopCluster) -> None:
    """What holds when everything has come to rest."""
    check_cluster(cluster)
    for deployment in cluster.api.all("Deployment"):
        _check_served(cluster, deployment)
    for policy in cluster.api.all("DriftPolicy"):
        current = (policy.get("status") or {}).get("current")
        waits = policy["spec"].get("suspend") or (current or {}).get("phase") == "AwaitingApproval"
        assert current is None or waits, f"the retraining never ends: {current}"


def _check_served(cluster: LoopCluster, deployment: Raw) -> None:
    """The slice lists exactly the pods that say they have it loaded, and the status says what they say."""
    uid, found = deployment["metadata"]["uid"], conditions(deployment)
    routable: dict[str, Any] = {}
    for placement in cluster.api.all("ModelPlacement"):
        status = placement.get("status") or {}
        pod = next((p for p in cluster.server_pods() if p["metadata"]["name"] == placement["spec"]["pod"]), None)
        current = pod is not None and status.get("podUid") == pod["metadata"]["uid"]
        ready = pod is not None and answers(pod)
        if controller_uid(placement) == uid and current and ready and status.get("serving"):
            routable[placement["spec"]["pod"]] = status["serving"]
    slices = [s for s in cluster.api.all("EndpointSlice") if controller_uid(s) == uid]
    listed = {e["targetRef"]["name"] for s in slices for e in s["endpoints"]}
    assert listed == set(routable), "only pods that have the model loaded are listed, and all of them"
    assert all(s["metadata"]["annotations"][ANNOTATION_ENDPOINTS] for s in slices)
    if found["Ready"]["status"] == "True":
        names = {served["modelVersion"] for served in routable.values()}
        assert names == {deployment["status"]["serving"]["name"]}
        assert len(routable) == deployment["spec"]["online"]["replicas"]
    assert (found["Available"]["status"] == "True") == bool(routable)
    _check_available(cluster, deployment, routable)


def _check_available(cluster: LoopCluster, deployment: Raw, routable: dict[str, Any]) -> None:
    """Something answers wherever there is room and a version that has served and still can; and it is one version."""
    versions = {v["metadata"]["name"]: v for v in cluster.api.all("ModelVersion")}
    ready = [p["metadata"]["name"] for p in cluster.server_pods() if answers(p)]
    has_served = [t["to"] for t in deployment["status"].get("transitions") or ()]
    can = [
        name
        for name in has_served
        if name in versions
        and conditions(versions[name]).get("Verified", {}).get("status") == "True"
        and all(cluster.can_load(name, pod) for pod in ready)
    ]
    full = conditions(deployment)["Ready"]["reason"] == "NoCapacity" and not any(
        controller_uid(p) == deployment["metadata"]["uid"] for p in cluster.api.all("ModelPlacement")
    )
    if ready and can and not full:
        assert routable, f"nothing answers, though {can[0]} has served and {ready} could load it"
        names = {served["modelVersion"] for served in routable.values()}
        if has_served[0] in can:
            assert len(names) == 1, f"clients get a mix of {sorted(names)} for ever"
