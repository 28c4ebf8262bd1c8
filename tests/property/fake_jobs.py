"""What Kubernetes and the workers do with a Job: pods come, run and end, the Job's status follows, TTL removes it."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any, Literal

from tests.property.fake_api import EPOCH, FakeApi, Raw, controller_uid, key_of

from tidemill.api.durations import format_time
from tidemill.build.job import request_of
from tidemill.contract.canonical import digest
from tidemill.contract.model import ExportReport, VariantReport
from tidemill.contract.names import ANNOTATION_TASK, LABEL_JOB
from tidemill.contract.reasons import FailureReason
from tidemill.contract.results import (
    BatchResult,
    ColumnInfo,
    CompareResult,
    DatasetResult,
    EdgeResult,
    EvaluateResult,
    ExportResult,
    PruneResult,
    TaskFailure,
    TrainResult,
    UnchangedResult,
    VariantResult,
    VerifyResult,
)
from tidemill.contract.retention import superfluous
from tidemill.contract.tasks import (
    TASK,
    ArtifactRef,
    CompareModels,
    EvaluateModel,
    ExportModel,
    OptimiseModel,
    PrepareDataset,
    PruneDataset,
    PublishEdge,
    PublishModel,
    ScoreBatch,
    TrainModel,
    VerifyModel,
)

End = Literal["ok", "user", "crash", "oom", "evicted"]
"""How a task ends: well; the user's input is wrong (exit code 65); a crash that is retried; out of memory; evicted."""


def is_finished(job: Raw) -> bool:
    """Whether a Job has come to an end."""
    return any(c["status"] == "True" for c in (job.get("status") or {}).get("conditions", ()))


def pods_of(api: FakeApi, job: Raw) -> list[Raw]:
    """A Job's pods, oldest first."""
    return [p for p in api.all("Pod") if controller_uid(p) == job["metadata"]["uid"]]


def step(api: FakeApi, job: Raw, end: End = "ok") -> bool:
    """Take a Job one step further; False when there is nothing to do."""
    if is_finished(job):
        return False
    active = [p for p in pods_of(api, job) if p["status"]["phase"] in ("Pending", "Running")]
    if job["spec"].get("suspend"):
        for pod in active:
            api.delete(key_of(pod))
        return bool(active)
    ended = [p for p in pods_of(api, job) if p["status"]["phase"] in ("Succeeded", "Failed")]
    counted = (job.get("status") or {}).get("counted", 0)
    if len(ended) > counted:
        _count(api, job, ended[counted:])
    elif not active:
        _create_pod(api, job, len(ended))
    elif active[0]["status"]["phase"] == "Pending":
        if stuck := _stuck(active[0]):
            return _tell(api, active[0], stuck)
        _set_phase(api, active[0], "Running", {"running": {"startedAt": format_time(api.now)}})
    else:
        _end_pod(api, job, active[0], end)
    return True


def remove(api: FakeApi, job: Raw) -> None:
    """What the TTL controller does to a finished Job."""
    api.delete(key_of(job))


def _create_pod(api: FakeApi, job: Raw, number: int) -> None:
    meta, template = job["metadata"], job["spec"]["template"]
    name = f"{meta['name']}-{number}-{len(api.log.get('Pod', ()))}"
    pod = api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "labels": {**template["metadata"]["labels"], LABEL_JOB: meta["name"]},
                "ownerReferences": [{"kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}],
            },
            "spec": copy.deepcopy(template["spec"]),
            "status": {"phase": "Pending"},
        }
    )
    status = {**(job.get("status") or {}), "active": 1, "startTime": format_time(api.now)}
    assert pod["metadata"]["uid"]
    api.write_status(key_of(job), status)


def _stuck(pod: Raw) -> Raw | None:
    """The status of a pod that cannot start: no node has Tebibytes of memory, and the image `missing` does not exist."""
    (container,) = pod["spec"]["containers"]
    if container["resources"]["limits"]["memory"].endswith("Ti"):
        text = "0/2 nodes are available: 2 Insufficient memory."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
        return {"phase": "Pending", "conditions": [condition]}
    if container["image"] == "missing":
        waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
        return {"phase": "Pending", "containerStatuses": [{"name": "task", "image": "missing", "state": waiting}]}
    return None


def _tell(api: FakeApi, pod: Raw, status: Raw) -> bool:
    """Write a pod's status; whether it is news."""
    news = bool(pod["status"] != status)
    api.write_status(key_of(pod), status)
    return news


def _set_phase(api: FakeApi, pod: Raw, phase: str, state: dict[str, Any]) -> None:
    container = {"name": "task", "image": "worker", "state": state}
    api.write_status(key_of(pod), {"phase": phase, "containerStatuses": [container]})


