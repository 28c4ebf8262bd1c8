"""What a reconcile decides. The driver carries it out in this order: children, patches, deletes, status, events, requeue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An object by kind, namespace and name. The queue's unit of work when the kind is one of ours."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A desired child. The driver adds the controller ownerReference, the managed-by label and the digest annotation.

    `apply`: created when missing, server-side applied when the digest differs from the one recorded on the object.
    `create`: created when missing and never touched again. Both create by POST: two creators cannot both win. When the name
    is taken by somebody else's object the driver raises a conflict and the resource is reconciled again after a backoff.
    """

    manifest: Manifest
    mode: Literal["apply", "create"] = "apply"
    owned: bool = True
    """Whether the resource becomes the child's controller; a ModelVersion must outlive its run, so it is not owned."""

    @property
    def key(self) -> Key:
        """Kind, namespace and name of the child."""
        meta = self.manifest["metadata"]
        return Key(kind=self.manifest["kind"], namespace=meta.get("namespace", ""), name=meta["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A server-side apply of a few fields on an object that is not a child, by a field manager of its own."""

    manifest: Manifest
    field_manager: str

    @property
    def key(self) -> Key:
        """Kind, namespace and name of the object."""
        meta = self.manifest["metadata"]
        return Key(kind=self.manifest["kind"], namespace=meta.get("namespace", ""), name=meta["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event on the resource, sent after the status was written. `reason` is a documented constant."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole decision for one resource. `status` None leaves the status as it is."""

    children: tuple[Child, ...] = ()
    patches: tuple[Patch, ...] = ()
    deletes: tuple[Key, ...] = ()
    status: dict[str, Any] | None = None
    """The whole desired status, camelCase, absent fields left out; written once and only if it differs, under the
    resourceVersion that was observed, so that a stale observation can never overwrite a transition."""
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds after which time alone makes another reconcile necessary."""
