"""What must hold at every moment, whatever happens to whom: checked on each write of a status and on the whole cluster."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.property import fake_jobs
from tests.property.fake_api import Raw, controller_uid
from tests.property.fake_cluster import FakeCluster

from tidemill.api.v1alpha1 import KINDS
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.build.metadata import LABEL_REQUEST
from tidemill.contract.names import ANNOTATION_RETRY, LABEL_TASK
from tidemill.reconcile.policies.stage import holder

OURS = ("Dataset", "TrainingRun", "ModelVersion")


def conditions(obj: Raw) -> dict[str, Raw]:
    """An object's conditions by type."""
    return {c["type"]: c for c in (obj.get("status") or {}).get("conditions", ())}


def check_status_write(before: Raw, after: Raw) -> None:
    """What every write of a status must keep."""
    if after["kind"] not in OURS:
        return
    KINDS[after["kind"]].model_validate(after)
    old, new = conditions(before), conditions(after)
    generation = after["metadata"]["generation"]
    assert after["status"]["observedGeneration"] <= generation
    assert "Ready" in new, "Ready is always there"
    for type_, condition in new.items():
        assert condition["observedGeneration"] <= generation
        if type_ in ("Reconciling", "Stalled"):
            assert condition["status"] == "True", f"{type_} is only there while it is true"
        if type_ in old:
            same = old[type_]["status"] == condition["status"]
            kept = old[type_]["lastTransitionTime"] == condition["lastTransitionTime"]
            assert kept if same else True, f"lastTransitionTime of {type_} moved without its status"
    assert not {"Reconciling", "Stalled"} <= set(new), "not both"
    if after["kind"] == "ModelVersion":
        _check_stage(before, after)
    if after["kind"] == "TrainingRun":
        _check_record(before, after)
    if after["kind"] == "Dataset":
        _check_versions(before.get("status") or {}, after["status"])


def _check_stage(before: Raw, after: Raw) -> None:
    old, new = before.get("status") or {}, after["status"]
    was, stage = old.get("stage", "None"), new["stage"]
    log = new.get("transitions") or []
    if stage != was:
        assert (log[0]["from"], log[0]["to"]) == (was, stage), "every change of the stage is in the log"
        assert log[1:] == (old.get("transitions") or [])[:9], "and the log only grows"
        assert new["stageSince"] == log[0]["at"]
    else:
        assert log == (old.get("transitions") or []), "and nothing else is"
    if stage in ("Staging", "Production"):
        assert new["verifiedDigest"] == after["spec"]["artifact"]["digest"], "only what was verified holds a stage"
        assert conditions(after)["Approved"]["status"] == "True", "and what was approved"
    if new.get("variants") or new.get("exports"):
        assert new["verifiedDigest"] == after["spec"]["artifact"]["digest"], "nothing is made of what was not verified"


def _check_record(before: Raw, after: Raw) -> None:
    old, new = before.get("status") or {}, after["status"]
    if old.get("datasetDigest"):
        assert new["datasetDigest"] == old["datasetDigest"], "the dataset version is fixed once"
    if old.get("finishedAt"):
        ignored = {"observedGeneration", "conditions"}
        assert {k: v for k, v in new.items() if k not in ignored} == {k: v for k, v in old.items() if k not in ignored}


def _check_versions(old: Raw, new: Raw) -> None:
    if old.get("digest"):
        assert new.get("digest"), "an old version stays until the new one is there"
        assert old["digest"] in {v["digest"] for v in new["versions"]}


def check_cluster(cluster: FakeCluster) -> None:
    """What holds of all objects together at every moment."""
    versions = list(cluster.api.all("ModelVersion"))
    numbers = Counter((v["spec"]["model"], v["spec"]["version"]) for v in versions)
    assert all(count == 1 for count in numbers.values()), f"a version number was given twice: {numbers}"
    origins = [
        v["spec"]["origin"]["trainingRunUid"] for v in versions if (v["spec"].get("origin") or {}).get("trainingRun")
    ]
    assert len(origins) == len(set(origins)), "a run left two versions"
    live: Counter[tuple[Any, ...]] = Counter()
    for job in cluster.jobs():
        if not fake_jobs.is_finished(job):
            labels = job["metadata"]["labels"]
            # what was asked for anew is another request; the Job before it goes as soon as it is seen
            retry = job["metadata"].get("annotations", {}).get(ANNOTATION_RETRY)
            live[(controller_uid(job), labels[LABEL_TASK], labels[LABEL_REQUEST], retry)] += 1
    assert all(count == 1 for count in live.values()), f"two Jobs do the same work: {live}"


def check_rest(cluster: FakeCluster) -> None:
    """What holds when everything has come to rest."""
    check_cluster(cluster)
    uids = {o["metadata"]["uid"] for o in cluster.api.objects.values()}
    for job in cluster.jobs():
        assert controller_uid(job) in uids, f"orphan: {job['metadata']['name']}"
        if not fake_jobs.is_finished(job):
            assert job["spec"]["suspend"] is True, f"nobody asks for Job {job['metadata']['name']} any more"
    for kind in OURS:
        for obj in cluster.api.all(kind):
            found = conditions(obj)
            name = f"{kind} {obj['metadata']['name']}"
            assert obj["status"]["observedGeneration"] == obj["metadata"]["generation"], f"{name} is behind"
            waits = found["Ready"]["reason"] in ("WaitingForDataset", "WaitingForInput", "Suspended")
            assert "Reconciling" not in found or waits, f"{name} never ends: {found['Ready']}"
    _check_production(cluster)


def _check_production(cluster: FakeCluster) -> None:
    by_model: dict[str, list[ModelVersion]] = {}
    for raw in cluster.api.all("ModelVersion"):
        version = ModelVersion.model_validate(raw)
        by_model.setdefault(version.spec.model, []).append(version)
    for model, versions in by_model.items():
        first = holder(versions)
        in_production = [v.metadata.name for v in versions if v.status.stage == "Production"]
        expected = [first.metadata.name] if first else []
        assert in_production == expected, f"model {model}: {in_production} in production instead of {expected}"