def _end_pod(api: FakeApi, job: Raw, pod: Raw, end: End) -> None:
    match end:
        case "ok":
            text = result_of(job, sources=api.sources, now=api.now).to_json()
            _set_phase(api, pod, "Succeeded", {"terminated": {"exitCode": 0, "message": text}})
        case "user":
            failure = failure_of(job, api.sources)
            _set_phase(api, pod, "Failed", {"terminated": {"exitCode": 65, "message": failure.to_json()}})
        case "oom":
            _set_phase(api, pod, "Failed", {"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
        case "crash" | "evicted":
            _set_phase(api, pod, "Failed", {"terminated": {"exitCode": 1, "message": "Traceback"}})
    if end == "evicted":
        live = api.get(key_of(pod))
        assert live is not None
        disrupted = {"type": "DisruptionTarget", "status": "True"}
        api.write_status(key_of(pod), {**live["status"], "conditions": [disrupted]})


def _count(api: FakeApi, job: Raw, ended: list[Raw]) -> None:
    status = {**(job.get("status") or {}), "active": 0}
    status["counted"] = status.get("counted", 0) + len(ended)
    for pod in ended:
        code = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        if pod["status"].get("conditions"):
            continue
        if code == 0:
            status["succeeded"] = 1
            status["conditions"] = [_condition(api, "Complete", "CompletionsReached")]
        else:
            status["failed"] = status.get("failed", 0) + 1
            if 64 <= code <= 78:
                status["conditions"] = [_condition(api, "Failed", "PodFailurePolicy")]
            elif status["failed"] > job["spec"]["backoffLimit"]:
                status["conditions"] = [_condition(api, "Failed", "BackoffLimitExceeded")]
    api.write_status(key_of(job), status)


def _condition(api: FakeApi, type_: str, reason: str) -> dict[str, Any]:
    return {"type": type_, "status": "True", "reason": reason, "lastTransitionTime": format_time(api.now)}


def result_of(job: Raw, *, sources: str = "", now: datetime = EPOCH) -> Any:
    """What the task of a Job gives: the same for the same request, whichever pod ran it."""
    task = TASK.validate_json(job["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK])
    name = digest(request_of(task))
    match task:
        case PrepareDataset():
            found = sources_of(task, sources)
            if task.known_sources == found:
                return UnchangedResult(source_digest=found)
            name = version_of(task, found)
            artifact = ArtifactRef(uri=f"{task.root}/{name[7:]}", digest=name)
            columns = (ColumnInfo(name="x", type="double"),)
            rows = {"train": 80, "validation": 10, "test": 10}
            return DatasetResult(artifact=artifact, rows=rows, columns=columns, column_count=1, source_digest=found)
        case PruneDataset():
            gone = superfluous(task.retention, task.versions, protected=task.protected, now=now)
            return PruneResult(removed=len(gone), gone=gone)
        case TrainModel() | PublishModel():
            return TrainResult(artifact=ArtifactRef(uri=task.model_root, digest=name), metrics={"test": {"mae": 1.0}})
        case VerifyModel():
            return VerifyResult(size_bytes=1000, opset=17, inputs=3, outputs=1)
        case OptimiseModel():
            report = VariantReport(
                name=task.optimisation.name,
                size_bytes_before=1000,
                size_bytes_after=300,
                metric="mae",
                metric_before=1.0,
                metric_after=1.0,
                error_increase=0.0,
                latency_ms_before=1.0,
                latency_ms_after=0.5,
                accepted=True,
            )
            return VariantResult(artifact=ArtifactRef(uri=task.root, digest=name), report=report)
        case ExportModel():
            export = ExportReport(
                name=task.export.name,
                format="OpenVINO",
                size_bytes_before=1000,
                size_bytes=900,
                max_abs_error=0.5,
                rows_compared=10,
                latency_ms_before=2.0,
                latency_ms=1.0,
                accepted=False,
                reason="maxAbsError 0.001 was exceeded: 0.5",
            )
            return ExportResult(artifact=ArtifactRef(uri=task.root, digest=name), report=export)
        case ScoreBatch():
            return BatchResult(artifact=ArtifactRef(uri=f"{task.root}/{name[7:]}", digest=name), rows=100)
        case PublishEdge():
            return EdgeResult(artifact=ArtifactRef(uri=f"{task.root}/{name[7:]}", digest=name), size_bytes=900, files=3)
        case CompareModels():
            improvement = (int(name[7:15], 16) % 21 - 10) / 100
            return CompareResult(
                artifact=ArtifactRef(uri=f"{task.root}/{name[7:]}", digest=name),
                metric=task.metric,
                champion=10.0,
                challenger=10.0 * (1 - improvement),
                improvement=improvement,
                rows=1000,
            )
        case EvaluateModel():
            return EvaluateResult(
                artifact=ArtifactRef(uri=f"{task.root}/{name[7:]}", digest=name),
                metrics={"mae": 10.0},
                rows=1000,
                missed="; ".join(
                    f"test {gate.metric} {missed}" for gate in task.gates if (missed := gate.missed(10.0))
                ),
            )
    raise AssertionError(f"no result for a task of type {task.type}")


def failure_of(job: Raw, sources: str) -> TaskFailure:
    """What a task says whose user gave it something wrong."""
    task = TASK.validate_json(job["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK])
    return TaskFailure(
        reason=FailureReason.COLUMN_MISSING,
        message="column x is missing: name another one",
        source_digest=sources_of(task, sources) if isinstance(task, PrepareDataset) else None,
    )


def sources_of(task: PrepareDataset, sources: str) -> str:
    """What lies in the store, and the versions of Datasets."""
    return digest([sources, *(i.dataset.digest for i in task.inputs if i.dataset)])


def version_of(task: PrepareDataset, sources: str) -> str:
    """A version's digest: it follows from what it is made of, not from what is known of earlier ones."""
    content = task.model_copy(update={"previous": None, "earlier": None, "known_sources": None, "occasion": None})
    return digest([request_of(content), sources])
