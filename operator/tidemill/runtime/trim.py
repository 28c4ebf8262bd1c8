"""What is kept of an object in memory: what reconciling reads. The rest is left to the API server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tidemill.contract.names import GROUP, LABEL_COMPLETION_INDEX, LABEL_JOB, LABEL_POOL, LABEL_TASK

_META = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "labels",
)  # fmt: skip
_OWNER = ("apiVersion", "kind", "name", "uid", "controller")
_POD_LABELS = frozenset({LABEL_JOB, LABEL_POOL, LABEL_TASK, LABEL_COMPLETION_INDEX})
_ENDED = frozenset({"Succeeded", "Failed"})
_CONTAINER = ("name", "state", "lastState", "ready", "restartCount", "image", "imageID")
_CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
_POD_STATUS = ("phase", "reason", "message", "podIP", "startTime")
_POD_CONDITIONS = frozenset({"PodScheduled", "Ready", "ContainersReady"})
_JOB_SPEC = ("suspend", "backoffLimit", "activeDeadlineSeconds")
_JOB_STATUS = ("active", "ready", "succeeded", "failed", "startTime", "completionTime")


def trim(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The parts to keep of an object as the API server gave it; they are not copied."""
    kind = raw["kind"]
    obj: dict[str, Any] = {
        "apiVersion": raw["apiVersion"],
        "kind": kind,
        "metadata": _meta(raw["metadata"]),
    }
    meta = obj["metadata"]
    if (
        kind == "Pod"
    ):  # thousands of finished ones are kept: without their task, which is long and which nobody reads here
        meta.pop("annotations", None)
        meta["labels"] = {k: v for k, v in (meta.get("labels") or {}).items() if k in _POD_LABELS}
    shape = _SHAPES.get(kind)
    if shape is not None and not raw["apiVersion"].startswith(f"{GROUP}/"):
        obj.update(shape(raw))
        if shape is _bare:
            meta.pop("labels", None)
    else:
        obj = {**raw, **obj}
    return obj


def _meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    kept = _pick(meta, _META)
    # Annotations of others can be huge (kubectl's last applied manifest); ours are read.
    own = {k: v for k, v in (meta.get("annotations") or {}).items() if k.startswith(f"{GROUP}/")}
    if own:
        kept["annotations"] = own
    if owners := meta.get("ownerReferences"):
        kept["ownerReferences"] = [_pick(owner, _OWNER) for owner in owners]
    return kept


def _pick(source: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: source[key] for key in keys if key in source}


def _conditions(status: Mapping[str, Any], types: frozenset[str] | None = None) -> list[dict[str, Any]]:
    found = status.get("conditions") or ()
    return [_pick(condition, _CONDITION) for condition in found if types is None or condition.get("type") in types]


def _pod(raw: Mapping[str, Any]) -> dict[str, Any]:
    spec, status = raw.get("spec") or {}, raw.get("status") or {}
    kept = _pick(status, _POD_STATUS)
    if status.get("phase") not in _ENDED:
        kept["conditions"] = _conditions(status, _POD_CONDITIONS)
    for group in ("containerStatuses", "initContainerStatuses"):
        if group in status:
            kept[group] = [_pick(container, _CONTAINER) for container in status[group]]
    return {"spec": _pick(spec, ("nodeName",)), "status": kept}


def _job(raw: Mapping[str, Any]) -> dict[str, Any]:
    status = raw.get("status") or {}
    kept = _pick(status, _JOB_STATUS)
    if status.get("conditions"):
        kept["conditions"] = _conditions(status)
    return {"spec": _pick(raw.get("spec") or {}, _JOB_SPEC), "status": kept}


def _job_set(raw: Mapping[str, Any]) -> dict[str, Any]:
    status = {"conditions": _conditions(raw.get("status") or {})}
    return {"spec": _pick(raw.get("spec") or {}, ("suspend",)), "status": status}


def _stateful_set(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {"spec": _pick(raw.get("spec") or {}, ("replicas",)), "status": raw.get("status") or {}}


def _ray_cluster(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": {"conditions": _conditions(raw.get("status") or {})}}


def _bare(_: Mapping[str, Any]) -> dict[str, Any]:
    """Kinds of which only the existence and the digest matter."""
    return {}


_SHAPES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "Pod": _pod,
    "Job": _job,
    "JobSet": _job_set,
    "StatefulSet": _stateful_set,
    "ServiceAccount": _bare,
    "RoleBinding": _bare,
    "Service": _bare,
    "EndpointSlice": _bare,
    "PodDisruptionBudget": _bare,
    "RayCluster": _ray_cluster,
}
