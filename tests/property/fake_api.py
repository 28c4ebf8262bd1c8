"""An API server in memory: resourceVersions, preconditions, name conflicts, generations, cascading deletion, a watch log."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tidemill.api.durations import format_time
from tidemill.reconcile.plan import Key

Raw = dict[str, Any]
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Conflict(Exception):
    """409: the name is taken, or the resourceVersion is not the newest."""


class NotFound(Exception):
    """404."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the watch log."""

    object: Raw
    deleted: bool = False


class FakeApi:
    """All objects, and everything that ever happened to them."""

    def __init__(self) -> None:
        self.objects: dict[Key, Raw] = {}
        self.log: dict[str, list[Change]] = {}
        self.writes: list[tuple[str, Key]] = []
        """(verb, key) of every call that changed something."""
        self.now = EPOCH
        self.sources = ""
        """What lies in the store, in a word: prepare Jobs make another version of other sources."""
        self.on_status: list[Callable[[Raw, Raw], None]] = []
        """Called with the object before and after each status write."""
        self._version = 0
        self._uids = 0

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def get(self, key: Key) -> Raw | None:
        """The live object."""
        return self.objects.get(key)

    def all(self, kind: str) -> Iterator[Raw]:
        """The live objects of a kind, by name."""
        for key in sorted((k for k in self.objects if k.kind == kind), key=str):
            yield self.objects[key]

    def create(self, manifest: Mapping[str, Any]) -> Raw:
        """POST."""
        key = key_of(manifest)
        if key in self.objects:
            raise Conflict(f"{key} exists")
        self._uids += 1
        obj = copy.deepcopy(dict(manifest))
        obj["metadata"] = {
            **obj["metadata"],
            "uid": f"uid-{self._uids:04}",
            "generation": 1,
            "creationTimestamp": format_time(self.now),
        }
        return self._store("create", key, obj)

    def patch_spec(self, key: Key, changes: Mapping[str, Any]) -> Raw:
        """Merge fields into the spec, as a server-side apply or a user's patch does; the generation counts up."""
        obj = self._copy(key)
        spec = {**(obj.get("spec") or {}), **copy.deepcopy(dict(changes))}
        if spec == obj.get("spec"):
            return self.objects[key]
        obj["spec"] = spec
        obj["metadata"]["generation"] += 1
        return self._store("patch", key, obj)

    def annotate(self, key: Key, annotations: Mapping[str, str | None]) -> Raw:
        """Merge annotations, None removes one; the generation stays."""
        obj = self._copy(key)
        merged = {**(obj["metadata"].get("annotations") or {}), **annotations}
        obj["metadata"]["annotations"] = {k: v for k, v in merged.items() if v is not None}
        return self._store("patch", key, obj)

    def write_status(self, key: Key, status: Mapping[str, Any], *, resource_version: str | None = None) -> Raw:
        """PUT on the status subresource, under a resourceVersion when one is given."""
        obj = self._copy(key)
        if resource_version is not None and obj["metadata"]["resourceVersion"] != resource_version:
            raise Conflict(f"{key} has changed")
        if (obj.get("status") or {}) == status:
            return self.objects[key]
        before = self.objects[key]
        obj["status"] = copy.deepcopy(dict(status))
        stored = self._store("status", key, obj)
        for observe in self.on_status:
            observe(before, stored)
        return stored

    def delete(self, key: Key, *, uid: str | None = None) -> None:
        """DELETE with background propagation: what it controls goes with it."""
        obj = self.objects.get(key)
        if obj is None or (uid is not None and obj["metadata"]["uid"] != uid):
            raise NotFound(str(key))
        del self.objects[key]
        self._version += 1
        gone = copy.deepcopy(obj)
        gone["metadata"]["resourceVersion"] = str(self._version)
        self.log.setdefault(key.kind, []).append(Change(gone, deleted=True))
        self.writes.append(("delete", key))
        for child, other in list(self.objects.items()):
            if controller_uid(other) == obj["metadata"]["uid"]:
                self.delete(child)

    def collect_garbage(self) -> None:
        """What the garbage collector does sooner or later: a child whose controller is gone goes too."""
        uids = {o["metadata"]["uid"] for o in self.objects.values()}
        for key, obj in list(self.objects.items()):
            owner = controller_uid(obj)
            if owner is not None and owner not in uids and key in self.objects:
                self.delete(key)

    def _copy(self, key: Key) -> Raw:
        if key not in self.objects:
            raise NotFound(str(key))
        return copy.deepcopy(self.objects[key])

    def _store(self, verb: str, key: Key, obj: Raw) -> Raw:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        self.objects[key] = obj
        self.log.setdefault(key.kind, []).append(Change(copy.deepcopy(obj)))
        self.writes.append((verb, key))
        return obj


def key_of(obj: Mapping[str, Any]) -> Key:
    """An object's key."""
    return Key(kind=obj["kind"], namespace=obj["metadata"].get("namespace", ""), name=obj["metadata"]["name"])


def controller_uid(obj: Mapping[str, Any]) -> str | None:
    """The UID of the object's controller."""
    references = obj["metadata"].get("ownerReferences") or ()
    return next((r["uid"] for r in references if r.get("controller")), None)
