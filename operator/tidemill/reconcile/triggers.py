"""Triggers: when an object changes, which of our resources must be reconciled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.contract.names import GROUP, LABEL_JOB, LABEL_POOL
from tidemill.reconcile.observed import Observed
from tidemill.reconcile.plan import Key

OUR_KINDS = frozenset(
    {"Dataset", "TrainingRun", "ModelVersion", "Deployment", "DriftPolicy", "ServingPool", "ModelPlacement"}
)
RECONCILED_KINDS = OUR_KINDS - {"ModelPlacement"}
"""A placement is carried out by its pod's agent; the operator only makes and reads it."""


def _is_ours(obj: Mapping[str, Any]) -> bool:
    return obj.get("kind") in OUR_KINDS and str(obj.get("apiVersion", "")).startswith(f"{GROUP}/")


COUNTED_AFTER = 1.0
"""Seconds after which a pool looks at its placements when some have changed: it counts them, and they change in thousands."""


def delay(obj: Mapping[str, Any], key: Key) -> float:
    """Seconds that a key may wait after a change of `obj`, so that many changes cost one reconcile."""
    return COUNTED_AFTER if obj.get("kind") == "ModelPlacement" and key.kind == "ServingPool" else 0.0


def is_told(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a change of an object matters to the resources that read it, not only to itself and its owner.

    A Dataset that says how far it is, and a pool that counts its placements, would otherwise have everything that uses them
    reconciled at every step.
    """
    unread = _UNREAD.get(after.get("kind", "")) if _is_ours(after) else None
    return unread is None or _without(before, unread) != _without(after, unread)


_UNREAD = {
    "Dataset": frozenset({"progress", "checkedAt", "nextRefreshAt", "prunedAt"}),
    "ServingPool": frozenset({"replicas", "readyReplicas", "placements", "loaded", "selector"}),
}
"""Fields of the status that no other kind's reconcile reads."""


def _without(obj: Mapping[str, Any], unread: frozenset[str]) -> tuple[Any, ...]:
    meta, status = obj["metadata"], obj.get("status") or {}
    read = {key: value for key, value in status.items() if key not in unread}
    return meta["uid"], meta.get("generation"), meta.get("deletionTimestamp"), read


def triggered(obj: Mapping[str, Any], observed: Observed, *, dependents: bool = True) -> Iterator[Key]:
    """The keys to reconcile after a change of `obj`, itself included; duplicates are possible.

    Without `dependents` only itself and its owner.
    """
    meta = obj["metadata"]
    namespace, name, spec = meta.get("namespace", ""), meta["name"], obj.get("spec") or {}
    if _is_ours(obj) and obj["kind"] in RECONCILED_KINDS:
        yield Key(kind=obj["kind"], namespace=namespace, name=name)
    yield from _controllers(obj, observed)
    if not dependents:
        return
    if _is_ours(obj):
        yield from _dependents(obj["kind"], namespace, name, spec, observed)
        if obj["kind"] == "TrainingRun" and (obj.get("status") or {}).get("metrics"):
            # Its version tells them, too, and may have come to rest before they were written.
            yield from _keys(observed, "ModelVersion", namespace, "run", meta["uid"])
    elif obj["kind"] == "Pod":
        labels = meta.get("labels") or {}
        if job := observed.get("Job", namespace, labels.get(LABEL_JOB, "")):
            yield from _controllers(job, observed)
        if pool := labels.get(LABEL_POOL):
            yield Key(kind="ServingPool", namespace=namespace, name=pool)
            yield from _keys(observed, "Deployment", namespace, "pool", pool)


def _controllers(obj: Mapping[str, Any], observed: Observed) -> Iterator[Key]:
    """Which of our resources controls an object: itself, or by a JobSet in between."""
    namespace = obj["metadata"].get("namespace", "")
    for owner in obj["metadata"].get("ownerReferences", ()):
        if not owner.get("controller"):
            continue
        if owner.get("kind") in RECONCILED_KINDS:
            yield Key(kind=owner["kind"], namespace=namespace, name=owner["name"])
        elif owner.get("kind") == "JobSet" and (jobset := observed.get("JobSet", namespace, owner["name"])):
            yield from _controllers(jobset, observed)


def _dependents(kind: str, namespace: str, name: str, spec: Mapping[str, Any], observed: Observed) -> Iterator[Key]:
    match kind:
        case "Dataset":
            for dependent in ("Dataset", "TrainingRun", "Deployment", "DriftPolicy"):
                yield from _keys(observed, dependent, namespace, "dataset", name)
        case "TrainingRun":
            yield from _keys(observed, "DriftPolicy", namespace, "template", name)
        case "ModelVersion":
            model = spec.get("model", "")
            for dependent in ("ModelVersion", "Deployment", "TrainingRun"):
                yield from _keys(observed, dependent, namespace, "model", model)
            yield from _keys(observed, "TrainingRun", namespace, "base", name)
            for deployment in observed.names("Deployment", namespace, "model", model):
                yield from _keys(observed, "DriftPolicy", namespace, "deployment", deployment)
        case "Deployment":
            yield from _keys(observed, "DriftPolicy", namespace, "deployment", name)
        case "ServingPool":
            yield from _keys(observed, "Deployment", namespace, "pool", name)
        case "ModelPlacement":
            yield Key(kind="Deployment", namespace=namespace, name=spec.get("deployment", ""))
            yield Key(kind="ServingPool", namespace=namespace, name=spec.get("pool", ""))
        case _:
            return


def _keys(observed: Observed, kind: str, namespace: str, facet: str, value: str) -> Iterator[Key]:
    for name in observed.names(kind, namespace, facet, value):
        yield Key(kind=kind, namespace=namespace, name=name)
